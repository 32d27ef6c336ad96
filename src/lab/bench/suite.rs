//! Suites: contenders and scenarios that answer a question.

use super::contender::{Contender, NotAContender};
use super::scenario::Scenario;

/// A question that is asked often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Is what is said about stateful and stateless servers true?
    StatefulVsStateless,
}

/// The scenarios in which the claims are tried, and who has to take part in each.
const STATEFUL_VS_STATELESS: [(Scenario, &[&str]); 6] = [
    (Scenario::Steady, &["sticky", "none", "redis", "jwt", "hybrid"]),
    (Scenario::Skewed, &["sticky", "redis", "jwt"]),
    (Scenario::Crash, &["sticky", "redis", "jwt", "hybrid"]),
    (Scenario::Deploy, &["sticky", "redis", "jwt", "hybrid"]),
    (Scenario::DrainedDeploy, &["sticky", "redis"]),
    (Scenario::ScaleOut, &["sticky", "redis", "jwt"]),
];

impl Suite {
    /// Who meets whom in what.
    pub fn bouts(self) -> Result<Vec<(Contender, Scenario)>, NotAContender> {
        let Suite::StatefulVsStateless = self;
        let pairs = STATEFUL_VS_STATELESS
            .iter()
            .flat_map(|(scenario, names)| names.iter().map(move |name| (name, *scenario)));
        pairs.map(|(name, scenario)| Ok((name.parse()?, scenario))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_of_a_suite_exists() {
        let bouts = Suite::StatefulVsStateless.bouts().unwrap();
        assert_eq!(bouts.len(), 21);
        let names: Vec<_> = bouts.iter().map(|(contender, _)| contender.name.as_str()).collect();
        for name in ["sticky", "none", "redis", "jwt", "hybrid"] {
            assert!(names.contains(&name));
        }
    }
}
