//! Reading the configuration again.

use axum::extract::State;
use http::StatusCode;

use super::App;
use crate::admin::extract::Json;
use crate::admin::problem::Problem;
use crate::admin::show;
use crate::admin::view;
use crate::observe::Trigger;

/// How the last reload went
#[utoipa::path(get, path = "/v1/reload", tag = "process", operation_id = "last_reload",
    responses(
        (status = 200, description = "The last reload, whether the file was good or not", body = view::Reload),
        (status = 404, description = "There was none since the start", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn last(State(admin): App) -> Result<Json<view::Reload>, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "nothing was reloaded since the start");
    admin.controller.last_reload().map(|outcome| Json(show::reload(&outcome))).ok_or_else(none)
}

/// Read the configuration again
///
/// Answers when the new configuration is in force, or was refused: then the old one goes on.
#[utoipa::path(post, path = "/v1/reload", tag = "process", operation_id = "reload",
    responses(
        (status = 200, description = "The file is in force", body = view::Reload),
        (status = 422, description = "The file has mistakes; the old configuration goes on", body = view::Reload),
    ))]
pub(super) async fn reload(State(admin): App) -> (StatusCode, Json<view::Reload>) {
    let outcome = admin.controller.reload(Trigger::Operator).await;
    let status = match outcome.is_success() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(show::reload(&outcome)))
}
