//! Single backends: how they are, and which there are.

use axum::extract::State;
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;
use utoipa::IntoParams;

use super::App;
use super::control::refused;
use crate::admin::extract::{Json, Path, Query};
use crate::admin::problem::Problem;
use crate::admin::view;
use crate::balance::{Address, BackendSpec};
use crate::clock;
use crate::config::leaf::{Leaf, Name};

/// The highest weight, as in a configuration.
pub(super) const HIGHEST_WEIGHT: u32 = 65_535;

/// The highest priority, as in a configuration.
const HIGHEST_PRIORITY: u32 = 100;

/// The highest limit of requests in flight, as in a configuration.
const HIGHEST_LIMIT: u32 = 10_000_000;

/// One backend, and what became of it lately
#[utoipa::path(get, path = "/v1/pools/{pool}/backends/{backend}", tag = "pools",
    operation_id = "show_backend",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
    ),
    responses(
        (status = 200, description = "The backend", body = view::BackendDetail),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    State(admin): App,
    Path((pool, backend)): Path<(String, String)>,
) -> Result<Json<view::BackendDetail>, Problem> {
    let (pool, backend) = admin.backend(&pool, &backend)?;
    Ok(Json(admin.show_detail(&pool, &backend, clock::now())))
}

/// Add a backend
///
/// It stays through reloads and restarts until it is removed.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends", tag = "operate",
    operation_id = "add_backend",
    params(("pool" = String, Path, description = "The pool's name")),
    request_body = view::NewBackend,
    responses(
        (status = 201, description = "It is a member now", body = view::BackendDetail,
            headers(("Location" = String, description = "The backend"))),
        (status = 404, description = "There is no such pool", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The pool has a backend of that name", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is no backend", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn add(
    State(admin): App,
    Path(pool): Path<String>,
    Json(new): Json<view::NewBackend>,
) -> Result<(StatusCode, [(http::HeaderName, String); 1], Json<view::BackendDetail>), Problem> {
    let name = new.name.clone();
    let spec = spec(new)?;
    admin.pool(&pool)?;
    admin.controller.add_backend(&pool, spec).map_err(|error| refused(error, &pool, &name))?;
    let (pool, backend) = admin.backend(&pool, &name)?;
    let location = format!("/v1/pools/{}/backends/{name}", pool.name());
    let detail = admin.show_detail(&pool, &backend, clock::now());
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(detail)))
}

/// What is wrong with a value.
fn wrong(key: &str, why: String, expected: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{key}: {why}"))
        .help(format!("expected {expected}"))
}

/// No number is too high.
pub(super) fn check_highest(key: &str, value: u32, highest: u32) -> Result<(), Problem> {
    match value > highest {
        true => Err(wrong(key, format!("{value} is too high"), &format!("{highest} at most"))),
        false => Ok(()),
    }
}

fn spec(new: view::NewBackend) -> Result<BackendSpec, Problem> {
    let Name(name) = Name::parse(&new.name).map_err(|why| wrong("name", why, Name::EXPECTED))?;
    let address = Address::parse(&new.address);
    let address = address.map_err(|why| wrong("address", why, Address::EXPECTED))?;
    let limit = new.max_connections.map(u32::from);
    for (key, value, highest) in [
        ("weight", new.weight, HIGHEST_WEIGHT),
        ("priority", new.priority, HIGHEST_PRIORITY),
        ("max_connections", limit.unwrap_or_default(), HIGHEST_LIMIT),
    ] {
        check_highest(key, value, highest)?;
    }
    Ok(BackendSpec {
        weight: new.weight,
        priority: new.priority,
        max_connections: limit,
        ..BackendSpec::new(name, address)
    })
}

/// How to remove.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// Even if no other backend of the pool is ready.
    #[serde(default)]
    force: bool,
}

/// Remove a backend
///
/// While sessions are bound to it, it stays and takes no new ones. If the configuration file lists
/// it, it comes back with the next reload.
#[utoipa::path(delete, path = "/v1/pools/{pool}/backends/{backend}", tag = "operate",
    operation_id = "remove_backend",
    params(
        ("pool" = String, Path, description = "The pool's name"),
        ("backend" = String, Path, description = "The backend's name"),
        RemoveQuery,
    ),
    responses(
        (status = 200, description = "It is removed, or leaving", body = view::Removal),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No other backend is ready, or it is leaving already", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn remove(
    State(admin): App,
    Path((pool, backend)): Path<(String, String)>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<view::Removal>, Problem> {
    admin.backend(&pool, &backend)?;
    let removal = admin.controller.remove_backend(&pool, &backend, query.force);
    let removal = removal.map_err(|error| refused(error, &pool, &backend))?;
    let (is_leaving, comes_back) = (removal.is_leaving, removal.comes_back);
    Ok(Json(view::Removal { is_leaving, comes_back }))
}
