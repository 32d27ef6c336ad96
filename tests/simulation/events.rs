//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a time. Requests and clients are named by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A client sends a request, or a few at once.
    Arrive(usize),
    /// A request that was told to ask again does.
    Ask(usize),
    /// The deadline of a request's `n`th wait.
    Deadline(usize, u32),
    /// The backend refused the connection.
    Refuse(usize),
    /// The head of the answer is here.
    Answer(usize),
    /// The answer is complete, or breaks off.
    End(usize),
    /// The client is gone.
    Leave(usize),
    /// Something happens to a backend, or to the configuration.
    Mishap,
    /// Time itself acts.
    Tick,
}

/// Events by time, in milliseconds since the beginning; those of one time in order of their making.
#[derive(Default)]
pub struct Events {
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
}

impl Events {
    pub fn at(&mut self, millis: u64, event: Event) {
        self.made += 1;
        self.queue.push(Reverse((millis, self.made, event)));
    }

    pub fn next(&mut self) -> Option<(u64, Event)> {
        self.queue.pop().map(|Reverse((millis, _, event))| (millis, event))
    }
}
