//! The process.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The proxy's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Process {
    /// The version of Stickler.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    #[schema(format = DateTime)]
    pub started: String,
    /// Where clients connect.
    pub listeners: Vec<String>,
}

/// Can it take requests?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// It can: it is not shutting down, and there is a pool that can take requests.
    pub ready: bool,
    /// It is shutting down.
    pub shutting_down: bool,
    /// Pools without a backend that takes new sessions.
    pub pools_without_ready_backend: Vec<String>,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reload {
    /// When it was over.
    #[schema(format = DateTime)]
    pub at: String,
    /// What made it happen: `signal`, `operator` or `file`.
    pub trigger: String,
    /// The file is in force. If not, what was in force goes on.
    pub ok: bool,
    /// What has changed, in words; empty if nothing has.
    pub changes: Vec<String>,
    /// What is probably not meant like this, and what needs a restart.
    pub warnings: Vec<String>,
    /// Why nothing has changed: every mistake, with its place in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
