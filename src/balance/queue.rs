//! Waiting for a backend: for one that is at its limit, or for a home that is out of service.
//!
//! A queue is first come, first served, and bounded. Nobody overtakes: a request that finishes
//! hands its place in flight over to the one that has waited longest, instead of giving it back
//! to whoever comes next. Waiting itself is the caller's: it polls its [`Wait`] from a task, or
//! from a simulator's event loop, and keeps the time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{BackendId, Cause, InFlight, Placement, Timestamp};

/// How requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Requests that wait for the same backend, or for any, at most.
    pub length: u32,
    /// How long each of them waits at most.
    pub timeout: Duration,
}

impl Default for QueueSpec {
    fn default() -> Self {
        QueueSpec { length: 128, timeout: Duration::from_secs(5) }
    }
}

/// The requests that wait for the same thing.
pub(super) struct Queue {
    /// In order of arrival.
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
    /// How many those are; written under the lock.
    len: AtomicU32,
}

/// One request that waits.
struct Waiter {
    state: Mutex<State>,
    /// When it asked first.
    since: Timestamp,
    /// Why it will be placed where it is placed,
    cause: Cause,
    /// unless that is its home, which may come back while it waits for any backend.
    home: Option<BackendId>,
    /// Where it must not go.
    tried: Vec<BackendId>,
}

/// What a request brings to a queue.
pub(super) struct Claim<'a> {
    /// Why it will be placed where it is placed,
    pub(super) cause: Cause,
    /// unless that is here.
    pub(super) home: Option<BackendId>,
    /// Where it must not go.
    pub(super) tried: &'a [BackendId],
    /// When it asked first.
    pub(super) since: Timestamp,
}

enum State {
    Waiting(Option<Waker>),
    Woken(Woken),
    Gone,
}

/// Why the waiting is over.
#[derive(Debug)]
pub enum Woken {
    /// A place has been handed over: the request is in flight there.
    Placed(Placement, InFlight),
    /// Something has changed: ask again.
    Changed,
}

/// A request's place in a queue. Dropping it leaves the queue.
pub struct Wait {
    waiter: Arc<Waiter>,
    queue: Arc<Queue>,
    deadline: Timestamp,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Queue { waiters: Mutex::default(), len: AtomicU32::new(0) })
    }

    /// Requests that wait.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins at the end. `None` if `limit` are waiting already.
    pub(super) fn join(
        self: &Arc<Self>,
        limit: u32,
        claim: Claim<'_>,
        deadline: Timestamp,
    ) -> Option<Wait> {
        let mut waiters = self.lock();
        if waiters.len() >= limit as usize {
            return None;
        }
        let state = Mutex::new(State::Waiting(None));
        let Claim { cause, home, tried, since } = claim;
        let waiter = Arc::new(Waiter { state, since, cause, home, tried: tried.to_vec() });
        waiters.push_back(waiter.clone());
        self.len.store(waiters.len() as u32, Ordering::SeqCst);
        Some(Wait { waiter, queue: self.clone(), deadline })
    }

    /// When the first who may go to `backend` asked.
    #[inline]
    pub(super) fn first(&self, backend: BackendId) -> Option<Timestamp> {
        if self.len() == 0 { None } else { self.first_of_those(backend) }
    }

    #[cold]
    fn first_of_those(&self, backend: BackendId) -> Option<Timestamp> {
        self.lock().iter().find(|waiter| waiter.may_go_to(backend)).map(|waiter| waiter.since)
    }

    /// Takes out the first who may go to `backend` and gives it what `place` makes. `false` if
    /// there is none.
    pub(super) fn call(
        &self,
        backend: BackendId,
        place: impl FnOnce(Cause) -> (Placement, InFlight),
    ) -> bool {
        let mut waiters = self.lock();
        let Some(at) = waiters.iter().position(|waiter| waiter.may_go_to(backend)) else {
            return false;
        };
        let waiter = waiters.remove(at);
        self.len.store(waiters.len() as u32, Ordering::SeqCst);
        drop(waiters);
        if let Some(waiter) = waiter {
            let is_home = waiter.home == Some(backend);
            let cause = if is_home { Cause::Bound } else { waiter.cause };
            let (placement, in_flight) = place(cause);
            waiter.wake(Woken::Placed(placement, in_flight));
        }
        true
    }

    /// Tells everybody to ask again.
    pub(super) fn send_away(&self) {
        let waiters = {
            let mut waiters = self.lock();
            self.len.store(0, Ordering::SeqCst);
            std::mem::take(&mut *waiters)
        };
        waiters.iter().for_each(|waiter| waiter.wake(Woken::Changed));
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish()
    }
}

impl Waiter {
    fn may_go_to(&self, backend: BackendId) -> bool {
        !self.tried.contains(&backend)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, woken: Woken) {
        let mut state = self.lock();
        match &mut *state {
            State::Waiting(waker) => {
                let waker = waker.take();
                *state = State::Woken(woken);
                drop(state);
                waker.inspect(Waker::wake_by_ref);
            }
            // It left just now. What it was given goes back when it is dropped, unlocked: that
            // may call the next one.
            State::Woken(_) | State::Gone => {
                drop(state);
                drop(woken);
            }
        }
    }
}

impl Wait {
    /// When to stop waiting: ask again then, and the pool will not answer with a wait for the
    /// same reason.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Is the waiting over? At most once the answer is yes.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        let mut state = self.waiter.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Woken(woken) => Poll::Ready(woken),
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Gone => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.waiter.lock(), State::Gone);
        if let State::Waiting(_) = state {
            let mut waiters = self.queue.lock();
            waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
            self.queue.len.store(waiters.len() as u32, Ordering::SeqCst);
        }
        drop(state); // unlocked: a place that was handed over goes on to the next
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
