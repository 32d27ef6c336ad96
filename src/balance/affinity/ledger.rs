//! The ledger: which sessions this proxy has seen lately, and where they are bound.
//!
//! The token alone is enough to route a session. The ledger exists to *count*: sessions per
//! backend, exactly, at any moment. That number is what a drain waits for and what a crash would
//! cost.
//!
//! Other proxies paid dearly for a session table behind one lock. Here a request of a known
//! session takes a shard's read lock and, when its last sight is recent enough, writes nothing at
//! all: times are kept to 1/64 of the idle timeout, which no reader notices. Only a new, moved or
//! ended session takes a write lock.

mod arrival;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::FixedState;

use self::arrival::{Arrival, Formers};
use super::{SessionId, nanos};
use crate::balance::drain::Departure;
use crate::balance::{Backend, BackendId, Cause, Timestamp};

/// Sessions and their homes.
#[derive(Debug)]
pub struct Ledger {
    /// Its order depends on the seed: who lists it sorts the list.
    sessions: DashMap<SessionId, Stay, FixedState>,
    /// Sessions in `sessions`; counting the map itself would lock every shard.
    len: AtomicUsize,
    capacity: AtomicUsize,
    /// Sessions that found the ledger full.
    untracked: AtomicU64,
    /// In nanoseconds; both change together, under the lock of `due`.
    idle_timeout: AtomicU64,
    /// Time to which last sights and ends are kept, in nanoseconds.
    grain: AtomicU64,
    /// When to look at which session again, by end of grain. A session is in exactly one bucket,
    /// at or before its end. Locked when a session begins and by [`Ledger::expire`].
    due: Mutex<BTreeMap<u64, Vec<SessionId>>>,
    /// Where sessions have moved from.
    formers: Formers,
}

/// Where a session lives, and how that came about, as far as this proxy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residence {
    /// Its home.
    pub backend: BackendId,
    /// Why it came there; [`Cause::Bound`] if it lived there before this proxy knew of it.
    /// `None` if it has moved from more places than can be remembered.
    pub cause: Option<Cause>,
    /// The name of the home that it has moved from, if it was known then.
    pub from: Option<Box<str>>,
    /// When that was.
    pub since: Timestamp,
    /// When it was seen last, to the grain.
    pub last_seen: Timestamp,
}

fn grain(idle_timeout: Duration) -> Duration {
    (idle_timeout / 64).max(Duration::from_millis(1))
}

#[derive(Debug)]
struct Stay {
    backend: Arc<Backend>,
    /// Since when it lives there, and why.
    arrival: Arrival,
    /// Nanoseconds since the epoch.
    last_seen: AtomicU64,
}

impl Stay {
    fn last_seen(&self) -> Timestamp {
        Timestamp::from_nanos(self.last_seen.load(Ordering::Relaxed))
    }
}

/// Whether what is said of a session agrees with what is known of it.
enum Sight {
    /// It lives there.
    AtHome,
    /// It lives elsewhere, since then.
    Elsewhere(Timestamp),
    /// Nothing was known of it.
    New,
}

impl Ledger {
    /// An empty ledger. `seed` keeps clients who choose their keys from choosing shards.
    pub fn new(idle_timeout: Duration, capacity: usize, seed: u64) -> Self {
        Ledger {
            sessions: DashMap::with_hasher(FixedState::with_seed(seed)),
            len: AtomicUsize::new(0),
            capacity: AtomicUsize::new(capacity),
            untracked: AtomicU64::new(0),
            idle_timeout: AtomicU64::new(nanos(idle_timeout)),
            grain: AtomicU64::new(nanos(grain(idle_timeout))),
            due: Mutex::default(),
            formers: Formers::default(),
        }
    }

    /// Another idle timeout, which counts for the sessions of today, too, and another capacity:
    /// whoever is in stays in.
    pub(in crate::balance) fn reconfigure(
        &self,
        idle_timeout: Duration,
        capacity: usize,
        now: Timestamp,
    ) {
        self.capacity.store(capacity, Ordering::Relaxed);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if self.idle_timeout.swap(nanos(idle_timeout), Ordering::Relaxed) == nanos(idle_timeout) {
            return;
        }
        self.grain.store(nanos(grain(idle_timeout)), Ordering::Relaxed);
        // Their buckets mean nothing any more: all of them are looked at in the next one.
        let all = std::mem::take(&mut *due).into_values().flatten().collect();
        due.insert(self.bucket(now), all);
    }

    fn idle_timeout(&self) -> Duration {
        Duration::from_nanos(self.idle_timeout.load(Ordering::Relaxed))
    }

