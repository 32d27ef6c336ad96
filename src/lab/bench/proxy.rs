//! The proxy under test: `stickler run` with a configuration file, as users run it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStderr;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::BenchError;
use super::child::Leashed;
use crate::balance::affinity::{Key, Mode, WhenUnavailable};
use crate::lab::app::answer::DRAIN;
use crate::lab::policy::Policy;

/// The field whose value hash affinity hashes.
pub(super) const KEY_FIELD: &str = "x-user";
/// How often backends are checked: often, since a run is short.
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(20);
/// What comes before the address in its log.
const LISTENING: &str = "listening on ";
/// The last lines of its log, to explain why it has ended.
const KEPT_LINES: usize = 20;

/// A running proxy.
#[derive(Debug)]
pub(super) struct ProxyProcess {
    child: Leashed,
    address: SocketAddr,
    /// Reads its log, so that the proxy never finds its pipe full.
    _reader: JoinSet<()>,
}

impl ProxyProcess {
    /// Runs it with this configuration, which is written to `directory`.
    pub(super) async fn start(
        stickler: &Path,
        config: &str,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let file = directory.join("stickler.toml");
        std::fs::write(&file, config)?;
        let arguments = ["run".as_ref(), file.as_os_str()];
        let mut child = Leashed::start(stickler, stickler.as_os_str(), arguments, Stdio::piped())?;
        let log: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let failed = |log: &Mutex<VecDeque<String>>| {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            BenchError::NoProxy { log: Vec::from(log.clone()).join("\n") }
        };
        let Some(stderr) = child.stderr() else { return Err(failed(&log)) };
        let mut lines = BufReader::new(stderr).lines();
        let address = timeout(START, address_of(&mut lines, &log)).await.ok().flatten();
        let Some(address) = address else { return Err(failed(&log)) };
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(ProxyProcess { child, address, _reader: reader })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stop(self) {
        self.child.stop().await;
    }
}

async fn address_of(
    lines: &mut Lines<BufReader<ChildStderr>>,
    log: &Mutex<VecDeque<String>>,
) -> Option<SocketAddr> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, address)) = line.rsplit_once(LISTENING)
            && let Ok(address) = address.trim().parse()
        {
            return Some(address);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == KEPT_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
    None
}

/// The configuration of a proxy with this policy in front of these backends.
pub(super) fn config(
    policy: &Policy,
    backends: &[(String, SocketAddr)],
    state_dir: &Path,
    key: &Key,
    idle_timeout: Duration,
) -> String {
    let state_dir = toml::Value::String(state_dir.display().to_string());
    let mut text = format!("[server]\nstate_dir = {state_dir}\n\n");
    let _ = writeln!(text, "[token]\nkeys = [\"{}\"]\n", key.to_base64());
    text.push_str("[[listeners]]\naddress = \"127.0.0.1:0\"\n\n");
    let _ = writeln!(text, "[pools.shop]\nbalance = \"{}\"\n", policy.balance.as_str());
    affinity(&mut text, policy, idle_timeout);
    let millis = HEALTH_INTERVAL.as_millis();
    let _ = writeln!(
        text,
        "\n[pools.shop.health]\npath = \"/healthz\"\ninterval = \"{millis}ms\"\nfast_interval = \
         \"{}ms\"\ntimeout = \"2s\"\ndrain_header = \"{DRAIN}\"",
        millis / 2,
    );
    for (name, address) in backends {
        let _ =
            writeln!(text, "\n[[pools.shop.backends]]\nname = \"{name}\"\naddress = \"{address}\"");
    }
    text
}

fn affinity(text: &mut String, policy: &Policy, idle_timeout: Duration) {
    let affinity = &policy.affinity;
    let _ = writeln!(text, "[pools.shop.affinity]\nmode = \"{}\"", affinity.mode.as_str());
    if affinity.mode == Mode::None {
        return;
    }
    let _ = writeln!(text, "idle_timeout = \"{}s\"", idle_timeout.as_secs().max(1));
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_policy_is_a_configuration_without_mistakes() {
        let backends: Vec<_> = (1..=2u16)
            .map(|i| (format!("app-{i}"), SocketAddr::from(([127, 0, 0, 1], 3000 + i))))
            .collect();
        let key = Key::random(&mut StdRng::seed_from_u64(1));
        for text in [
            "two_choices",
            "least_connections+cookie",
            "round_robin+cookie+overload:1.5:queue+when:detour",
            "random+hash",
            "peak_ewma+hash:ring+max_load:1.25+when:reject",
            "two_choices+cookie+when:wait",
        ] {
            let policy: Policy = text.parse().unwrap();
            let directory = Path::new("/tmp/a \"directory\"");
            let config = config(&policy, &backends, directory, &key, Duration::from_secs(9));
            let loaded = Config::parse("bench.toml", &config, Path::new("."), &|_| None);
            let loaded = loaded.unwrap_or_else(|error| panic!("{error}\n{config}"));
            let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.title()).collect();
            assert_eq!(warnings, ["listeners.address has port 0"], "{config}");
            let spec = &loaded.config.pools[0].spec;
            assert_eq!(spec.balance, policy.balance);
            assert_eq!(spec.affinity.mode, policy.affinity.mode, "{text}");
            assert_eq!(spec.affinity.max_load, policy.affinity.max_load, "{text}");
            assert_eq!(spec.affinity.overload, policy.affinity.overload, "{text}");
            assert_eq!(spec.affinity.when_unavailable, policy.affinity.when_unavailable, "{text}");
        }
    }
}
