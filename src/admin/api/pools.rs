//! Pools.

use axum::extract::State;
use http::StatusCode;

use super::App;
use crate::admin::extract::{Json, Path};
use crate::admin::problem::Problem;
use crate::admin::view;
use crate::clock;

/// Every pool with its backends
#[utoipa::path(get, path = "/v1/pools", tag = "pools", operation_id = "list_pools",
    responses((status = 200, description = "All pools", body = view::Pools)))]
pub(super) async fn list(State(admin): App) -> Json<view::Pools> {
    Json(admin.show_pools(clock::now()))
}

/// One pool with its backends
#[utoipa::path(get, path = "/v1/pools/{pool}", tag = "pools", operation_id = "show_pool",
    params(("pool" = String, Path, description = "The pool's name")),
    responses(
        (status = 200, description = "The pool", body = view::Pool),
        (status = 404, description = "There is no such pool", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    State(admin): App,
    Path(pool): Path<String>,
) -> Result<Json<view::Pool>, Problem> {
    let pool = admin.pool(&pool)?;
    Ok(Json(admin.show_pool(&pool, &admin.recent(), clock::now())))
}

/// What a pool's unstick experiment has shown so far
#[utoipa::path(get, path = "/v1/pools/{pool}/unstick", tag = "pools", operation_id = "show_unstick",
    params(("pool" = String, Path, description = "The pool's name")),
    responses(
        (status = 200, description = "The experiment", body = view::Unstick),
        (status = 404, description = "There is no such pool, or no experiment in it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn unstick(
    State(admin): App,
    Path(pool): Path<String>,
) -> Result<Json<view::Unstick>, Problem> {
    let pool = admin.pool(&pool)?;
    let shown = admin.show_unstick(pool.name()).ok_or_else(|| {
        let detail = format!("there is no experiment in pool {:?}", pool.name());
        let help = "write unstick = { percent = 5 } in its affinity, and reload";
        Problem::new(StatusCode::NOT_FOUND, detail).help(help)
    })?;
    Ok(Json(shown))
}
