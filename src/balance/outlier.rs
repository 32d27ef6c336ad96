//! Ejecting a backend for a while because of failures seen in traffic.
//!
//! What counts is failing to *connect*: such a request was never sent, so it can go elsewhere, and
//! the failure says something about the backend and nothing about the request. Active health
//! checks see a dead backend after `fall` intervals; traffic sees it at once.

use std::time::Duration;

/// When to eject and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Consecutive failures to connect that eject a backend.
    pub failures: u32,
    /// How long it stays out.
    pub duration: Duration,
}

impl Ejection {
    /// Does a backend with so many `consecutive` failures go, when `out` of `members` backends
    /// are out already?
    ///
    /// At most half of a pool is ejected, and never its last backend: if everything fails, the
    /// fault is more likely here or in between.
    pub fn applies(&self, consecutive: u32, out: usize, members: usize) -> bool {
        consecutive >= self.failures && 2 * (out + 1) <= members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_half_of_a_pool_is_ejected() {
        let ejection = Ejection { failures: 3, duration: Duration::from_secs(10) };
        assert!(!ejection.applies(2, 0, 4));
        assert!(ejection.applies(3, 0, 4));
        assert!(ejection.applies(9, 1, 4));
        assert!(!ejection.applies(9, 2, 4));
        assert!(!ejection.applies(9, 0, 1), "never the last one");
    }
}
