//! Taking backends out of service and giving them back.

use axum::extract::State;
use http::StatusCode;

use super::App;
use super::backends::{HIGHEST_WEIGHT, check_highest};
use crate::admin::extract::{Json, OptionalJson, Path};
use crate::admin::problem::Problem;
use crate::admin::{Admin, show, view};
use crate::clock;
use crate::control::Refusal;

/// How the drain of a backend goes, or how the last one went
#[utoipa::path(get, path = "/v1/pools/{pool}/backends/{backend}/drain", tag = "operate",
    operation_id = "drain_progress",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    responses(
        (status = 200, description = "The drain", body = view::Drain),
        (status = 404, description = "There is no such backend, or it was never drained", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn drain_progress(
    State(admin): App,
    Path((pool, backend)): Path<(String, String)>,
) -> Result<Json<view::Drain>, Problem> {
    let (pool, backend) = admin.backend(&pool, &backend)?;
    let progress = pool.drain_progress(backend.id(), clock::now());
    progress.map(|progress| Json(show::drain(&progress))).ok_or_else(|| {
        let detail = format!("{:?} was not drained since the start", backend.name());
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

/// Drain a backend
///
/// It takes no new sessions from now on, and bound ones leave as the policy says. On a backend that
/// drains already it changes the policy, and the deadline counts from now.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends/{backend}/drain", tag = "operate",
    operation_id = "drain",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    request_body(content = Option<view::DrainOrder>),
    responses(
        (status = 200, description = "It drains", body = view::Backend),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No other backend is ready", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is no policy", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn drain(
    State(admin): App,
    Path((pool_name, name)): Path<(String, String)>,
    OptionalJson(order): OptionalJson<view::DrainOrder>,
) -> Result<Json<view::Backend>, Problem> {
    admin.backend(&pool_name, &name)?;
    let done = admin.controller.drain(&pool_name, &name, order.policy(), order.force);
    admin.answer(done, &pool_name, &name)
}

/// Make a backend ready
///
/// Ends its drain, and maintenance. A backend whose health checks fail stays down.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends/{backend}/ready", tag = "operate",
    operation_id = "ready",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    responses(
        (status = 200, description = "The operators' part of it is done", body = view::Backend),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn ready(
    State(admin): App,
    Path((pool, name)): Path<(String, String)>,
) -> Result<Json<view::Backend>, Problem> {
    admin.backend(&pool, &name)?;
    admin.answer(admin.controller.ready(&pool, &name), &pool, &name)
}

/// Take a backend out of service at once
///
/// Nobody is sent there any more, bound or not. Requests in flight are finished.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends/{backend}/maintenance", tag = "operate",
    operation_id = "maintenance",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    request_body(content = Option<view::MaintenanceOrder>),
    responses(
        (status = 200, description = "It is out of service", body = view::Backend),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No other backend is ready", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is not understood", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn maintenance(
    State(admin): App,
    Path((pool, name)): Path<(String, String)>,
    OptionalJson(order): OptionalJson<view::MaintenanceOrder>,
) -> Result<Json<view::Backend>, Problem> {
    admin.backend(&pool, &name)?;
    let done = admin.controller.maintenance(&pool, &name, order.force);
    admin.answer(done, &pool, &name)
}

/// Give a backend another weight
///
/// It stays until the configuration file itself says another weight than it does now. Zero takes no
/// new sessions, which is refused when no other backend of the pool is ready, unless forced.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends/{backend}/weight", tag = "operate",
    operation_id = "set_weight",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    request_body = view::WeightOrder,
    responses(
        (status = 200, description = "It has the weight", body = view::Backend),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is leaving, or no other backend is ready", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is no weight", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn weight(
    State(admin): App,
    Path((pool, name)): Path<(String, String)>,
    Json(order): Json<view::WeightOrder>,
) -> Result<Json<view::Backend>, Problem> {
    admin.backend(&pool, &name)?;
    check_highest("weight", order.weight, HIGHEST_WEIGHT)?;
    let done = admin.controller.set_weight(&pool, &name, order.weight, order.force);
    admin.answer(done, &pool, &name)
}

impl Admin {
    /// How a backend is after it was changed, or why it was not.
    fn answer<T>(
        &self,
        done: Result<T, Refusal>,
        pool: &str,
        name: &str,
    ) -> Result<Json<view::Backend>, Problem> {
        done.map_err(|error| refused(error, pool, name))?;
        let (pool, backend) = self.backend(pool, name)?;
        Ok(Json(self.show_detail(&pool, &backend, clock::now()).backend))
    }
}

/// Why something was not done.
pub(super) fn refused(refusal: Refusal, pool: &str, backend: &str) -> Problem {
    let detail = format!("{pool}/{backend}: {refusal}");
    match refusal {
        Refusal::UnknownPool | Refusal::UnknownBackend => {
            Problem::new(StatusCode::NOT_FOUND, detail)
        }
        Refusal::LastReady => Problem::new(StatusCode::CONFLICT, detail)
            .of_kind("last-ready", "No backend would be ready")
            .help("make another backend of the pool ready first, or force it"),
        Refusal::NameTaken => Problem::new(StatusCode::CONFLICT, detail)
            .of_kind("name-taken", "The name is taken")
            .help("choose another name, or remove the other backend first"),
        Refusal::UnknownRoute | Refusal::NobodyElse | Refusal::NoWeight => {
            Problem::new(StatusCode::CONFLICT, detail)
        }
        Refusal::Leaving => {
            Problem::new(StatusCode::CONFLICT, detail).of_kind("leaving", "It is leaving")
        }
    }
}
