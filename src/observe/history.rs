//! What has happened to one backend lately. Bounded: a backend that fails all day takes no more
//! memory than one that has failed for a minute.

use std::collections::VecDeque;
use std::sync::Arc;

use super::events::Change;
use crate::balance::Timestamp;

/// Changes of state, and results of checks, that are remembered.
const KEPT: usize = 32;

/// Bytes of an error that are remembered.
const ERROR_LENGTH: usize = 512;

/// The latest of what has happened to a backend.
#[derive(Clone, Debug, Default)]
pub struct History {
    changes: VecDeque<Change>,
    checks: VecDeque<Check>,
    last_error: Option<(Timestamp, Arc<str>)>,
}

/// What a health check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// When it had the answer.
    pub at: Timestamp,
    /// What was wrong, if anything.
    pub error: Option<Arc<str>>,
}

impl History {
    /// Changes of state, the oldest first.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter()
    }

    /// Results of health checks, the oldest first.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter()
    }

    /// The last thing that went wrong: a check, or a connection for a request.
    pub fn last_error(&self) -> Option<(Timestamp, &str)> {
        self.last_error.as_ref().map(|(at, error)| (*at, &**error))
    }

    pub(super) fn add_change(&mut self, change: Change) {
        add(&mut self.changes, change);
    }

    pub(super) fn add_check(&mut self, result: Result<(), &str>, at: Timestamp) {
        let error = result.err().map(|error| self.add_error(error, at));
        add(&mut self.checks, Check { at, error });
    }

    pub(super) fn add_error(&mut self, error: &str, at: Timestamp) -> Arc<str> {
        let mut end = error.len().min(ERROR_LENGTH);
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        let error: Arc<str> = error[..end].into();
        self.last_error = Some((at, error.clone()));
        error
    }
}

fn add<T>(kept: &mut VecDeque<T>, item: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_is_remembered() {
        let mut history = History::default();
        for i in 0..100 {
            let result = if i % 2 == 0 { Ok(()) } else { Err("no") };
            history.add_check(result, Timestamp::from_millis(i));
        }
        let times: Vec<_> = history.checks().map(|check| check.at.as_millis()).collect();
        assert_eq!(times, (68..100).collect::<Vec<_>>());
        assert_eq!(history.last_error(), Some((Timestamp::from_millis(99), "no")));
        let long = "ä".repeat(1000);
        assert!(history.add_error(&long, Timestamp::ZERO).len() <= ERROR_LENGTH);
    }
}
