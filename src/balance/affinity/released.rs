//! Sessions that an operator has released, until their tokens are worthless anyway.
//!
//! A token is good for whoever can open it, so letting a session go takes a memory: tokens of that
//! session from before the release do not bind it any more, and its next request is placed anew.
//! It is this proxy's memory. Another one in front of the same backends honours the old token until
//! the client comes here and gets a new one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use super::{Grant, SessionId};
use crate::balance::Timestamp;

/// Sessions that are remembered at most. Of more the oldest are forgotten, and bound again where
/// they were. Whole backends are released in another way.
const CAPACITY: usize = 1 << 16;

/// Which sessions were released when.
#[derive(Debug)]
pub(in crate::balance) struct Released {
    /// When, in milliseconds as tokens have them.
    sessions: DashMap<SessionId, u64, FixedState>,
    /// Sessions in `sessions`: what requests look at, and nearly always all that they look at.
    len: AtomicUsize,
    /// In order of release.
    order: Mutex<VecDeque<(u64, SessionId)>>,
}

impl Released {
    pub(in crate::balance) fn new(seed: u64) -> Self {
        Released {
            sessions: DashMap::with_hasher(FixedState::with_seed(seed)),
            len: AtomicUsize::new(0),
            order: Mutex::default(),
        }
    }

    pub(in crate::balance) fn add(&self, session: SessionId, now: Timestamp) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back((now.as_millis(), session));
        self.sessions.insert(session, now.as_millis());
        if order.len() > CAPACITY
            && let Some(oldest) = order.pop_front()
        {
            self.forget(oldest);
        }
        self.len.store(self.sessions.len(), Ordering::Relaxed);
    }

    /// Is this the token of a session that was released after the token was made?
    #[inline]
    pub(in crate::balance) fn has(&self, grant: &Grant) -> bool {
        self.len.load(Ordering::Relaxed) > 0
            && self
                .sessions
                .get(&grant.session)
                .is_some_and(|at| grant.refreshed.as_millis() <= *at)
    }

    /// Forgets releases from so long ago.
    pub(in crate::balance) fn expire(&self, lifetime: Duration, now: Timestamp) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that steps leaves them out of order.
        order.retain(|&release| {
            let is_over = now.since(Timestamp::from_millis(release.0)) > lifetime;
            if is_over {
                self.forget(release);
            }
            !is_over
        });
        self.len.store(self.sessions.len(), Ordering::Relaxed);
    }

    /// Unless it was released again since.
    fn forget(&self, (at, session): (u64, SessionId)) {
        self.sessions.remove_if(&session, |_, latest| *latest == at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::BackendId;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + secs * 1_000)
    }

    fn token(session: u64, refreshed: Timestamp) -> Grant {
        let (backend, session) = (BackendId::from_bits(1), SessionId::from_bits(session));
        Grant { backend, session, issued: at(0), refreshed }
    }

    #[test]
    fn tokens_from_before_the_release_are_meant_and_no_others() {
        let released = Released::new(1);
        assert!(!released.has(&token(1, at(0))));
        released.add(SessionId::from_bits(1), at(10));
        assert!(released.has(&token(1, at(9))) && released.has(&token(1, at(10))));
        assert!(!released.has(&token(1, at(11))) && !released.has(&token(2, at(9))));
        released.add(SessionId::from_bits(1), at(20));
        released.expire(Duration::from_secs(100), at(111));
        assert!(released.has(&token(1, at(15))), "released again");
        released.expire(Duration::from_secs(100), at(121));
        assert!(!released.has(&token(1, at(15))));
        assert_eq!(released.len.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let released = Released::new(1);
        (0..CAPACITY as u64 + 5).for_each(|n| released.add(SessionId::from_bits(n), at(1)));
        assert!(!released.has(&token(4, at(0))) && released.has(&token(5, at(0))));
        assert_eq!(released.sessions.len(), CAPACITY);
    }
}
