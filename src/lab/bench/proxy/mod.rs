//! The proxy under test: `stickler run` with a configuration file, as users run it, and operated
//! over its admin API.

mod configuration;
mod operator;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStderr;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(super) use self::configuration::{Configuration, KEY_FIELD};
pub(super) use self::operator::Operator;
use super::BenchError;
use super::child::Leashed;

/// How often backends are checked: often, since a run is short.
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(20);
/// What comes before its address in its log,
const LISTENING: &str = "listening on ";
/// and before that of its admin API.
const ADMIN: &str = "at http://";
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
    /// Runs it with this configuration and these backends. Gives the process, and who operates it.
    pub(super) async fn start(
        stickler: &Path,
        configuration: Configuration,
        backends: &[(String, SocketAddr)],
    ) -> Result<(Self, Operator), BenchError> {
        let file = file(&configuration);
        std::fs::write(&file, configuration.text(backends))?;
        let arguments = ["run".as_ref(), file.as_os_str()];
        let mut child = Leashed::start(stickler, stickler.as_os_str(), arguments, Stdio::piped())?;
        let log: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let failed = |log: &Mutex<VecDeque<String>>| {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            BenchError::NoProxy { log: Vec::from(log.clone()).join("\n") }
        };
        let Some(stderr) = child.stderr() else { return Err(failed(&log)) };
        let mut lines = BufReader::new(stderr).lines();
        let addresses = timeout(START, addresses(&mut lines, &log)).await.ok().flatten();
        let Some((address, admin)) = addresses else { return Err(failed(&log)) };
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let proxy = ProxyProcess { child, address, _reader: reader };
        Ok((proxy, Operator::new(admin, configuration)?))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stop(self) {
        self.child.stop().await;
    }
}

/// The file that it reads.
fn file(configuration: &Configuration) -> PathBuf {
    configuration.state_dir.join("stickler.toml")
}

/// Where it listens, and where its admin API does.
async fn addresses(
    lines: &mut Lines<BufReader<ChildStderr>>,
    log: &Mutex<VecDeque<String>>,
) -> Option<(SocketAddr, SocketAddr)> {
    let after = |line: &str, mark: &str| {
        let (_, address) = line.rsplit_once(mark)?;
        address.trim_end_matches('/').parse().ok()
    };
    let mut address = None;
    while let Ok(Some(line)) = lines.next_line().await {
        address = address.or_else(|| after(&line, LISTENING));
        if let (Some(address), Some(admin)) = (address, after(&line, ADMIN)) {
            return Some((address, admin));
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == KEPT_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
    None
}