    /// Sessions known.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Is no session known?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Times that a session was not recorded because the ledger was full. While this grows, the
    /// counts of sessions are lower bounds.
    pub fn untracked(&self) -> u64 {
        self.untracked.load(Ordering::Relaxed)
    }

    /// Where a session is bound, as far as this proxy knows.
    pub fn home(&self, session: SessionId) -> Option<BackendId> {
        self.sessions.get(&session).map(|stay| stay.backend.id())
    }

    /// Where a session lives, and when it was last seen, to the grain.
    pub(in crate::balance) fn last_seen(
        &self,
        session: SessionId,
    ) -> Option<(BackendId, Timestamp)> {
        self.sessions.get(&session).map(|stay| (stay.backend.id(), stay.last_seen()))
    }

    /// To what last sights are kept.
    pub(in crate::balance) fn grain(&self) -> Duration {
        Duration::from_nanos(self.grain.load(Ordering::Relaxed))
    }

    /// Where a session lives, since when, and why.
    pub fn residence(&self, session: SessionId) -> Option<Residence> {
        let stay = self.sessions.get(&session)?;
        let (cause, from) = self.formers.cause(stay.arrival).unzip();
        Some(Residence {
            backend: stay.backend.id(),
            cause,
            from: from.flatten(),
            since: stay.arrival.at(),
            last_seen: stay.last_seen(),
        })
    }

    /// Records that `session`, which lives at `backend`, was served. If it is known to live
    /// elsewhere nothing is recorded, and the answer is since when.
    pub(in crate::balance) fn see(
        &self,
        session: SessionId,
        backend: &Arc<Backend>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        match self.look(session, backend, now) {
            Sight::AtHome => None,
            Sight::Elsewhere(since) => Some(since),
            Sight::New => {
                self.record(session, backend, now, Cause::Bound);
                None
            }
        }
    }

    /// Records that `session` lives at `backend` from now on, wherever it was, for this cause.
    pub(in crate::balance) fn settle(
        &self,
        session: SessionId,
        backend: &Arc<Backend>,
        now: Timestamp,
        cause: Cause,
    ) {
        if !matches!(self.look(session, backend, now), Sight::AtHome) {
            self.record(session, backend, now, cause);
        }
    }

    /// Records the sight of a session, if it lives at `backend`.
    fn look(&self, session: SessionId, backend: &Backend, now: Timestamp) -> Sight {
        let Some(stay) = self.sessions.get(&session) else { return Sight::New };
        if stay.backend.id() != backend.id() {
            return Sight::Elsewhere(stay.arrival.at());
        }
        let last = stay.last_seen();
        // Either way: a clock that was ahead must not keep the session for ever. What drains
        // wants to know exactly who has paused.
        let elapsed = now.nanos_since(last).max(last.nanos_since(now));
        if elapsed >= self.grain.load(Ordering::Relaxed) || backend.is_leaving() {
            stay.last_seen.store(now.as_nanos(), Ordering::Relaxed);
        }
        Sight::AtHome
    }

