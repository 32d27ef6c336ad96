//! Sessions in the server's own memory, bounded in number and in idle time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Session;
use crate::balance::{Rng, Timestamp};

/// A session's id: 128 random bits, so that nobody guesses another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sid(u128);

impl Sid {
    pub(super) fn random(rng: &mut dyn Rng) -> Self {
        Sid(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Sid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        all_hex.then_some(()).ok_or(())?;
        u128::from_str_radix(text, 16).map(Sid).map_err(drop)
    }
}

/// A session, and when it was seen.
#[derive(Clone, Debug)]
struct Entry {
    session: Session,
    last_seen: Timestamp,
    /// Where it stands in [`Sessions::by_age`].
    turn: u64,
}

/// All sessions of one server.
#[derive(Debug)]
pub(in crate::lab::app) struct Sessions {
    sessions: HashMap<Sid, Entry>,
    /// The same sessions, the one that was idle longest first. Keys are turns, not times: two
    /// sessions can be seen at the same time.
    by_age: BTreeMap<u64, Sid>,
    next_turn: u64,
    capacity: usize,
    idle_timeout: Duration,
}

impl Sessions {
    /// No sessions yet, and never more than `capacity` (at least one).
    pub(super) fn new(capacity: usize, idle_timeout: Duration) -> Self {
        Sessions {
            sessions: HashMap::new(),
            by_age: BTreeMap::new(),
            next_turn: 0,
            capacity: capacity.max(1),
            idle_timeout,
        }
    }

    /// Begins a session; its first request is being served.
    pub(super) fn begin(&mut self, sid: Sid, session: Session, now: Timestamp) {
        self.expire(now);
        while self.sessions.len() >= self.capacity
            && let Some((_, longest_idle)) = self.by_age.pop_first()
        {
            self.sessions.remove(&longest_idle);
        }
        let turn = self.take_turn(sid);
        self.sessions.insert(sid, Entry { session, last_seen: now, turn });
    }

    /// The session, with one more request counted; `None` if it is not known or over.
    pub(super) fn visit(&mut self, sid: Sid, now: Timestamp) -> Option<&mut Session> {
        self.expire(now);
        let former_turn = self.sessions.get(&sid)?.turn;
        self.by_age.remove(&former_turn);
        let turn = self.take_turn(sid);
        let entry = self.sessions.get_mut(&sid)?;
        entry.session.requests += 1;
        entry.last_seen = now;
        entry.turn = turn;
        Some(&mut entry.session)
    }

    pub(super) fn end(&mut self, sid: Sid) {
        if let Some(entry) = self.sessions.remove(&sid) {
            self.by_age.remove(&entry.turn);
        }
    }

    /// How many there are.
    pub(super) fn count(&mut self, now: Timestamp) -> usize {
        self.expire(now);
        self.sessions.len()
    }

    fn take_turn(&mut self, sid: Sid) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.by_age.insert(turn, sid);
        turn
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.by_age.first_entry() {
            let sid = *oldest.get();
            let over = |entry: &Entry| now.since(entry.last_seen) > self.idle_timeout;
            if !self.sessions.get(&sid).is_none_or(over) {
                break;
            }
            oldest.remove();
            self.sessions.remove(&sid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + SECOND * seconds as u32
    }

    #[test]
    fn ids_are_read_as_written_and_nothing_else_is() {
        let sid = Sid(0x1f);
        assert_eq!(sid.to_string().parse(), Ok(sid));
        for bad in
            ["", "1f", "+0000000000000000000000000000001f", "x0000000000000000000000000000001"]
        {
            assert!(bad.parse::<Sid>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_session_ends_when_idle_and_not_while_busy() {
        let mut sessions = Sessions::new(10, 10 * SECOND);
        sessions.begin(Sid(1), Session::of("ada".into()), at(0));
        sessions.begin(Sid(2), Session::of("bob".into()), at(0));
        for second in [6, 12, 18] {
            assert!(sessions.visit(Sid(1), at(second)).is_some());
        }
        assert!(sessions.visit(Sid(2), at(18)).is_none());
        assert_eq!(sessions.visit(Sid(1), at(28)).unwrap().requests, 5);
        assert_eq!(sessions.by_age.len(), 1);
    }

    #[test]
    fn the_one_that_was_idle_longest_makes_room() {
        let mut sessions = Sessions::new(2, 100 * SECOND);
        sessions.begin(Sid(1), Session::of("ada".into()), at(0));
        sessions.begin(Sid(2), Session::of("bob".into()), at(1));
        sessions.visit(Sid(1), at(2));
        sessions.begin(Sid(3), Session::of("eve".into()), at(3));
        assert!(!sessions.sessions.contains_key(&Sid(2)), "bob was idle longest");
        assert_eq!(sessions.sessions[&Sid(1)].session.user, "ada");
        assert_eq!((sessions.sessions.len(), sessions.by_age.len()), (2, 2));
    }

    #[test]
    fn an_ended_session_leaves_nothing() {
        let mut sessions = Sessions::new(2, SECOND);
        sessions.begin(Sid(1), Session::of("ada".into()), at(0));
        sessions.end(Sid(1));
        sessions.end(Sid(1));
        assert!(sessions.sessions.is_empty() && sessions.by_age.is_empty());
    }
}
