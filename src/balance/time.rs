//! The one time type of the core.

use std::ops::Add;
use std::time::Duration;

/// A point in time: nanoseconds since the Unix epoch, or since whatever zero a simulation chose.
///
/// It is wall-clock time because several proxies must agree on the times inside a token. The
/// operator's clock can step, so arithmetic saturates: a difference is never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself.
    pub const ZERO: Timestamp = Timestamp(0);

    /// A time `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Timestamp(nanos)
    }

    /// A time `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Timestamp(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How many nanoseconds after `earlier` this is; none when it is not.
    pub(super) const fn nanos_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long after `earlier` this is; zero when it is not.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_when_the_clock_steps_back() {
        let noon = Timestamp::from_millis(1_000);
        let earlier = Timestamp::from_millis(400);
        assert_eq!(noon.since(earlier), Duration::from_millis(600));
        assert_eq!(earlier.since(noon), Duration::ZERO);
        assert_eq!(noon + Duration::MAX, Timestamp::from_nanos(u64::MAX));
    }
}
