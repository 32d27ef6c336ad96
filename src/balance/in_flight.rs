//! Exactly one start, exactly one finish.

use std::sync::Arc;
use std::time::Duration;

use super::peak_ewma::PENALTY;
use super::{Backend, Timestamp};

/// How a request ended, as seen from the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole response arrived.
    Success,
    /// The backend refused, broke off, stalled or made no sense.
    Failure,
    /// The client left, or we gave up for a reason that is not the backend's.
    Cancelled,
}

impl Outcome {
    /// Every label, in the order of [`Outcome::index`].
    pub const LABELS: [&'static str; 3] = ["success", "failure", "cancelled"];

    /// Position in [`Outcome::LABELS`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A request in flight at a backend. Counts itself when made and again when it ends, which is
/// when the response body has ended or the guard is dropped for any reason: cancellation, panic
/// and early return included.
#[derive(Debug)]
pub struct InFlight {
    backend: Arc<Backend>,
    outcome: Outcome,
    /// It counts in the pool's total as well.
    in_total: bool,
}

impl InFlight {
    /// The guard of a request that `backend` has just counted in.
    pub(super) fn new(backend: Arc<Backend>, in_total: bool) -> Self {
        InFlight { backend, outcome: Outcome::Cancelled, in_total }
    }

    /// The head of the answer arrived after `elapsed`.
    pub fn answered(&self, elapsed: Duration, now: Timestamp) {
        self.backend.observe_latency(elapsed, now);
    }

    /// The backend has failed after `elapsed`: who fails quickly must not look fast.
    pub fn failed(self, elapsed: Duration, now: Timestamp) {
        self.backend.observe_latency(elapsed.max(PENALTY), now);
        self.finish(Outcome::Failure);
    }

    /// Where the request is.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Ends the request. Without this call the outcome is [`Outcome::Cancelled`].
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.backend.finish(self.outcome, self.in_total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Cause;
    use crate::balance::balancer::tests::backends;

    #[test]
    fn every_way_to_end_counts_once() {
        let backend = &backends(&[1])[0];
        let start = || backend.start(Cause::Free).unwrap();
        let (a, b, c) = (start(), start(), start());
        assert_eq!(backend.in_flight(), 3);
        a.finish(Outcome::Success);
        b.finish(Outcome::Failure);
        drop(c);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = start();
            panic!("the handler failed");
        }));
        assert!(panicked.is_err());
        assert_eq!(backend.in_flight(), 0);
        assert_eq!(backend.outcomes(), [1, 1, 2]);
        assert_eq!(backend.placed()[Cause::Free.index()], 4);
    }
}
