//! The configuration file of the proxy under test.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::HEALTH_INTERVAL;
use crate::balance::affinity::{Key, Mode, WhenUnavailable};
use crate::lab::policy::Policy;

/// The only pool.
pub(super) const POOL: &str = "shop";

/// The field whose value hash affinity hashes.
pub(in crate::lab::bench) const KEY_FIELD: &str = "x-user";

/// Everything in it but the backends, which come and go.
#[derive(Debug)]
pub(in crate::lab::bench) struct Configuration {
    /// How it balances, and how sessions stick.
    pub(in crate::lab::bench) policy: Policy,
    /// For what it remembers.
    pub(in crate::lab::bench) state_dir: PathBuf,
    /// What it seals tokens with.
    pub(in crate::lab::bench) key: Key,
    /// A session that has not been seen for so long is over.
    pub(in crate::lab::bench) idle_timeout: Duration,
}

impl Configuration {
    /// The file, with these backends.
    pub(super) fn text(&self, backends: &[(String, SocketAddr)]) -> String {
        let state_dir = toml::Value::String(self.state_dir.display().to_string());
        let mut text = format!("[server]\nstate_dir = {state_dir}\n\n");
        text.push_str("[admin]\naddress = \"127.0.0.1:0\"\n\n");
        let _ = writeln!(text, "[token]\nkeys = [\"{}\"]\n", self.key.to_base64());
        text.push_str("[[listeners]]\naddress = \"127.0.0.1:0\"\n\n");
        let balance = self.policy.balance.as_str();
        let _ = writeln!(text, "[pools.{POOL}]\nbalance = \"{balance}\"\n");
        self.affinity(&mut text);
        let millis = HEALTH_INTERVAL.as_millis();
        let _ = writeln!(
            text,
            "\n[pools.{POOL}.health]\npath = \"/healthz\"\ninterval = \"{millis}ms\"\n\
             fast_interval = \"{}ms\"\ntimeout = \"2s\"",
            millis / 2,
        );
        for (name, address) in backends {
            let _ = writeln!(
                text,
                "\n[[pools.{POOL}.backends]]\nname = \"{name}\"\naddress = \"{address}\""
            );
        }
        text
    }

    fn affinity(&self, text: &mut String) {
        let affinity = &self.policy.affinity;
        let _ = writeln!(text, "[pools.{POOL}.affinity]\nmode = \"{}\"", affinity.mode.as_str());
        if affinity.mode == Mode::None {
            return;
        }
        let _ = writeln!(text, "idle_timeout = \"{}s\"", self.idle_timeout.as_secs().max(1));
        if let Mode::Hash(algorithm) = affinity.mode {
            let _ = writeln!(text, "key = {{ header = \"{KEY_FIELD}\" }}");
            let _ = writeln!(text, "algorithm = \"{}\"", algorithm.as_str());
        }
        if let Some(max_load) = affinity.max_load {
            let _ = writeln!(text, "max_load = {max_load}");
        }
        if let Some(overload) = affinity.overload {
            let (factor, action) = (overload.factor, overload.action.as_str());
            let _ = writeln!(text, "overload = {{ factor = {factor}, action = \"{action}\" }}");
        }
        if let WhenUnavailable::Wait { up_to, then } = affinity.when_unavailable {
            let (millis, then) = (up_to.as_millis(), then.as_str());
            let _ = writeln!(text, "wait = {{ up_to = \"{millis}ms\", then = \"{then}\" }}");
        }
        let _ = writeln!(text, "when_unavailable = \"{}\"", affinity.when_unavailable.as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_policy_is_a_configuration_without_mistakes() {
        let backends: Vec<_> = (1..=2u16)
            .map(|i| (format!("app-{i}"), SocketAddr::from(([127, 0, 0, 1], 3000 + i))))
            .collect();
        for text in [
            "two_choices",
            "least_connections+cookie",
            "round_robin+cookie+overload:1.5:queue+when:detour",
            "random+hash",
            "peak_ewma+hash:ring+max_load:1.25+when:reject",
            "two_choices+cookie+when:wait",
        ] {
            let policy: Policy = text.parse().unwrap();
            let configuration = Configuration {
                policy,
                state_dir: "/tmp/a \"directory\"".into(),
                key: Key::random(&mut StdRng::seed_from_u64(1)),
                idle_timeout: Duration::from_secs(9),
            };
            let config = configuration.text(&backends);
            let loaded = Config::parse("bench.toml", &config, Path::new("."), &|_| None);
            let loaded = loaded.unwrap_or_else(|error| panic!("{error}\n{config}"));
            let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.title()).collect();
            assert!(warnings.iter().all(|title| title.ends_with("has port 0")), "{warnings:?}");
            let spec = &loaded.config.pools[0].spec;
            assert_eq!(spec.balance, policy.balance);
            assert_eq!(spec.affinity.mode, policy.affinity.mode, "{text}");
            assert_eq!(spec.affinity.max_load, policy.affinity.max_load, "{text}");
            assert_eq!(spec.affinity.overload, policy.affinity.overload, "{text}");
            assert_eq!(spec.affinity.when_unavailable, policy.affinity.when_unavailable, "{text}");
            assert_eq!(spec.backends.len(), 2);
        }
    }
}
