//! What is compared: app servers of a kind behind a proxy with a policy.

use std::fmt;
use std::str::FromStr;

use crate::lab::policy::{NotAPolicy, Policy};
use crate::lab::report;

/// Where the app servers keep their sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// In their own memory.
    #[default]
    Memory,
    /// In Redis.
    Redis,
    /// In a signed cookie.
    Jwt,
    /// In their own memory, and used over live channels.
    Websocket,
    /// In a signed cookie, with live channels besides.
    Hybrid,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] =
        [Kind::Memory, Kind::Redis, Kind::Jwt, Kind::Websocket, Kind::Hybrid];

    /// The label, as `stickler app --kind` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Redis => "redis",
            Kind::Jwt => "jwt",
            Kind::Websocket => "websocket",
            Kind::Hybrid => "hybrid",
        }
    }
}

/// A kind and a policy, with a short name.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// As it was asked for.
    pub name: String,
    /// Of which kind the app servers are.
    pub kind: Kind,
    /// How the proxy balances, and how sessions stick.
    pub policy: Policy,
}

/// Short names and what they stand for.
const NAMES: [(&str, &str); 7] = [
    ("sticky", "memory:two_choices+cookie"),
    ("hash", "memory:two_choices+hash"),
    ("none", "memory:two_choices"),
    ("redis", "redis:two_choices"),
    ("jwt", "jwt:two_choices"),
    ("websocket", "websocket:two_choices+cookie"),
    ("hybrid", "hybrid:two_choices"),
];

impl Contender {
    /// What [`FromStr`] reads, for messages and help.
    pub const FORMS: &str = "sticky (memory:two_choices+cookie), hash, none, redis, jwt, \
        websocket, hybrid, or KIND:BALANCER[+AFFINITY...] as in redis:least_connections or \
        memory:random+hash:maglev+max_load:1.25; KIND is memory if absent";

    /// As the report has it.
    pub(super) fn label(&self) -> report::Policy {
        let policy = self.policy.to_string();
        let affinity = policy.split_once('+').map_or("none", |(_, affinity)| affinity);
        report::Policy {
            name: self.name.clone(),
            balance: self.policy.balance.as_str().into(),
            affinity: affinity.into(),
            state: self.kind.as_str().into(),
        }
    }
}

/// The text is no [`Contender::FORMS`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAContender {
    /// The part before the colon.
    #[error("{0:?} is no kind of app servers; there are memory, redis, jwt, websocket, hybrid")]
    Kind(String),
    /// The rest.
    #[error(transparent)]
    Policy(#[from] NotAPolicy),
}

impl FromStr for Contender {
    type Err = NotAContender;

    fn from_str(text: &str) -> Result<Self, NotAContender> {
        let text = text.trim();
        let short = NAMES.iter().find(|(name, _)| *name == text);
        let long = short.map_or(text, |(_, long)| long);
        // A colon may also stand further behind, as in `random+hash:maglev`.
        let (first, rest) = long.split_at(long.find('+').unwrap_or(long.len()));
        let (kind, policy) = match first.split_once(':') {
            None => (Kind::default(), long.to_owned()),
            Some((kind, balance)) => {
                let found = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
                (found.ok_or_else(|| NotAContender::Kind(kind.into()))?, format!("{balance}{rest}"))
            }
        };
        Ok(Contender { name: text.into(), kind, policy: policy.parse()? })
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_and_long_ones_are_read() {
        for (text, long) in [
            ("sticky", "memory:two_choices+cookie"),
            ("redis", "redis:two_choices"),
            ("least_connections", "memory:least_connections"),
            ("random+hash:maglev", "memory:random+hash:maglev"),
            ("hybrid:peak_ewma+cookie", "hybrid:peak_ewma+cookie"),
        ] {
            let contender: Contender = text.parse().unwrap();
            assert_eq!((contender.name.as_str(), contender.to_string().as_str()), (text, long));
        }
        let sticky: Contender = "sticky".parse().unwrap();
        let label = sticky.label();
        assert!(label.is_sticky() && label.is_stateful(), "{label:?}");
        let jwt: Contender = "jwt".parse().unwrap();
        assert!(!jwt.label().is_sticky() && !jwt.label().is_stateful());
    }

    #[test]
    fn mistakes_are_named() {
        let mistake = |text: &str| text.parse::<Contender>().unwrap_err().to_string();
        assert!(mistake("mysql:random").contains("\"mysql\" is no kind"));
        assert!(mistake("stuck").contains("is not a balancer"));
    }
}
