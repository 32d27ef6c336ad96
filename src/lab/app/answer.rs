//! What the shop answers, for both ends of the connection.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// The name of the session cookie.
pub const COOKIE: &str = "sid";

/// [`Refusal::error`] of a client that claims a session which this server does not know.
pub const UNKNOWN_SESSION: &str = "unknown_session";

/// The metric of the `Server-Timing` field in which a server says how long it took to read and
/// write the session, as in `state;dur=0.412`, in milliseconds.
pub const STATE_METRIC: &str = "state";

/// The field of a health check's answer by which a server asks to be drained.
pub const DRAIN: &str = "x-drain";

/// The field of an answer by which an app tells Stickler about the session,
pub const AFFINITY: &str = "stickler-affinity";

/// and its value when the session is over.
pub const RELEASE: &str = "release";

/// and its value when a request came with a session that the server does not know.
pub const UNKNOWN: &str = "unknown";

/// [`Refusal::error`] of a client that claims none.
pub const NO_SESSION: &str = "no_session";

/// The state of a session after a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who answers.
    pub server: String,
    /// Whose session it is.
    pub user: String,
    /// What is in the cart; after a check-out, what was bought.
    pub cart: Vec<String>,
    /// Requests in this session so far, this one included.
    pub requests: u64,
}

/// The answer to `/stats`, which costs no service time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Who answers.
    pub server: String,
    /// Requests and messages that were worked on since the start.
    pub requests: u64,
    /// Sessions in this server's memory; 0 for kinds that keep none.
    pub sessions: u64,
    /// Live channels.
    pub channels: u64,
}

/// What one member of a room said, as all members hear it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who passes it on.
    pub server: String,
    /// The room.
    pub room: String,
    /// Who said it.
    pub user: String,
    /// What.
    pub text: String,
}

/// The answer to `/whoami`, which is for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whoami {
    /// Who answers.
    pub server: String,
    /// Which session the client claims, and whether it is known here.
    pub session: Standing,
    /// Whose session it is, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Requests in this session so far, this one included; 0 without one.
    pub requests: u64,
}

/// What a server thinks of the session that a client claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The client claims none.
    None,
    /// It lives here.
    Known,
    /// It may live on another server or be lost.
    Unknown,
}

/// Why the shop does not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The status of the response.
    #[serde(skip)]
    pub status: u16,
    /// For programs.
    pub error: String,
    /// Who answers.
    pub server: String,
    /// For people.
    pub hint: String,
}

impl Refusal {
    fn new(status: StatusCode, error: &str, server: &str, hint: impl Into<String>) -> Self {
        let (error, server) = (error.into(), server.into());
        Refusal { status: status.as_u16(), error, server, hint: hint.into() }
    }

    pub(super) fn unknown_session(server: &str) -> Self {
        let hint =
            "this server does not know the session; it may live on another server or be lost";
        Self::new(StatusCode::UNAUTHORIZED, UNKNOWN_SESSION, server, hint)
    }

    pub(super) fn no_session(server: &str) -> Self {
        let hint = "log in first: POST /login?user=NAME";
        Self::new(StatusCode::UNAUTHORIZED, NO_SESSION, server, hint)
    }

    pub(super) fn bad_field(server: &str, field: &str, longest: usize) -> Self {
        let hint =
            format!("needs {field}=..., of 1 to {longest} characters, in a form or the query");
        Self::new(StatusCode::BAD_REQUEST, "bad_field", server, hint)
    }

    pub(super) fn cart_is_full(server: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "cart_is_full", server, "check out first: POST /checkout")
    }

    pub(super) fn store_failed(server: &str, why: &str) -> Self {
        let hint = format!("the session store does not answer: {why}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", server, hint)
    }

    pub(super) fn no_such_page(server: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_page", server, "GET / says what there is")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_unknown = self.error == UNKNOWN_SESSION;
        let mut response = (status, Json(self)).into_response();
        if is_unknown {
            response.headers_mut().insert(AFFINITY, HeaderValue::from_static(UNKNOWN));
        }
        response
    }
}
