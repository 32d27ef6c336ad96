//! Why a request got an answer of ours instead of a backend's: the label.

use crate::balance::Unavailable;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// Why a request got an answer of ours instead of a backend's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind { $($(#[$doc])* $name,)* }

        impl ProblemKind {
            /// Every kind, in the order of [`ProblemKind::index`].
            pub const ALL: &'static [ProblemKind] = &[$(ProblemKind::$name,)*];

            /// The label.
            pub const fn as_str(self) -> &'static str {
                match self { $(ProblemKind::$name => $label,)* }
            }
        }
    };
}

kinds! {
    /// The request is not framed or formed as it must be.
    BadRequest => "bad_request",
    /// Its head or its target is too large.
    HeadTooLarge => "head_too_large",
    /// Its body is too large.
    BodyTooLarge => "body_too_large",
    /// It did not arrive in time.
    RequestTimeout => "request_timeout",
    /// CONNECT or TRACE.
    MethodNotAllowed => "method_not_allowed",
    /// OPTIONS whose `Max-Forwards` ends here: no fault of anybody's.
    LastHop => "last_hop",
    /// It came over plain HTTP where HTTPS is spoken: no fault of anybody's.
    RedirectToHttps => "redirect_to_https",
    /// Its route sends clients elsewhere: no fault of anybody's.
    Redirect => "redirect",
    /// Its route is not for this address.
    Forbidden => "forbidden",
    /// The client has sent more requests than it may.
    RateLimited => "rate_limited",
    /// An extended CONNECT for something other than a WebSocket.
    NotImplemented => "not_implemented",
    /// No route matches.
    NoRoute => "no_route",
    /// No backend of the pool may take it.
    NoBackend => "no_backend",
    /// Every backend is at its limit, and the queue is full or took too long.
    Full => "full",
    /// The session's home cannot serve it, and the policy is to reject.
    HomeUnavailable => "home_unavailable",
    /// This proxy has no descriptor, port or memory left for a connection.
    Shortage => "shortage",
    /// No backend could be reached, or it broke off before it had answered.
    BadGateway => "bad_gateway",
    /// A backend took too long.
    GatewayTimeout => "gateway_timeout",
}

impl ProblemKind {
    /// Position in [`ProblemKind::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<Unavailable> for ProblemKind {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NoBackend => ProblemKind::NoBackend,
            Unavailable::Full => ProblemKind::Full,
            Unavailable::Home { .. } => ProblemKind::HomeUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_core() {
        for unavailable in [Unavailable::NoBackend, Unavailable::Full] {
            assert_eq!(ProblemKind::from(unavailable).as_str(), unavailable.as_str());
        }
        assert!(ProblemKind::ALL.iter().enumerate().all(|(i, kind)| kind.index() == i));
    }
}
