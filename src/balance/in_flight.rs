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
    is_tunnel: bool,
    /// It counts in the pool's total as well.
    in_total: bool,
}

impl InFlight {
    /// The guard of a request that `backend` has just counted in.
    pub(super) fn new(backend: Arc<Backend>, in_total: bool) -> Self {
        InFlight { backend, outcome: Outcome::Cancelled, is_tunnel: false, in_total }
    }

    /// The head of the answer arrived after `elapsed`.
    pub fn answered(&self, elapsed: Duration, now: Timestamp) {
        self.backend.observe_latency(elapsed, now);
    }

    /// It has become a tunnel: bytes both ways, for as long as the two ends like. Still in flight,
    /// and counted as a tunnel as well.
    pub fn becomes_tunnel(&mut self) {
        if !std::mem::replace(&mut self.is_tunnel, true) {
            self.backend.add_tunnel();
        }
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
        if self.is_tunnel {
            self.backend.remove_tunnel();
        }
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
        let (a, b, mut c) = (start(), start(), start());
        assert_eq!((backend.in_flight(), backend.tunnels()), (3, 0));
        c.becomes_tunnel();
        c.becomes_tunnel();
        assert_eq!((backend.in_flight(), backend.tunnels()), (3, 1));
        a.finish(Outcome::Success);
        b.finish(Outcome::Failure);
        drop(c);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = start();
            panic!("the handler failed");
        }));
        assert!(panicked.is_err());
        assert_eq!((backend.in_flight(), backend.tunnels()), (0, 0));
        assert_eq!(backend.outcomes(), [1, 1, 2]);
        assert_eq!(backend.placed()[Cause::Free.index()], 4);
    }
}
