//! Who is who: from session keys to numbers that are used again, so that memory follows the
//! sessions of the last half hour and not the length of the log.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::entry::Entry;

/// Nobody: a request without a session.
pub(super) const NOBODY: u32 = u32::MAX;

/// Bits of a visitor's number; the others tell apart who had it before.
pub(super) const NUMBER_BITS: u32 = 24;

/// A request as the simulated sites get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// In nanoseconds since the first one.
    pub(super) at: u64,
    /// Whose it is: a number, and above it how often that was used before.
    pub(super) visitor: u32,
    /// The hash of the session's key.
    pub(super) key: u64,
    /// The visitor's first.
    pub(super) is_first: bool,
    /// How long it took, if the log says so.
    pub(super) work: Option<u64>,
}

/// Receives visitors.
#[derive(Debug)]
pub(super) struct Reception {
    visitors: HashMap<u64, Visit, FixedState>,
    /// Numbers that nobody has any more, with their uses.
    free: Vec<u32>,
    /// Numbers ever used.
    len: u32,
    most: u32,
    idle_timeout: u64,
    next_sweep: u64,
    start: Option<u64>,
    /// Sessions that came.
    pub(super) sessions: u64,
    /// Requests without a session key, and those for whose session there was no room.
    pub(super) without: u64,
    pub(super) untracked: u64,
}

#[derive(Debug)]
struct Visit {
    visitor: u32,
    last_seen: u64,
}

impl Reception {
    /// A reception for `most` sessions at a time, each of which ends when it is idle for so long.
    pub(super) fn new(idle_timeout: u64, most: u32) -> Self {
        Reception {
            visitors: HashMap::default(),
            free: Vec::new(),
            len: 0,
            most: most.min(1 << NUMBER_BITS) - 1,
            idle_timeout,
            next_sweep: 0,
            start: None,
            sessions: 0,
            without: 0,
            untracked: 0,
        }
    }

    /// The next arrival, in the order of time.
    pub(super) fn receive(&mut self, entry: &Entry) -> Arrival {
        let at = entry.at - *self.start.get_or_insert(entry.at);
        if at >= self.next_sweep {
            self.sweep(at);
        }
        let (visitor, is_first) = match entry.key {
            None => {
                self.without += 1;
                (NOBODY, true)
            }
            Some(key) => self.visitor(key, at),
        };
        Arrival { at, visitor, key: entry.key.unwrap_or(at), is_first, work: entry.took }
    }

    fn visitor(&mut self, key: u64, at: u64) -> (u32, bool) {
        if let Some(visit) = self.visitors.get_mut(&key) {
            let is_over = at - visit.last_seen > self.idle_timeout;
            visit.last_seen = at;
            self.sessions += u64::from(is_over);
            return (visit.visitor, is_over);
        }
        let visitor = match self.free.pop() {
            Some(used) => used.wrapping_add(1 << NUMBER_BITS),
            None if self.len < self.most => {
                self.len += 1;
                self.len - 1
            }
            None => {
                self.untracked += 1;
                return (NOBODY, true);
            }
        };
        self.sessions += 1;
        self.visitors.insert(key, Visit { visitor, last_seen: at });
        (visitor, true)
    }

    /// Lets go of those who have not been seen for too long.
    fn sweep(&mut self, at: u64) {
        let Reception { visitors, free, idle_timeout, .. } = self;
        visitors.retain(|_, visit| {
            let stays = at - visit.last_seen <= *idle_timeout;
            if !stays {
                free.push(visit.visitor);
            }
            stays
        });
        // Whose turn it is must not depend on the order of the map.
        free.sort_unstable_by(|one, other| other.cmp(one));
        self.next_sweep = at + *idle_timeout / 8 + 1;
    }

    /// Numbers that are in use or have been.
    #[cfg(test)]
    pub(super) fn len(&self) -> u32 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64, key: u64) -> Entry {
        Entry { at, grain: 1, key: Some(key), took: None }
    }

    #[test]
    fn the_same_key_is_the_same_visitor_until_it_has_been_idle() {
        let mut reception = Reception::new(100, 1_000);
        let first = reception.receive(&entry(1_000, 7));
        assert_eq!((first.at, first.is_first), (0, true));
        let again = reception.receive(&entry(1_100, 7));
        assert_eq!((again.visitor, again.is_first), (first.visitor, false));
        let late = reception.receive(&entry(1_250, 7));
        assert!(late.is_first);
        assert_eq!(reception.sessions, 2);
    }

    #[test]
    fn numbers_are_used_again() {
        let mut reception = Reception::new(100, 1_000);
        for i in 0..100_000u64 {
            reception.receive(&entry(i * 10, i));
        }
        assert!(reception.len() < 30, "{}", reception.len());
        assert_eq!((reception.sessions, reception.untracked), (100_000, 0));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut reception = Reception::new(1_000, 11);
        for key in 0..20 {
            reception.receive(&entry(key, key));
        }
        assert_eq!((reception.sessions, reception.untracked), (10, 10));
        let nobody = reception.receive(&Entry { key: None, ..entry(50, 0) });
        assert_eq!((nobody.visitor, reception.without), (NOBODY, 1));
    }
}
