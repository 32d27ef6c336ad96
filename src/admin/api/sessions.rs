//! Where sessions are bound, and letting them go.

use axum::extract::State;
use http::StatusCode;

use super::App;
use crate::admin::extract::{Json, Path};
use crate::admin::problem::Problem;
use crate::admin::view::rfc3339;
use crate::admin::{Admin, view};
use crate::balance::affinity::Residence;
use crate::balance::{Cause, Pool, SessionId};
use crate::clock;

/// How many sessions are bound where
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", operation_id = "count_sessions",
    responses((status = 200, description = "The counts", body = view::SessionCounts)))]
pub(super) async fn counts(State(admin): App) -> Json<view::SessionCounts> {
    let pools = admin.show_pools(clock::now()).pools.into_iter();
    let pools = pools.map(|pool| view::SessionsOfPool {
        pool: pool.name,
        sessions: pool.sessions,
        untracked: pool.untracked,
        backends: pool.backends.into_iter().map(of_backend).collect(),
    });
    Json(view::SessionCounts { pools: pools.collect() })
}

fn of_backend(backend: view::Backend) -> view::SessionsOfBackend {
    view::SessionsOfBackend {
        backend: backend.name,
        state: backend.state,
        sessions: backend.sessions,
        share: backend.session_share,
        fair_share: backend.fair_share,
    }
}

/// Where a session is bound, and why
#[utoipa::path(get, path = "/v1/sessions/{session}", tag = "sessions", operation_id = "show_session",
    params(("session" = String, Path, pattern = "^[0-9a-f]{16}$", description = "The session's id, as logs have it: 16 hexadecimal digits")),
    responses(
        (status = 200, description = "The session", body = view::Session),
        (status = 400, description = "This is no id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This proxy does not know it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    State(admin): App,
    Path(session): Path<String>,
) -> Result<Json<view::Session>, Problem> {
    let id = id(&session)?;
    admin.session(id).map(Json).ok_or_else(|| unknown(id))
}

/// Let a session go
///
/// Its next request goes wherever that of a new session would.
#[utoipa::path(delete, path = "/v1/sessions/{session}", tag = "sessions", operation_id = "release_session",
    params(("session" = String, Path, pattern = "^[0-9a-f]{16}$", description = "The session's id, as logs have it: 16 hexadecimal digits")),
    responses(
        (status = 200, description = "Where it was bound", body = view::Session),
        (status = 400, description = "This is no id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This proxy does not know it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn release(
    State(admin): App,
    Path(session): Path<String>,
) -> Result<Json<view::Session>, Problem> {
    let id = id(&session)?;
    let session = admin.session(id).ok_or_else(|| unknown(id))?;
    let pool = admin.pool(&session.pool)?;
    pool.release(id, clock::now());
    tracing::info!(pool = session.pool, session = %id, "an operator has released the session");
    Ok(Json(session))
}

/// Let all sessions of a backend go
///
/// The next request of each goes wherever that of a new session would.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends/{backend}/release", tag = "sessions",
    operation_id = "release_backend",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    responses(
        (status = 200, description = "How many there were", body = view::Released),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn release_all(
    State(admin): App,
    Path((pool, backend)): Path<(String, String)>,
) -> Result<Json<view::Released>, Problem> {
    let (pool, backend) = admin.backend(&pool, &backend)?;
    let sessions = pool.release_all(backend.id(), clock::now());
    let (pool, backend) = (pool.name(), backend.name());
    tracing::info!(pool, backend, sessions, "an operator has released its sessions");
    Ok(Json(view::Released { sessions: sessions as u64 }))
}

impl Admin {
    fn session(&self, id: SessionId) -> Option<view::Session> {
        let pools = self.controller.pools();
        pools.iter().find_map(|pool| {
            let residence = pool.ledger().residence(id)?;
            Some(show_session(pool, id, &residence))
        })
    }
}

fn show_session(pool: &Pool, id: SessionId, residence: &Residence) -> view::Session {
    let backend = pool.backend(residence.backend);
    let state = backend.as_ref().map_or("removed", |backend| backend.state().as_str());
    let at_home = backend.as_ref().is_some_and(|b| b.state().accepts_bound());
    let from = match residence.cause {
        Some(Cause::Moved { from, .. }) => {
            let known = || Some(pool.backend(from)?.name().to_owned());
            residence.from.as_deref().map(str::to_owned).or_else(known)
        }
        _ => None,
    };
    let came = how_it_came(residence.cause, from.as_deref());
    let next = match at_home {
        true => "its next request is served there".to_owned(),
        false => format!(
            "its home is {state}: its next request is treated as when_unavailable says ({})",
            pool.affinity().when_unavailable.as_str()
        ),
    };
    view::Session {
        id: id.to_string(),
        pool: pool.name().to_owned(),
        backend: backend.as_ref().map(|backend| backend.name().to_owned()),
        state: state.to_owned(),
        at_home,
        cause: residence.cause.map(|cause| cause.as_str().to_owned()),
        reason: residence.cause.and_then(Cause::reason).map(|reason| reason.as_str().to_owned()),
        from,
        since: rfc3339(residence.since),
        last_seen: rfc3339(residence.last_seen),
        why: format!("{came}; {next}"),
    }
}

fn how_it_came(cause: Option<Cause>, from: Option<&str>) -> String {
    match cause {
        Some(Cause::New) => "it began there".into(),
        Some(Cause::Free) => "it began there when the app pinned it".into(),
        Some(Cause::Keyed) => "the hash of its key leads there".into(),
        Some(Cause::Bound) => "its token said so when this proxy first saw it".into(),
        Some(Cause::Moved { reason, .. }) => {
            let from = from.unwrap_or("a former backend");
            format!("it moved there from {from} ({reason})")
        }
        Some(Cause::Unstuck) => "it is routed freely (unstick)".into(),
        Some(Cause::Detoured(_)) | None => "it moved there from a former backend".into(),
    }
}

fn id(text: &str) -> Result<SessionId, Problem> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    bits.map(SessionId::from_bits).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, format!("{text:?} is no session id"))
            .help("expected 16 hexadecimal digits, as logs have them")
    })
}

fn unknown(id: SessionId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no pool knows session {id}"))
        .of_kind("no-session", "No such session")
        .help("it has ended, or it was never seen by this proxy; another one may know it")
}
