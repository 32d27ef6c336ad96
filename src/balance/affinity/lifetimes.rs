//! How long sessions and their tokens last.

use super::{AffinitySpec, Grant, nanos};
use crate::balance::Timestamp;

/// The times of an [`AffinitySpec`], worked out for those who ask for every request. In
/// nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::balance) struct Lifetimes {
    absolute: u64,
    /// How old a token may be of a session that was just seen; with the refresh interval.
    idle: u64,
    refresh: u64,
}

impl From<&AffinitySpec> for Lifetimes {
    fn from(spec: &AffinitySpec) -> Self {
        let refresh = nanos(spec.refresh_interval());
        Lifetimes {
            absolute: nanos(spec.absolute_timeout),
            idle: nanos(spec.idle_timeout).saturating_add(refresh),
            refresh,
        }
    }
}

impl Lifetimes {
    /// Is the session of this grant over at `now`?
    #[inline]
    pub(in crate::balance) fn is_over(&self, grant: &Grant, now: Timestamp) -> bool {
        now.nanos_since(grant.issued) > self.absolute
            || now.nanos_since(grant.refreshed) > self.idle
    }

    /// As [`AffinitySpec::is_refresh_due`].
    #[inline]
    pub(in crate::balance) fn is_refresh_due(&self, grant: &Grant, now: Timestamp) -> bool {
        now.nanos_since(grant.refreshed) >= self.refresh
            || grant.refreshed.max(grant.issued).nanos_since(now) > self.refresh
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::affinity::Mode;
    use crate::balance::{BackendId, SessionId};

    #[test]
    fn lifetimes_are_sliding_and_absolute() {
        let spec = AffinitySpec {
            mode: Mode::Cookie,
            idle_timeout: Duration::from_secs(100),
            absolute_timeout: Duration::from_secs(1_000),
            ..AffinitySpec::default()
        };
        assert_eq!(spec.refresh_interval(), Duration::from_secs(5));
        let lifetimes = Lifetimes::from(&spec);
        let at = |secs: u64| Timestamp::from_millis(secs * 1_000);
        let grant = |issued, refreshed| Grant {
            backend: BackendId::new("p", "b"),
            session: SessionId::from_bits(1),
            issued: at(issued),
            refreshed: at(refreshed),
        };
        assert!(!lifetimes.is_over(&grant(0, 0), at(105)));
        assert!(lifetimes.is_over(&grant(0, 0), at(106)), "idle");
        assert!(!lifetimes.is_over(&grant(0, 950), at(1_000)));
        assert!(lifetimes.is_over(&grant(0, 1_000), at(1_001)), "busy, but too old");
        assert!(!lifetimes.is_over(&grant(500, 500), at(400)), "another proxy's clock is ahead");
    }
}
