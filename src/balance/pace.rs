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

/// Lets through so many a second.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nanoseconds between two.
    interval: u64,
    /// When the next one is due, in nanoseconds.
    due: AtomicU64,
}

impl Pace {
    /// `per_second` from `start` on; the first one is due at once.
    pub(super) fn new(per_second: NonZeroU32, start: Timestamp) -> Self {
        let interval = 1_000_000_000 / u64::from(per_second.get());
        Pace { interval, due: AtomicU64::new(start.as_nanos()) }
    }

    /// May one go now? It counts if the answer is yes.
    pub(super) fn take(&self, now: Timestamp) -> bool {
        let now = now.as_nanos();
        let saved = (SAVED.as_nanos() as u64).max(self.interval);
        let next = |due: u64| {
            // Later than one interval from now only if the clock has stepped back since.
            let due = if due > now + self.interval { now } else { due };
            (due <= now).then(|| due.max(now.saturating_sub(saved)) + self.interval)
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u32) -> Pace {
        Pace::new(NonZeroU32::new(per_second).unwrap(), at(0))
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn so_many_a_second_pass_however_often_they_ask() {
        let pace = pace(50);
        let passed = (0..10_000).filter(|&ms| pace.take(at(ms))).count();
        assert!((500..=502).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn what_was_not_used_is_kept_for_half_a_second() {
        let pace = pace(100);
        assert!(pace.take(at(0)));
        let burst = (0..1_000).filter(|_| pace.take(at(60_000))).count();
        assert_eq!(burst, 51);
        assert_eq!((0..1_000).filter(|_| pace.take(at(60_250))).count(), 25);
    }

    #[test]
    fn slow_paces_are_exact_and_a_clock_that_steps_back_does_not_stop_them() {
        let pace = Pace { interval: 2_000_000_000, due: AtomicU64::new(at(0).as_nanos()) };
        assert!(pace.take(at(0)) && !pace.take(at(1_999)) && pace.take(at(2_000)));
        let hour = Duration::from_secs(3_600);
        let before = Timestamp::from_nanos(at(0).as_nanos() - hour.as_nanos().min(9) as u64);
        assert!(pace.take(before), "two intervals early is a stepped clock");
        assert!(!pace.take(before));
    }
}