    /// A session that is new here or has moved.
    #[cold]
    fn record(&self, session: SessionId, backend: &Arc<Backend>, now: Timestamp, cause: Cause) {
        let new = |from: Option<&Backend>| Stay {
            backend: backend.clone(),
            arrival: self.formers.arrival(cause, from, now),
            last_seen: AtomicU64::new(now.as_nanos()),
        };
        match self.sessions.entry(session) {
            Entry::Occupied(mut stay) => {
                let new = new(Some(&stay.get().backend));
                let departure = match cause.reason() {
                    Some(reason) => Departure::Moved(reason),
                    None => Departure::Left,
                };
                stay.insert(new).backend.remove_session(departure);
            }
            Entry::Vacant(vacant) => {
                if self.len.fetch_add(1, Ordering::Relaxed) >= self.capacity.load(Ordering::Relaxed)
                {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    self.untracked.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                vacant.insert(new(None));
                self.look_again_at(now + self.idle_timeout(), session);
            }
        }
        backend.add_session();
    }

    /// The sessions of `home` that were last seen before `horizon`, longest ago first.
    pub(in crate::balance) fn away_from(
        &self,
        home: BackendId,
        horizon: Timestamp,
    ) -> Vec<SessionId> {
        let sessions = self.sessions.iter().filter_map(|entry| {
            let (stay, last_seen) = (entry.value(), entry.value().last_seen());
            let is_away = stay.backend.id() == home && last_seen <= horizon;
            is_away.then(|| (last_seen, entry.key().to_bits()))
        });
        let mut sessions: Vec<_> = sessions.collect();
        sessions.sort_unstable();
        sessions.into_iter().map(|(_, session)| SessionId::from_bits(session)).collect()
    }

    /// All sessions and their homes, in no order.
    pub(in crate::balance) fn homes(&self) -> Vec<(SessionId, BackendId)> {
        self.sessions.iter().map(|entry| (*entry.key(), entry.value().backend.id())).collect()
    }

    /// Ends all sessions that live at `home`. Gives how many.
    pub(in crate::balance) fn end_all(&self, home: BackendId) -> usize {
        let sessions = self.away_from(home, Timestamp::from_nanos(u64::MAX));
        let is_there = |_: &SessionId, stay: &Stay| stay.backend.id() == home;
        let ended = sessions.iter().filter_map(|session| {
            let (_, stay) = self.sessions.remove_if(session, is_there)?;
            self.forget(&stay, Departure::Left);
            Some(())
        });
        ended.count()
    }

    /// Does the session live at `home`, and was it last seen before `horizon`?
    pub(in crate::balance) fn is_away_from(
        &self,
        session: SessionId,
        home: BackendId,
        horizon: Timestamp,
    ) -> bool {
        let stay = self.sessions.get(&session);
        stay.is_some_and(|stay| stay.backend.id() == home && stay.last_seen() <= horizon)
    }

    /// Takes a session off the books, if it lives at `home`: it is not waited for any longer.
    pub(in crate::balance) fn cut(&self, session: SessionId, home: BackendId) {
        if let Some((_, stay)) =
            self.sessions.remove_if(&session, |_, stay| stay.backend.id() == home)
        {
            self.forget(&stay, Departure::Cut);
        }
    }

    /// Ends a session now. Gives its home, if it was known.
    pub fn end(&self, session: SessionId) -> Option<BackendId> {
        let (_, stay) = self.sessions.remove(&session)?;
        self.forget(&stay, Departure::Left);
        Some(stay.backend.id())
    }

    /// A session leaves for another pool.
    pub(in crate::balance) fn hand_over(&self, session: SessionId, reason: crate::balance::Reason) {
        if let Some((_, stay)) = self.sessions.remove(&session) {
            self.forget(&stay, Departure::Moved(reason));
        }
    }

    /// Ends the sessions that have been idle for too long. Gives how many. The work is in
    /// proportion to the sessions whose turn it is, not to all.
    pub fn expire(&self, now: Timestamp) -> usize {
        let over = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let mut later = due.split_off(&self.bucket(now));
            // A clock that was ahead made these: nothing is due later than that by this one.
            let too_late = later.split_off(&(self.bucket(now + self.idle_timeout()) + 2));
            let mut over = std::mem::replace(&mut *due, later);
            over.extend(too_late);
            over
        };
        let mut ended = 0;
        for session in over.into_values().flatten() {
            // Under the shard's lock: nobody can see the session between the look and the end.
            let end = |stay: &Stay| stay.last_seen() + self.idle_timeout();
            match self.sessions.remove_if(&session, |_, stay| end(stay) < now) {
                Some((_, stay)) => {
                    self.forget(&stay, Departure::Left);
                    ended += 1;
                }
                None => {
                    if let Some(stay) = self.sessions.get(&session) {
                        self.look_again_at(end(&stay).max(now), session);
                    }
                }
            }
        }
        ended
    }

    fn forget(&self, stay: &Stay, departure: Departure) {
        stay.backend.remove_session(departure);
        self.len.fetch_sub(1, Ordering::Relaxed);
    }

