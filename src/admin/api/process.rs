//! The process: what it is, and how it is.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::App;
use crate::admin::extract::Json;
use crate::admin::view::{self, rfc3339};
use crate::observe::metrics::Format;

/// The process
#[utoipa::path(get, path = "/v1/process", tag = "process", operation_id = "show_process",
    responses((status = 200, description = "The process", body = view::Process)))]
pub(super) async fn show(State(admin): App) -> Json<view::Process> {
    Json(view::Process {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started: rfc3339(admin.started),
        listeners: (admin.listeners)().iter().map(ToString::to_string).collect(),
    })
}

/// Is the process alive?
///
/// Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "process", operation_id = "healthz",
    security(()),
    responses((status = 200, description = "It is", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Can it take requests?
///
/// Not while it shuts down, and not when no pool has a backend that takes new sessions. Needs no
/// token.
#[utoipa::path(get, path = "/readyz", tag = "process", operation_id = "readyz",
    security(()),
    responses(
        (status = 200, description = "It can", body = view::Readiness),
        (status = 503, description = "It cannot", body = view::Readiness),
    ))]
pub(super) async fn readyz(State(admin): App) -> (StatusCode, Json<view::Readiness>) {
    let pools = admin.controller.pools();
    let can = |pool: &crate::balance::Pool| {
        pool.backends().iter().any(|backend| backend.state().accepts_new() && backend.weight() > 0)
    };
    let without = pools.iter().filter(|pool| !can(pool));
    let without: Vec<_> = without.map(|pool| pool.name().to_owned()).collect();
    let shutting_down = admin.is_shutting_down();
    let ready = !shutting_down && without.len() < pools.len();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let pools_without_ready_backend = match admin.access.load().token {
        Some(_) => Vec::new(), // names are for those who know the token
        None => without,
    };
    (status, Json(view::Readiness { ready, shutting_down, pools_without_ready_backend }))
}

/// Metrics for Prometheus
///
/// As OpenMetrics text, or in Prometheus' older format for who does not accept that.
#[utoipa::path(get, path = "/metrics", tag = "process", operation_id = "metrics",
    responses((status = 200, description = "The metrics", content(
        (String = "application/openmetrics-text"),
        (String = "text/plain"),
    ))))]
pub(super) async fn metrics(State(admin): App, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    let text = admin.metrics.render(&admin.controller.pools(), format);
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}
