//! Tunnels: requests that have become connections for as long as the two ends like (WebSocket and
//! other upgrades). Nobody can wait for them to end by themselves, so they can be asked to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Backend, InFlight, Outcome};

/// The tunnels of a backend that have not been asked to end, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Tunnels(Mutex<VecDeque<Arc<Bell>>>);

/// By which one tunnel is asked.
#[derive(Debug, Default)]
struct Bell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    has_rung: bool,
    waker: Option<Waker>,
}

/// A tunnel to a backend: in flight there, and counted as a tunnel as well, until it ends.
#[derive(Debug)]
pub struct Tunnel {
    in_flight: InFlight,
    bell: Arc<Bell>,
}

impl Tunnels {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Bell>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have not been asked?
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Is there one that has not been asked?
    pub(super) fn any(&self) -> bool {
        self.count() > 0
    }

    /// Asks the oldest one to end. `false` if there is none.
    pub(super) fn close_one(&self) -> bool {
        let oldest = self.lock().pop_front();
        oldest.inspect(|bell| bell.ring()).is_some()
    }
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let waker = {
            let mut state = self.lock();
            state.has_rung = true;
            state.waker.take()
        };
        waker.inspect(Waker::wake_by_ref);
    }
}

impl Tunnel {
    pub(super) fn new(in_flight: InFlight) -> Self {
        let bell = Arc::<Bell>::default();
        let backend = in_flight.backend();
        backend.add_tunnel();
        backend.open_tunnels().lock().push_back(bell.clone());
        Tunnel { in_flight, bell }
    }

    /// Where it leads.
    pub fn backend(&self) -> &Arc<Backend> {
        self.in_flight.backend()
    }

    /// Ready when it is asked to end: its backend has drained for long enough, or we stop.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.bell.lock();
        if state.has_rung {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ends it. Without this call the outcome is [`Outcome::Cancelled`].
    pub fn finish(mut self, outcome: Outcome) {
        self.in_flight.set_outcome(outcome);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let backend = self.in_flight.backend();
        backend.open_tunnels().lock().retain(|bell| !Arc::ptr_eq(bell, &self.bell));
        backend.remove_tunnel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Cause;
    use crate::balance::balancer::tests::backends;

    #[test]
    fn the_oldest_is_asked_first_and_each_once() {
        let backend = &backends(&[1])[0];
        let open = || backend.start(Cause::Free).unwrap().into_tunnel();
        let (first, second, third) = (open(), open(), open());
        let asked = |tunnel: &Tunnel| {
            tunnel.poll_closing(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        assert_eq!((backend.tunnels(), backend.in_flight()), (3, 3));
        drop(first);
        assert!(!asked(&second) && !asked(&third));
        assert!(backend.open_tunnels().close_one());
        assert!(asked(&second) && asked(&second) && !asked(&third));
        second.finish(Outcome::Success);
        assert_eq!((backend.tunnels(), backend.in_flight()), (1, 1));
        assert!(backend.open_tunnels().any() && backend.open_tunnels().close_one());
        assert!(!backend.open_tunnels().any() && !backend.open_tunnels().close_one());
        drop(third);
        assert_eq!((backend.tunnels(), backend.in_flight()), (0, 0));
        assert_eq!(backend.outcomes(), [1, 0, 2]);
    }
}
