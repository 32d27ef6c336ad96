//! The only reader of the real clock.
#![allow(clippy::disallowed_methods, reason = "this is the one door")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::balance::Timestamp;

/// The time of day. It is the operating system's, so it can step; see [`Timestamp`].
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day for a `Date` field.
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Measures durations; unlike the time of day, it never steps.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// This moment.
#[inline]
pub fn moment() -> Moment {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative, and 584 years go in.
    Moment((now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64))
}

/// A point in time that durations are measured between. Unlike the time of day it never steps, and
/// unlike a [`Stopwatch`] it is a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Nanoseconds since an earlier moment.
    #[inline]
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
