//! Why a command did not do what it should, and the exit code for it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::terminal::Terminal;

/// Why a command ends early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Something failed: exit code 1.
    Failed(String),
    /// The user made a mistake, which this text explains in full: exit code 2.
    Mistake(String),
    /// The user made a mistake, and it has been explained: exit code 2.
    Explained,
    /// What was asked for did not come about in a way that scripts tell apart: this exit code.
    Because(u8, String),
    /// Whoever read our output has read enough, as in `stickler schema | head`: exit code 0.
    ReaderLeft,
}

impl Failure {
    /// This failed.
    pub(super) fn failed(what: impl fmt::Display) -> Self {
        Failure::Failed(what.to_string())
    }

    /// Tells the user, and gives the exit code.
    pub(super) fn report(self, terminal: &Terminal) -> ExitCode {
        match self {
            Failure::Failed(what) => {
                terminal.complain(&format!("{}: {what}\n", terminal.error_label()));
                ExitCode::from(1)
            }
            Failure::Mistake(explanation) => {
                terminal.complain(&format!("{explanation}\n"));
                ExitCode::from(2)
            }
            Failure::Because(code, what) => {
                terminal.complain(&format!("{}: {what}\n", terminal.error_label()));
                ExitCode::from(code)
            }
            Failure::Explained => ExitCode::from(2),
            Failure::ReaderLeft => ExitCode::SUCCESS,
        }
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing to standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderLeft,
            _ => Failure::Failed(format!("cannot write: {error}")),
        }
    }
}
