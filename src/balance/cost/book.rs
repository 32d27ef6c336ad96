//! What was so at several times, for windows that end now.

use std::collections::VecDeque;
use std::time::Duration;

use crate::balance::Timestamp;

/// Pages that are kept at one distance from each other, for as long as a window reaches back.
#[derive(Debug)]
pub struct Book<P> {
    pages: VecDeque<(Timestamp, P)>,
    every: Duration,
    keep: Duration,
}

impl<P> Book<P> {
    /// An empty one, with a page `every` so often, for a window of length `keep`.
    pub const fn new(every: Duration, keep: Duration) -> Self {
        Book { pages: VecDeque::new(), every, keep }
    }

    /// Adds a page, if it is time for one, and drops those that nobody will ask for.
    pub fn keep(&mut self, now: Timestamp, page: impl FnOnce() -> P) {
        if self.pages.back().is_some_and(|(last, _)| now.since(*last) < self.every) {
            return;
        }
        self.pages.push_back((now, page()));
        // The page before the window's beginning stays: the window begins there.
        while self.pages.get(1).is_some_and(|(next, _)| now.since(*next) >= self.keep) {
            self.pages.pop_front();
        }
    }

    /// The last page that is at least as old as the window, or else the oldest.
    pub fn page_at(&self, now: Timestamp, window: Duration) -> Option<(Timestamp, &P)> {
        let old_enough = |(at, _): &&(Timestamp, P)| now.since(*at) >= window;
        let found = self.pages.iter().rev().find(old_enough).or(self.pages.front());
        found.map(|(at, page)| (*at, page))
    }

    /// How many pages there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// The oldest page.
    pub fn oldest(&self) -> Option<&P> {
        self.pages.front().map(|(_, page)| page)
    }
}
