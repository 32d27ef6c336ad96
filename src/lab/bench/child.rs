//! Programs that the bench starts: on a leash, so that they never outlive it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// A running program. Dropping it ends it; so does the end of this process, whatever it is.
#[derive(Debug)]
pub(super) struct Leashed {
    child: Child,
}

impl Leashed {
    /// Runs `program`; `stickler` is the path of this very binary, which holds the leash. Standard
    /// error goes where `stderr` says.
    pub(super) fn start(
        stickler: &Path,
        program: &OsStr,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        stderr: Stdio,
    ) -> io::Result<Self> {
        let mut command = Command::new(stickler);
        command.arg("leash").arg("--").arg(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
        // Not killed when dropped: a leash that is killed lets go. Its input ends then, and that
        // is what it watches.
        // A group of its own: Ctrl-C at the terminal is for the parent, which ends us in order.
        #[cfg(unix)]
        command.process_group(0);
        Ok(Leashed { child: command.spawn()? })
    }

    /// What it writes to standard error, if that is a pipe. Once only.
    pub(super) fn stderr(&mut self) -> Option<tokio::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Has it ended?
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it, and waits until it has.
    pub(super) async fn stop(mut self) {
        // The leash sees the end of its input, and kills what it holds.
        drop(self.child.stdin.take());
        // An error means that it is gone already.
        let _ = self.child.wait().await;
    }
}
