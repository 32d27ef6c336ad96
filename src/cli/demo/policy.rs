//! The demo's policy, as text of a configuration file.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use http::HeaderName;

/// The labels of the balancers, as a configuration has them.
pub(super) const BALANCERS: [&str; 3] = ["least_connections", "round_robin", "random"];

/// The field whose value hash affinity hashes.
const KEY: HeaderName = HeaderName::from_static("x-user");

/// The variable of the environment that holds the token key. The demo does not look for it there:
/// it makes a key of its own.
pub(super) const KEY_VARIABLE: &str = "STICKLER_KEY";

/// How sessions stick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Affinity {
    /// By a sealed cookie of the proxy
    Cookie,
    /// By hashing the header field x-user, which every request of the demo's users then carries
    Hash,
    /// Not at all
    None,
}

impl Affinity {
    /// The label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Affinity::Cookie => "cookie",
            Affinity::Hash => "hash",
            Affinity::None => "none",
        }
    }

    /// What curl needs to be a session.
    pub(super) const fn curl(self) -> &'static str {
        match self {
            Affinity::Cookie => "-c jar -b jar ",
            Affinity::Hash => "-H 'x-user: ada' ",
            Affinity::None => "",
        }
    }

    /// The header field by which the proxy knows a user, if it does not use a cookie.
    pub(super) fn key(self) -> Option<HeaderName> {
        (self == Affinity::Hash).then_some(KEY)
    }
}

/// What the demo's proxy does.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// One of [`BALANCERS`].
    pub(super) balance: String,
    /// How sessions stick.
    pub(super) affinity: Affinity,
    /// When a session that has not been seen has ended.
    pub(super) idle_timeout: Duration,
    /// Where `demo.pem` and `demo.key` are, if the proxy is to speak HTTPS.
    pub(super) certificate: Option<PathBuf>,
}

impl Policy {
    /// The configuration of a proxy that listens at `listen`, and for operators at `admin`, in
    /// front of these backends.
    pub(super) fn config(
        &self,
        [listen, admin]: [SocketAddr; 2],
        backends: &[(String, SocketAddr)],
    ) -> String {
        let Policy { balance, affinity, idle_timeout, certificate } = self;
        let mut text = format!("[[listeners]]\naddress = \"{listen}\"\n");
        if let Some(directory) = certificate {
            let [cert, key] = ["demo.pem", "demo.key"].map(|name| directory.join(name));
            let _ =
                writeln!(text, "tls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}] }}");
        }
        text.push('\n');
        let _ = writeln!(text, "[admin]\naddress = \"{admin}\"\n");
        if *affinity == Affinity::Cookie {
            text.push_str("[token]\n# In base64, as `openssl rand -base64 32` prints it.\n");
            let _ = writeln!(text, "keys = [\"${{{KEY_VARIABLE}}}\"]\n");
        }
        let _ = writeln!(text, "[pools.shop]\nbalance = \"{balance}\"\n");
        let _ = writeln!(text, "[pools.shop.affinity]\nmode = \"{}\"", affinity.as_str());
        if let Some(key) = affinity.key() {
            let _ = writeln!(text, "key = {{ header = \"{key}\" }}");
        }
        if *affinity != Affinity::None {
            text.push_str("# Short, so that sessions which have ended do not show for long.\n");
            let _ = writeln!(text, "idle_timeout = \"{}s\"", idle_timeout.as_secs());
        }
        text.push_str("\n[pools.shop.health]\npath = \"/healthz\"\ninterval = \"1s\"\n");
        for (name, address) in backends {
            text.push_str("\n[[pools.shop.backends]]\n");
            let _ = writeln!(text, "name = \"{name}\"\naddress = \"{address}\"");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::balance::affinity::Key;
    use crate::config::Config;

    #[test]
    fn every_policy_is_a_configuration_without_mistakes() {
        let [listen, admin, app_1, app_2] =
            [8080, 9900, 3001, 3002].map(|port| ([127, 0, 0, 1], port).into());
        let backends = [("app-1".to_owned(), app_1), ("app-2".to_owned(), app_2)];
        let key = Key::random(&mut StdRng::seed_from_u64(1)).to_base64();
        for &affinity in Affinity::value_variants() {
            for balance in BALANCERS {
                let idle_timeout = Duration::from_secs(5);
                let policy =
                    Policy { balance: balance.into(), affinity, idle_timeout, certificate: None };
                let text = policy.config([listen, admin], &backends);
                let loaded =
                    Config::parse("demo.toml", &text, Path::new("."), &|_| Some(key.clone()));
                let loaded = loaded.unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert!(loaded.warnings.is_empty(), "{:?}\n{text}", loaded.warnings);
                let pool = &loaded.config.pools[0].spec;
                assert_eq!(pool.backends.len(), 2);
                assert_eq!(pool.balance.as_str(), balance);
                assert_eq!(pool.affinity.mode.as_str(), affinity.as_str());
            }
        }
    }
}
