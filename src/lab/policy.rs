//! A policy in one word: what the commands of the lab compare.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::balance::affinity::{
    AffinitySpec, Afterwards, Mode, Overload, OverloadAction, WhenUnavailable,
};
use crate::balance::balancer::Balance;
use crate::balance::hashing::Algorithm;

/// How long `when:wait` waits.
const WAIT: Duration = Duration::from_secs(5);

/// A balancer and an affinity, as in `two_choices+cookie+overload:1.25:detour`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How requests that are free to go anywhere are balanced.
    pub balance: Balance,
    /// How sessions stick.
    pub affinity: AffinitySpec,
}

impl Policy {
    /// What [`FromStr`] reads, for messages and help.
    pub const FORMS: &str = "a balancer (two_choices, least_connections, round_robin, random, \
        peak_ewma), then with + between them: cookie or hash[:rendezvous|ring|maglev], \
        overload:FACTOR:detour|rebalance|queue, max_load:FACTOR, \
        when:rebalance|detour|reject|wait";

    /// This balancer, and no affinity.
    pub fn stateless(balance: Balance) -> Self {
        Policy { balance, affinity: AffinitySpec::default() }
    }

    /// The same balancer without affinity: even distribution.
    pub fn even(&self) -> Self {
        Policy::stateless(self.balance)
    }

    /// Does it keep sessions where they are?
    pub fn is_sticky(&self) -> bool {
        self.affinity.mode != Mode::None
    }
}

/// The text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} in the policy {policy:?} {why}; a policy is {}", Policy::FORMS)]
pub struct NotAPolicy {
    policy: String,
    part: String,
    why: &'static str,
}

impl FromStr for Policy {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<Self, NotAPolicy> {
        let wrong = |part: &str, why| NotAPolicy { policy: text.into(), part: part.into(), why };
        let mut parts = text.split('+').map(str::trim);
        let first = parts.next().unwrap_or_default();
        let balance = Balance::ALL.into_iter().find(|balance| balance.as_str() == first);
        let balance = balance.ok_or_else(|| wrong(first, "is not a balancer"))?;
        let mut policy = Policy::stateless(balance);
        for part in parts {
            policy.take_in(part).map_err(|why| wrong(part, why))?;
        }
        Ok(policy)
    }
}

impl Policy {
    fn take_in(&mut self, part: &str) -> Result<(), &'static str> {
        let (name, value) = part.split_once(':').unwrap_or((part, ""));
        let mode = self.affinity.mode;
        match (name, value) {
            ("cookie" | "hash", _) if mode != Mode::None => return Err("is a second affinity"),
            ("cookie", "") => self.affinity.mode = Mode::Cookie,
            ("hash", "") => self.affinity.mode = Mode::Hash(Algorithm::default()),
            ("hash", name) => {
                let found = Algorithm::ALL.into_iter().find(|a| a.as_str() == name);
                self.affinity.mode = Mode::Hash(found.ok_or("is not a way to hash")?);
            }
            ("overload", value) if mode == Mode::Cookie => {
                let (bound, action) =
                    value.split_once(':').ok_or("needs a factor and an action")?;
                self.affinity.overload =
                    Some(Overload { factor: factor(bound)?, action: overload_action(action)? });
            }
            ("overload", _) => return Err("needs cookie before it"),
            ("max_load", value) if matches!(mode, Mode::Hash(_)) => {
                self.affinity.max_load = Some(factor(value)?);
            }
            ("max_load", _) => return Err("needs hash before it"),
            ("when", _) if mode == Mode::None => return Err("needs cookie or hash before it"),
            ("when", value) => {
                self.affinity.when_unavailable = match value {
                    "rebalance" => WhenUnavailable::Rebalance,
                    "detour" => WhenUnavailable::Detour,
                    "reject" => WhenUnavailable::Reject,
                    "wait" => WhenUnavailable::Wait { up_to: WAIT, then: Afterwards::Rebalance },
                    _ => return Err("is not one of rebalance, detour, reject, wait"),
                };
            }
            _ => return Err("is unknown"),
        }
        Ok(())
    }
}

fn factor(text: &str) -> Result<f32, &'static str> {
    let factor = text.parse().ok().filter(|factor| *factor > 1.0 && *factor <= 100.0);
    factor.ok_or("has a factor that is not above 1 and up to 100")
}

fn overload_action(text: &str) -> Result<OverloadAction, &'static str> {
    let actions = [OverloadAction::Detour, OverloadAction::Rebalance, OverloadAction::Queue];
    let found = actions.into_iter().find(|action| action.as_str() == text);
    found.ok_or("has an action that is not one of detour, rebalance, queue")
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.balance.as_str())?;
        match self.affinity.mode {
            Mode::None => return Ok(()),
            Mode::Cookie => f.write_str("+cookie")?,
            Mode::Hash(algorithm) if algorithm == Algorithm::default() => f.write_str("+hash")?,
            Mode::Hash(algorithm) => write!(f, "+hash:{}", algorithm.as_str())?,
        }
        if let Some(Overload { factor, action }) = self.affinity.overload {
            write!(f, "+overload:{factor}:{}", action.as_str())?;
        }
        if let Some(factor) = self.affinity.max_load {
            write!(f, "+max_load:{factor}")?;
        }
        match self.affinity.when_unavailable {
            WhenUnavailable::Rebalance => Ok(()),
            WhenUnavailable::Detour => f.write_str("+when:detour"),
            WhenUnavailable::Reject => f.write_str("+when:reject"),
            WhenUnavailable::Wait { .. } => f.write_str("+when:wait"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_can_be_read() {
        for text in [
            "two_choices",
            "random+hash",
            "two_choices+hash:maglev+max_load:1.25",
            "least_connections+cookie+overload:1.5:detour+when:reject",
            "peak_ewma+cookie+when:wait",
        ] {
            let policy: Policy = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
            assert_eq!(policy.is_sticky(), text.contains('+'));
            assert!(!policy.even().is_sticky());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "\"\" in"),
            ("twochoices", "\"twochoices\""),
            ("random+cookie+hash", "second affinity"),
            ("random+max_load:1.25", "needs hash"),
            ("random+cookie+overload:0.5:detour", "above 1"),
            ("random+cookie+overload:2:away", "has an action"),
            ("random+hash:md5", "hash:md5"),
            ("random+when:reject", "needs cookie or hash"),
            ("random+sticky", "is unknown"),
        ] {
            let error = text.parse::<Policy>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
