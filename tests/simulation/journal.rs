//! What happened, line by line.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Lines that a failure shows.
const TAIL: usize = 30;

/// What every sweep must have seen.
pub const NOTABLE: [&str; 32] = [
    "free",
    "new",
    "bound",
    "keyed",
    "detoured",
    "moved",
    "unstuck", // causes
    "down",
    "draining",
    "drained",
    "ejected",
    "full",
    "overloaded",
    "removed",
    "rebalanced", // reasons
    "wait for any",
    "wait for one",
    "handed over",
    "told to ask again",
    "timed out", // queues
    "left while waiting",
    "no_backend",
    "home_unavailable",
    "clock back",
    "refused", // drains
    "cut",
    "followed",
    "log-out", // sessions
    "pinned",
    "together",
    "released",
    "let go",
];

/// The log of a run: its last lines, and a hash of all of them.
pub struct Journal {
    tail: VecDeque<String>,
    lines: usize,
    hash: DefaultHasher,
    /// How often what happened.
    seen: BTreeMap<String, u64>,
    prints: bool,
}

impl Journal {
    pub fn new(prints: bool) -> Self {
        let (tail, seen) = (VecDeque::new(), BTreeMap::new());
        Journal { tail, lines: 0, hash: DefaultHasher::new(), seen, prints }
    }

    pub fn write(&mut self, line: fmt::Arguments<'_>) {
        let line = line.to_string();
        line.hash(&mut self.hash);
        self.lines += 1;
        if self.prints {
            println!("{line}");
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    pub fn saw(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.seen.insert(what.to_owned(), 1)),
        }
    }

    pub fn seen(&self) -> &BTreeMap<String, u64> {
        &self.seen
    }

    pub fn lines(&self) -> usize {
        self.lines
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("    {line}\n")).collect()
    }
}
