//! A demo app server as a child process, which never outlives its parent.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What comes before the address in the line by which an app server says that it is up.
pub const LISTENING: &str = "listening on http://";

/// How long a child may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long a child may take to end by itself.
const STOP: Duration = Duration::from_secs(12);

/// A running app server.
///
/// Three things make sure that it ends: [`AppProcess::stop`]; dropping, which kills it; and the
/// pipe that is its standard input, whose end it takes as its own, however we ended.
#[derive(Debug)]
pub struct AppProcess {
    name: String,
    address: SocketAddr,
    child: Child,
}

/// Why an app server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program could not be run.
    #[error("cannot run the app server {name}: {cause}")]
    Spawn {
        /// The app server.
        name: String,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// It ended, or took too long, before it was listening.
    #[error("the app server {name} did not begin to listen")]
    Silent {
        /// The app server.
        name: String,
    },
}

impl AppProcess {
    /// Runs `stickler app` (`program` is the path of this very binary) with these further
    /// arguments, and waits until it listens.
    pub async fn start(
        program: &Path,
        name: &str,
        arguments: &[OsString],
    ) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command.args(["app", "--name", name, "--exit-with-parent"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // A group of its own: Ctrl-C at the terminal is for the parent, which ends us in order.
        #[cfg(unix)]
        command.process_group(0);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|cause| StartError::Spawn { name: name.into(), cause })?;
        let address = timeout(START, address_of(&mut child)).await.ok().flatten();
        let address = address.ok_or_else(|| StartError::Silent { name: name.into() })?;
        Ok(AppProcess { name: name.into(), address, child })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end by closing its standard input; kills it if it does not.
    pub async fn stop(self) {
        self.stop_within(STOP).await;
    }

    /// As [`AppProcess::stop`], with another time until it is killed.
    pub async fn stop_within(mut self, patience: Duration) {
        drop(self.child.stdin.take());
        if timeout(patience, self.child.wait()).await.is_err() {
            // It is gone, or will be when this value is dropped.
            let _ = self.child.kill().await;
        }
    }

    /// Ends it like a power cut (SIGKILL).
    pub async fn kill(mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill().await;
    }
}

async fn address_of(child: &mut Child) -> Option<SocketAddr> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.trim().strip_prefix(LISTENING) {
            return address.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_no_app_server_is_reported() {
        let start = |program| async move {
            AppProcess::start(Path::new(program), "app-1", &[]).await.unwrap_err().to_string()
        };
        assert!(
            start("/nonexistent/stickler").await.starts_with("cannot run the app server app-1")
        );
        assert!(start("/bin/true").await.contains("did not begin to listen"));
    }
}
