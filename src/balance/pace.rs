//! Pacing: so many a second, whoever asks, without a timer and without a lock.
//!
//! The generic cell rate algorithm of ATM (ITU-T I.371), with one number as its state: when the
//! next one is due. Who has not been asked for a while may give a few at once, since those who ask
//! come in ticks.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Timestamp;

/// What was not used up is kept for so long.
const SAVED: Duration = Duration::from_millis(500);

/// Of two that ask, one may be so much behind the other.
const SKEW: Duration = Duration::from_secs(1);

/// Lets through so many a second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next one is due, in nanoseconds.
    due: AtomicU64,
}

impl Pace {
    /// From `start` on; the first one is due then.
    pub(super) fn from(start: Timestamp) -> Self {
        Pace { due: AtomicU64::new(start.as_nanos()) }
    }

    /// May one more of so many a second go now? It counts if the answer is yes.
    pub(super) fn take(&self, per_second: NonZeroU32, now: Timestamp) -> bool {
        self.take_every(1_000_000_000 / u64::from(per_second.get()), now.as_nanos())
    }

    fn take_every(&self, interval: u64, now: u64) -> bool {
        let saved = (SAVED.as_nanos() as u64).max(interval);
        let next = |due: u64| {
            // So much later than one interval from now only if the clock has stepped back since.
            let latest = now.saturating_add(interval).saturating_add(SKEW.as_nanos() as u64);
            let due = if due > latest { now } else { due };
            (due <= now).then(|| due.max(now.saturating_sub(saved)) + interval)
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn taker(per_second: u32) -> impl Fn(u64) -> bool {
        let pace = Pace::from(at(0));
        move |millis| pace.take(NonZeroU32::new(per_second).unwrap(), at(millis))
    }

    #[test]
    fn so_many_a_second_pass_however_often_they_ask() {
        let take = taker(50);
        let passed = (0..10_000).filter(|&ms| take(ms)).count();
        assert!((500..=502).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn what_was_not_used_is_kept_for_half_a_second() {
        let take = taker(100);
        assert!(take(0));
        assert_eq!((0..1_000).filter(|_| take(60_000)).count(), 51);
        assert_eq!((0..1_000).filter(|_| take(60_250)).count(), 25);
    }

    #[test]
    fn who_is_a_little_behind_does_not_get_more() {
        let take = taker(10);
        let passed = (0..5_000).filter(|&ms| take(ms + if ms % 2 == 0 { 0 } else { 90 })).count();
        assert!((50..=52).contains(&passed), "{passed} in five seconds");
    }

    #[test]
    fn slow_paces_are_exact_and_a_clock_that_steps_back_does_not_stop_them() {
        const TWO_SECONDS: u64 = 2_000_000_000;
        let pace = Pace::from(at(0));
        let take = |millis| pace.take_every(TWO_SECONDS, at(millis).as_nanos());
        assert!(take(0) && !take(1_999) && take(2_000));
        let hours_ago = at(0).as_nanos() - 900_000_000_000;
        assert!(pace.take_every(TWO_SECONDS, hours_ago), "it must be the clock");
        assert!(!pace.take_every(TWO_SECONDS, hours_ago));
    }
}
