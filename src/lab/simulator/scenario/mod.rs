//! Scenarios: from a TOML file to a [`Plan`] that cannot be wrong, with every mistake and its
//! place, by the tools of the configuration.

mod file;
mod leaf;
mod resolve;
mod shipped;

use std::path::Path;

pub use self::shipped::{SHIPPED, Shipped};
use super::plan::Plan;
use crate::config::{self, ConfigError, Mistake};
use crate::lab::policy::Policy;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name of its file, or its own if it came with Stickler.
    pub name: String,
    /// What it shows.
    pub description: String,
    /// The seed, unless another is asked for.
    pub seed: u64,
    /// The policies to compare. Never empty.
    pub policies: Vec<Policy>,
    /// The fleet, its clients, and what befalls them.
    pub plan: Plan,
}

impl Scenario {
    /// Reads a file, or takes a scenario that came with Stickler by its name. Gives the warnings
    /// with it.
    pub fn load(name: &str) -> Result<(Scenario, Vec<Mistake>), ConfigError> {
        if let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == name) {
            return Scenario::parse(name, shipped.text.as_bytes());
        }
        match config::read(Path::new(name)) {
            Ok(bytes) => Scenario::parse(name, &bytes),
            Err(error) => Err(config::unreadable(name, &error)),
        }
    }

    /// Reads a text that mistakes call by this name.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<(Scenario, Vec<Mistake>), ConfigError> {
        // Nothing in a scenario is secret, and nothing depends on the machine.
        config::read_as(name, bytes, leaf::FORMATS, &|_| None, |file, at, mistakes| {
            resolve::resolve(name, file, at, mistakes)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lab::simulator::plan::{Clients, Rate, What};

    fn mistakes(text: &str) -> String {
        Scenario::parse("a.toml", text.as_bytes()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_a_scenario() {
        let (scenario, warnings) = Scenario::parse("a.toml", b"").unwrap();
        assert!(warnings.is_empty());
        assert_eq!(scenario.plan.fleet.backends, 10);
        assert_eq!(scenario.plan.rate, Rate::Utilization(0.7));
        assert_eq!(scenario.plan.clients, Clients::Requests);
        assert_eq!(scenario.policies.len(), 3);
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            description = "all"
            seed = 7
            warm_up = "5s"
            duration = "1m"
            policies = ["random+cookie"]
            [fleet]
            backends = 4
            concurrency = 2
            backlog = 9
            service_time = "lognormal:5ms,0.5"
            slow = { backends = 1, factor = 2.5 }
            [load]
            requests_per_second = 100
            [sessions]
            requests = 3
            think = "1s"
            users = { count = 50, zipf = 1.1 }
            hot = 2
            [[events]]
            at = "10s"
            crash = { down_for = "5s" }
            [[events]]
            at = "20s"
            load = 1.5
            [[events]]
            at = "30s"
            autoscale = { target = "60%", from = 2, to = 9, every = "5s", drain = "0s" }
        "#;
        let (Scenario { seed, plan, .. }, _) = Scenario::parse("a", text.as_bytes()).unwrap();
        assert_eq!((seed, plan.fleet.slow, plan.fleet.backlog), (7, Some((1, 2.5)), 9));
        assert_eq!(plan.rate, Rate::Requests(100.0));
        let crash = What::Crash {
            backends: 1,
            down_for: Duration::from_secs(5),
            noticed_after: Duration::from_secs(3),
        };
        assert_eq!(plan.events[0].what, crash);
        assert_eq!(plan.events[1].what, What::Load { factor: 1.5 });
        let What::Autoscale(rule) = plan.events[2].what else { panic!("{:?}", plan.events) };
        assert_eq!((rule.target, rule.least, rule.most, rule.drain), (0.6, 2, 9, None));
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let told = mistakes(
            "duration = \"0s\"\npolicies = [\"twochoices\"]\n[fleet]\nservice_time = \"5\"\n\
             bakends = 3\n[[events]]\nat = \"20m\"\n[[events]]\nat = \"1m\"\nload = 2\n\
             scale_in = { backends = 10 }\n",
        );
        for expected in [
            "a.toml:1:12",
            "duration cannot be zero",
            "is not a balancer",
            "\"5\" is not a distribution of times",
            "did you mean `backends`?",
            "events: nothing happens here",
            "events: two things happen here",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in\n{told}");
        }
    }

    #[test]
    fn what_cannot_happen_is_a_mistake() {
        let told = mistakes(
            "duration = \"1m\"\n[fleet]\nbackends = 3\n[load]\nutilization = \"50%\"\n\
             requests_per_second = 9\n[[events]]\nat = \"2m\"\nload = 2\n[[events]]\nat = \"1s\"\n\
             scale_in = { backends = 3 }\n[[events]]\nat = \"1s\"\n\
             autoscale = { target = \"0%\", from = 5, to = 4 }\n",
        );
        for expected in [
            "exclude each other",
            "after the end",
            "nobody would be left",
            "a.toml:8:6",
            "target cannot be zero",
            "from is above to",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in\n{told}");
        }
    }

    #[test]
    fn every_shipped_scenario_is_right() {
        assert!(SHIPPED.len() >= 7);
        for shipped in SHIPPED {
            let (scenario, warnings) =
                Scenario::load(shipped.name).unwrap_or_else(|error| panic!("{error}"));
            assert!(warnings.is_empty(), "{}: {warnings:?}", shipped.name);
            assert!(scenario.description.ends_with('.'), "{}", shipped.name);
            assert!(scenario.policies.iter().any(Policy::is_sticky), "{}", shipped.name);
        }
    }
}
