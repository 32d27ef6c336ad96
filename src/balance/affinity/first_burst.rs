//! The first burst of a client: a browser that knows no token yet opens a page, and sends half a
//! dozen requests at once. Without this each of them would begin a session, on any backend, and
//! the last answer would win.
//!
//! What is known of a client is a number that the shell makes of its address and user agent. It is
//! kept for the time of the burst only, and for a bounded number of clients; beyond that they are
//! placed as if nobody looked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::FixedState;

use super::SessionId;
use crate::balance::{BackendId, Timestamp};

/// Clients that are remembered at most.
const CAPACITY: usize = 1 << 16;

/// Clients that have just come.
#[derive(Debug)]
pub(in crate::balance) struct FirstBurst {
    clients: DashMap<u64, First, FixedState>,
    len: AtomicUsize,
}

/// Where a client's first request went.
#[derive(Clone, Copy, Debug)]
pub(in crate::balance) struct First {
    pub(in crate::balance) backend: BackendId,
    /// The session that begins with it.
    pub(in crate::balance) session: SessionId,
    at: Timestamp,
}

impl First {
    /// Of two workers one may be a little behind, and a clock that has stepped back by more than
    /// that ends it, too.
    fn is_fresh(&self, window: Duration, now: Timestamp) -> bool {
        now.since(self.at).max(self.at.since(now)) < window
    }
}

impl FirstBurst {
    pub(in crate::balance) fn new(seed: u64) -> Self {
        let clients = DashMap::with_hasher(FixedState::with_seed(seed));
        FirstBurst { clients, len: AtomicUsize::new(0) }
    }

    /// Goes where the client's first request went, by `join`, or is the first of them and goes
    /// where `begin` says. All that come at once wait for that: it does not take long.
    pub(in crate::balance) fn place<T>(
        &self,
        client: u64,
        window: Duration,
        now: Timestamp,
        join: impl FnOnce(First) -> Option<T>,
        begin: impl FnOnce() -> (T, Option<(BackendId, SessionId)>),
    ) -> T {
        let entry = self.clients.entry(client);
        if let Entry::Occupied(known) = &entry
            && known.get().is_fresh(window, now)
            && let Some(joined) = join(*known.get())
        {
            return joined;
        }
        let (begun, first) = begin();
        let Some((backend, session)) = first else { return begun };
        let first = First { backend, session, at: now };
        match entry {
            Entry::Occupied(mut known) => drop(known.insert(first)),
            Entry::Vacant(vacant) => {
                if self.len.fetch_add(1, Ordering::Relaxed) < CAPACITY {
                    vacant.insert(first);
                } else {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        begun
    }

    /// Forgets those whose burst is over.
    pub(in crate::balance) fn expire(&self, window: Duration, now: Timestamp) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.clients.retain(|_, first| {
            let stays = first.is_fresh(window, now);
            if !stays {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn place(burst: &FirstBurst, client: u64, backend: u64, now: Timestamp) -> u64 {
        let first = (BackendId::from_bits(backend), SessionId::from_bits(backend));
        let join = |first: First| Some(first.backend.to_bits());
        burst.place(client, WINDOW, now, join, || (backend, Some(first)))
    }

    #[test]
    fn those_who_come_together_go_together_and_later_ones_do_not() {
        let burst = FirstBurst::new(1);
        assert_eq!(place(&burst, 7, 1, at(0)), 1);
        assert_eq!(place(&burst, 7, 2, at(1_999)), 1);
        assert_eq!(place(&burst, 8, 2, at(1_999)), 2, "another client");
        assert_eq!(place(&burst, 7, 3, at(2_000)), 3, "the first counts, not the last");
        assert_eq!(place(&burst, 7, 4, at(1_900)), 3, "a worker that is behind");
        assert_eq!(place(&burst, 7, 4, at(0)), 4, "the clock has stepped back");
    }

    #[test]
    fn it_is_bounded_and_forgets() {
        let burst = FirstBurst::new(1);
        for client in 0..CAPACITY as u64 + 10 {
            place(&burst, client, 1, at(0));
        }
        let len = || burst.len.load(Ordering::Relaxed);
        assert_eq!((len(), burst.clients.len()), (CAPACITY, CAPACITY));
        burst.expire(WINDOW, at(1_999));
        assert_eq!(len(), CAPACITY);
        burst.expire(WINDOW, at(2_000));
        assert_eq!((len(), burst.clients.len()), (0, 0));
    }
}
