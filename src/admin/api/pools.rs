//! Pools.

use axum::extract::State;

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
