//! When and why a session came to live where it does, in as many bits as the time alone would take.
//!
//! There are millions of sessions and a handful of backends. So a session remembers where it came
//! from by a number, and what the numbers mean is kept once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::balance::{Backend, BackendId, Cause, Reason, Timestamp};

/// Milliseconds since the epoch: until the year 2109.
const TIME_BITS: u32 = 42;
const CAUSE_BITS: u32 = 3;
const REASON_BITS: u32 = 4;
/// What is left for where it came from.
const FROM_BITS: u32 = u64::BITS - TIME_BITS - CAUSE_BITS - REASON_BITS;

/// When and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival(u64);

impl Arrival {
    fn new(at: Timestamp, cause: Cause, from: u64) -> Self {
        let at = at.as_millis().min(mask(TIME_BITS));
        let reason = cause.reason().map_or(0, |reason| reason.index() as u64);
        let why = (cause.index() as u64) << REASON_BITS | reason;
        Arrival(at | (why << FROM_BITS | from) << TIME_BITS)
    }

    /// When, to a millisecond.
    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_millis(self.0 & mask(TIME_BITS))
    }

    /// Positions among the causes, the reasons and the former homes.
    fn parts(self) -> (usize, usize, usize) {
        let part = |shift: u32, bits| (self.0 >> shift & mask(bits)) as usize;
        let (from, reason) = (TIME_BITS, TIME_BITS + FROM_BITS);
        (part(reason + REASON_BITS, CAUSE_BITS), part(reason, REASON_BITS), part(from, FROM_BITS))
    }
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// The homes that sessions have moved from. It grows with the backends that there have ever been,
/// and is looked at when a session moves.
#[derive(Debug, Default)]
pub(super) struct Formers(Mutex<Vec<Former>>);

#[derive(Debug)]
struct Former {
    id: BackendId,
    /// Unless nothing was known of the session before it moved.
    name: Option<Box<str>>,
}

impl Formers {
    fn lock(&self) -> MutexGuard<'_, Vec<Former>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session arrives; `from` is where it was known to live.
    pub(super) fn arrival(&self, cause: Cause, from: Option<&Backend>, now: Timestamp) -> Arrival {
        let from = match cause {
            Cause::Moved { from: id, .. } => self.number(id, from.filter(|b| b.id() == id)),
            _ => 0,
        };
        Arrival::new(now, cause, from)
    }

    /// Its number, from 1 on; 0 if there are no more.
    fn number(&self, id: BackendId, backend: Option<&Backend>) -> u64 {
        let mut formers = self.lock();
        let known = formers.iter().position(|former| former.id == id);
        let index = known.unwrap_or(formers.len());
        if index as u64 >= mask(FROM_BITS) {
            return 0;
        }
        if known.is_none() {
            formers.push(Former { id, name: None });
        }
        let name = &mut formers[index].name;
        if let (None, Some(backend)) = (&name, backend) {
            *name = Some(backend.name().into());
        }
        index as u64 + 1
    }

    /// Why it arrived, and the name of where it came from; `None` if that was forgotten.
    pub(super) fn cause(&self, arrival: Arrival) -> Option<(Cause, Option<Box<str>>)> {
        let (cause, reason, from) = arrival.parts();
        let reason = *Reason::ALL.get(reason)?;
        let without_reason = [Cause::Free, Cause::New, Cause::Bound, Cause::Keyed];
        match without_reason.get(cause) {
            Some(cause) => Some((*cause, None)),
            None if cause == Cause::Detoured(reason).index() => {
                Some((Cause::Detoured(reason), None))
            }
            None => {
                let formers = self.lock();
                let former = formers.get(from.checked_sub(1)?)?;
                Some((Cause::Moved { from: former.id, reason }, former.name.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way() {
        let formers = Formers::default();
        let now = Timestamp::from_millis(4_000_000_000_000);
        let from = BackendId::from_bits(7);
        let mut causes = vec![Cause::Free, Cause::New, Cause::Bound, Cause::Keyed];
        for &reason in Reason::ALL {
            causes.push(Cause::Detoured(reason));
            causes.push(Cause::Moved { from, reason });
        }
        assert!(causes.len() < 1 << (CAUSE_BITS + REASON_BITS));
        for cause in causes {
            let arrival = formers.arrival(cause, None, now);
            assert_eq!((formers.cause(arrival), arrival.at()), (Some((cause, None)), now));
        }
        assert_eq!(formers.lock().len(), 1);
    }

    #[test]
    fn when_there_are_too_many_former_homes_the_last_ones_are_not_named() {
        let formers = Formers::default();
        let moved = |n| Cause::Moved { from: BackendId::from_bits(n), reason: Reason::Removed };
        let arrival = |n| formers.arrival(moved(n), None, Timestamp::ZERO);
        let last = mask(FROM_BITS);
        let arrivals: Vec<_> = (1..=last + 1).map(arrival).collect();
        assert_eq!(formers.cause(arrivals[0]).unwrap().0, moved(1));
        assert_eq!(formers.cause(arrivals[last as usize - 1]).unwrap().0, moved(last));
        assert_eq!(formers.cause(arrivals[last as usize]), None);
    }
}
