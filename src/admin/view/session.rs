//! Sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many sessions are bound where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionCounts {
    /// In the order of the configuration.
    pub pools: Vec<SessionsOfPool>,
}

/// The sessions of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionsOfPool {
    /// The pool.
    pub pool: String,
    /// All that this proxy knows of. Former backends may have some that are not in `backends`.
    pub sessions: u64,
    /// Times that a session was not counted because there were `max_sessions` already.
    pub untracked: u64,
    /// In the order of the configuration.
    pub backends: Vec<SessionsOfBackend>,
}

/// The sessions of one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionsOfBackend {
    /// The backend.
    pub backend: String,
    /// How it is.
    pub state: String,
    /// Sessions that are bound there.
    pub sessions: u32,
    /// Its share of the pool's sessions.
    pub share: f64,
    /// The share that its weight entitles it to.
    pub fair_share: f64,
}

/// Where a session is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The session, as it is called in logs.
    #[schema(example = "9a0c1f2e3d4b5a69")]
    pub id: String,
    /// The pool that knows it.
    pub pool: String,
    /// Its home; absent if that is no longer in the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// How its home is.
    pub state: String,
    /// Would its next request be served there?
    pub at_home: bool,
    /// Why it came there: `new`, `keyed`, `moved`, `free` (the app has pinned it), or `bound` (its
    /// token said so before this proxy knew of it). Absent if that was forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why it could not stay where it was, if it has moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it has moved from, if it has and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Since when it is there, as far as this proxy knows.
    #[schema(format = DateTime)]
    pub since: String,
    /// When it was seen last, to 1/64 of `idle_timeout`.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// Why it is there, and what becomes of its next request, in words.
    pub why: String,
}

/// Sessions that were let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Released {
    /// How many.
    pub sessions: u64,
}