    fn look_again_at(&self, time: Timestamp, session: SessionId) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.entry(self.bucket(time) + 1).or_default().push(session);
    }

    fn bucket(&self, time: Timestamp) -> u64 {
        time.as_nanos() / self.grain.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Reason;
    use crate::balance::balancer::tests::backends;

    const IDLE: Duration = Duration::from_secs(64);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + secs * 1_000)
    }

    fn id(bits: u64) -> SessionId {
        SessionId::from_bits(bits)
    }

    #[test]
    fn counts_follow_sessions_as_they_come_move_and_end() {
        let backends = backends(&[1, 1]);
        let ledger = Ledger::new(IDLE, 100, 1);
        let counts = || (backends[0].sessions(), backends[1].sessions(), ledger.len());
        ledger.see(id(1), &backends[0], at(0));
        ledger.see(id(1), &backends[0], at(1));
        ledger.see(id(2), &backends[0], at(1));
        assert_eq!(counts(), (2, 0, 2));
        assert_eq!(ledger.see(id(1), &backends[1], at(2)), Some(at(0)), "it lives elsewhere");
        assert_eq!(counts(), (2, 0, 2));
        let draining = Cause::Moved { from: backends[0].id(), reason: Reason::Draining };
        ledger.settle(id(1), &backends[1], at(2), draining);
        assert_eq!(counts(), (1, 1, 2), "moved");
        assert_eq!(ledger.home(id(1)), Some(backends[1].id()));
        assert_eq!(ledger.end(id(2)), Some(backends[0].id()));
        assert_eq!(ledger.end(id(2)), None);
        assert_eq!(counts(), (0, 1, 1));
    }

    #[test]
    fn it_is_known_why_a_session_is_where_it_is() {
        let backends = backends(&[1, 1]);
        let ledger = Ledger::new(IDLE, 100, 1);
        let cause = |session| ledger.residence(id(session)).unwrap().cause.unwrap();
        ledger.settle(id(1), &backends[0], at(0), Cause::New);
        ledger.see(id(1), &backends[0], at(9));
        ledger.see(id(2), &backends[0], at(1));
        assert_eq!((cause(1), cause(2)), (Cause::New, Cause::Bound));
        assert_eq!(ledger.residence(id(1)).unwrap().since, at(0), "a visit changes nothing");
        let moved = |reason| Cause::Moved { from: backends[0].id(), reason };
        ledger.settle(id(1), &backends[1], at(20), moved(Reason::Down));
        // The second request of the same move.
        ledger.settle(id(1), &backends[1], at(21), Cause::Bound);
        let residence = ledger.residence(id(1)).unwrap();
        assert_eq!((residence.backend, residence.since), (backends[1].id(), at(20)));
        assert_eq!(residence.cause, Some(moved(Reason::Down)));
        assert_eq!(residence.from.as_deref(), Some(backends[0].name()));
        // Nothing was known of this one when it moved.
        ledger.settle(id(3), &backends[1], at(20), moved(Reason::Removed));
        assert_eq!((cause(3), ledger.residence(id(4))), (moved(Reason::Removed), None));
        assert_eq!(size_of::<Stay>(), 24, "there are millions of them");
    }

    #[test]
    fn a_session_ends_when_it_was_idle_and_not_before() {
        let backends = backends(&[1]);
        let ledger = Ledger::new(IDLE, 100, 1);
        ledger.see(id(1), &backends[0], at(0));
        ledger.see(id(2), &backends[0], at(0));
        ledger.see(id(2), &backends[0], at(40));
        assert_eq!(ledger.expire(at(63)), 0);
        assert_eq!(ledger.expire(at(66)), 1, "only the one that was not seen again");
        assert_eq!(ledger.home(id(1)), None);
        assert_eq!(ledger.expire(at(103)), 0);
        assert_eq!(ledger.expire(at(106)), 1);
        assert_eq!((backends[0].sessions(), ledger.len()), (0, 0));
        assert!(ledger.due.lock().unwrap().is_empty(), "nothing is left behind");
    }

    #[test]
    fn an_ended_session_that_comes_back_is_counted_once() {
        let backends = backends(&[1]);
        let ledger = Ledger::new(IDLE, 100, 1);
        ledger.see(id(1), &backends[0], at(0));
        ledger.end(id(1));
        ledger.see(id(1), &backends[0], at(10));
        // Its first bucket comes due while its second stay is young.
        assert_eq!(ledger.expire(at(66)), 0);
        assert_eq!(backends[0].sessions(), 1);
        assert_eq!(ledger.expire(at(80)), 1);
        assert_eq!((backends[0].sessions(), ledger.len()), (0, 0));
        assert_eq!(ledger.expire(at(200)), 0);
    }

    #[test]
    fn a_full_ledger_takes_no_more_and_says_so() {
        let backends = backends(&[1]);
        let ledger = Ledger::new(IDLE, 2, 1);
        (0..5).for_each(|session| _ = ledger.see(id(session), &backends[0], at(0)));
        assert_eq!((ledger.len(), ledger.untracked(), backends[0].sessions()), (2, 3, 2));
        ledger.end(id(0));
        ledger.see(id(9), &backends[0], at(0));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn a_clock_that_steps_back_ends_nothing_early() {
        let backends = backends(&[1]);
        let ledger = Ledger::new(IDLE, 100, 1);
        ledger.see(id(1), &backends[0], at(1_000));
        ledger.see(id(1), &backends[0], at(0));
        assert_eq!(ledger.expire(at(1)), 0);
        assert_eq!(ledger.expire(at(63)), 0);
        assert_eq!(ledger.expire(at(66)), 1, "and keeps nothing for longer");
    }
}
