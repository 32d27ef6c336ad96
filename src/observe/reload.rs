//! How a reload went.

use std::fmt;

use crate::balance::Timestamp;

/// What made the proxy read its configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// An operator, through the admin API.
    Operator,
    /// The file has changed.
    File,
}

impl Trigger {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trigger::Signal => "signal",
            Trigger::Operator => "operator",
            Trigger::File => "file",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadOutcome {
    /// When it was over.
    pub at: Timestamp,
    /// What made it happen.
    pub trigger: Trigger,
    /// What has changed; or why nothing has, with every mistake and its place in the file.
    pub result: Result<Reloaded, String>,
}

impl ReloadOutcome {
    /// Is the file in force now?
    pub fn is_success(&self) -> bool {
        self.result.is_ok()
    }
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// In words, one line each; empty if nothing has changed.
    pub changes: Vec<String>,
    /// What is probably not meant like this, and what needs a restart.
    pub warnings: Vec<String>,
}
