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
