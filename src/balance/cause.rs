//! Why a request went where it went. These enums are also the labels in logs, metrics and
//! response headers: one enum, one spelling.

use std::fmt;

use super::BackendId;

/// Why a placement chose its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The pool has no affinity, or the request carries no key: the balancer chose.
    Free,
    /// First request of a session: the balancer chose, and the session is bound from now on.
    New,
    /// The request's session is bound to this backend.
    Bound,
    /// The hash of the request's key names this backend.
    Keyed,
    /// Served away from home for now; the binding stays.
    Detoured(Reason),
    /// The session's home cannot serve it; it lives here from now on.
    Moved {
        /// The former home.
        from: BackendId,
        /// Why it could not stay.
        reason: Reason,
    },
    /// The session is bound, but takes part in the [experiment](super::unstick) that routes some
    /// freely: the balancer chose, and the binding stays as it is.
    Unstuck,
}

impl Cause {
    /// Every label, in the order of [`Cause::index`].
    pub const LABELS: [&'static str; 7] =
        ["free", "new", "bound", "keyed", "detoured", "moved", "unstuck"];

    /// Position in [`Cause::LABELS`], for counters.
    pub const fn index(self) -> usize {
        match self {
            Cause::Free => 0,
            Cause::New => 1,
            Cause::Bound => 2,
            Cause::Keyed => 3,
            Cause::Detoured(_) => 4,
            Cause::Moved { .. } => 5,
            Cause::Unstuck => 6,
        }
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// The reason, for the causes that have one.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Cause::Detoured(reason) | Cause::Moved { reason, .. } => Some(reason),
            Cause::Free | Cause::New | Cause::Bound | Cause::Keyed | Cause::Unstuck => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// Why a session is not where it was, or a token was not honoured.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of [`Reason::index`].
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// The backend drains and the policy moves its sessions.
    Draining => "draining",
    /// The backend has drained.
    Drained => "drained",
    /// The backend was ejected after failures seen in traffic, or failed this very request.
    Ejected => "ejected",
    /// Health checks say that the backend is down, or an operator took it into maintenance.
    Down => "down",
    /// The backend is at its limit of requests in flight.
    Full => "full",
    /// The backend carries more than its share and the overload policy moved the session.
    Overloaded => "overloaded",
    /// The backend is no longer in the pool.
    Removed => "removed",
    /// The session's idle or absolute lifetime is over.
    Expired => "expired",
    /// The token is malformed, forged, or sealed with a key or for a pool that is not ours.
    Forged => "forged",
    /// The session moved toward even distribution.
    Rebalanced => "rebalanced",
    /// The app let the session go.
    Released => "released",
}

impl Reason {
    /// Position in [`Reason::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request could not be placed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No backend of the pool may take the request.
    NoBackend,
    /// Every backend that may is at its limit, and the queue is full or took too long.
    Full,
    /// The session's home cannot serve it and the pool's policy is to reject.
    Home {
        /// The home.
        backend: BackendId,
        /// Why it cannot serve.
        reason: Reason,
    },
}

impl Unavailable {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unavailable::NoBackend => "no_backend",
            Unavailable::Full => "full",
            Unavailable::Home { .. } => "home_unavailable",
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::NoBackend => f.write_str("no backend of the pool may take the request"),
            Unavailable::Full => f.write_str("every backend of the pool is at its limit"),
            Unavailable::Home { reason, .. } => write!(f, "the session's home is {reason}"),
        }
    }
}

impl std::error::Error for Unavailable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_and_labels_agree() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
        }
        let moved = Cause::Moved { from: BackendId::new("p", "b"), reason: Reason::Down };
        assert_eq!(moved.as_str(), "moved");
        assert_eq!(moved.reason(), Some(Reason::Down));
        assert_eq!(Cause::Free.to_string(), "free");
    }
}
