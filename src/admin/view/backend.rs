//! Backends, and how their drains go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One app server of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Where it listens.
    #[schema(example = "10.0.0.11:3000")]
    pub address: String,
    /// `ready`, `draining`, `drained`, `ejected`, `down` or `maintenance`.
    pub state: String,
    /// Its share of the load next to the others' weights. Zero takes bound sessions only.
    pub weight: u32,
    /// Backends of a higher number take new sessions only while no lower one can.
    pub priority: u32,
    /// Requests in flight at most, if there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests started and not finished.
    pub in_flight: u32,
    /// Requests that wait for this backend.
    pub waiting: u32,
    /// Upgraded connections (WebSocket).
    pub tunnels: u32,
    /// Sessions that are bound here.
    pub sessions: u32,
    /// Requests placed here since the start.
    pub requests: u64,
    /// Requests a second, over the last ten seconds.
    pub request_rate: f64,
    /// Its share of the pool's requests, over the last ten seconds.
    pub request_share: f64,
    /// Its share of the pool's sessions.
    pub session_share: f64,
    /// The share that its weight entitles it to. Zero while it takes no new sessions.
    pub fair_share: f64,
    /// Requests placed here since the start, by cause.
    pub placed: BTreeMap<String, u64>,
    /// Requests finished here since the start, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// How long it took to answer, over the last ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Its drain: how it goes, or how it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The last thing that went wrong here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// How long answers took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// Half of the answers were faster.
    pub p50_ms: f64,
    /// 99 of 100 answers were faster.
    pub p99_ms: f64,
}

/// How a drain goes, or how it went. `sessions_at_start` and `joined` together are `sessions`,
/// `left`, `moved` and `cut` together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// When it began.
    #[schema(format = DateTime)]
    pub since: String,
    /// When the sessions that are left are made to move, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub deadline: Option<String>,
    /// Sessions that were bound here when it began.
    pub sessions_at_start: u64,
    /// Sessions that have turned up since, bound earlier and not known until then.
    pub joined: u64,
    /// Sessions that are still bound here.
    pub sessions: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Upgraded connections that are still open.
    pub tunnels: u32,
    /// Sessions that left by themselves: idle for too long, or released.
    pub left: u64,
    /// Sessions that were moved.
    pub moved: u64,
    /// The same by reason.
    pub moved_by_reason: BTreeMap<String, u64>,
    /// Sessions that did not come back after the deadline and were no longer waited for.
    pub cut: u64,
    /// Upgraded connections that were closed.
    pub tunnels_closed: u64,
    /// When it will end, as far as can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub estimated_end: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    /// It ended because the backend was made ready again, not because it was empty.
    pub was_cancelled: bool,
}

/// The last thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub what: String,
}

/// A backend, and what became of it lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendDetail {
    /// The pool that it is in.
    pub pool: String,
    /// Who lists it: `file`, `discovery` or `operator`. Absent: nobody any more; it leaves when its
    /// sessions have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The backend.
    #[serde(flatten)]
    pub backend: Backend,
    /// Its changes of state and results of health checks, the latest first.
    pub history: Vec<HistoryEntry>,
}

/// Something that happened to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// `transition` or `health`.
    pub kind: String,
    /// The state before a transition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether a health check has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// Why, or what was seen.
    pub why: String,
}
