//! Routes over several pools: canaries, blue and green.

use axum::extract::State;
use http::StatusCode;

use super::App;
use crate::admin::extract::{Json, OptionalJson, Path};
use crate::admin::problem::Problem;
use crate::admin::{Admin, view};
use crate::balance::DrainPolicy;
use crate::control::{Controller, Refusal};

/// Every route over several pools
///
/// Each with the shares of requests that its pools should have, and have had in the last minute.
#[utoipa::path(get, path = "/v1/routes", tag = "pools", operation_id = "list_routes",
    responses((status = 200, description = "All routes over several pools", body = view::Routes)))]
pub(super) async fn list(State(admin): App) -> Json<view::Routes> {
    Json(view::Routes { routes: admin.show_splits() })
}

/// Give one pool of a route everything
///
/// Its backends are made ready, and those of the route's other pools drain: they take no new
/// sessions, and bound ones go over as the policy says.
#[utoipa::path(post, path = "/v1/routes/{route}/pools/{pool}/promote", tag = "operate",
    operation_id = "promote",
    params(
        ("route" = String, Path, description = "The route's name"),
        ("pool" = String, Path, description = "The pool that gets everything"),
    ),
    request_body(content = Option<view::DrainOrder>),
    responses(
        (status = 200, description = "The others drain", body = view::Route),
        (status = 404, description = "There is no such route, or the pool is none of its own", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The pool can take nobody", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is no policy", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn promote(
    State(admin): App,
    Path((route, pool)): Path<(String, String)>,
    OptionalJson(order): OptionalJson<view::DrainOrder>,
) -> Result<Json<view::Route>, Problem> {
    admin.steer(Controller::promote, &route, &pool, &order)
}

/// Take one pool of a route back
///
/// Its backends drain: they take no new sessions, and bound ones go over to the route's other pools
/// as the policy says.
#[utoipa::path(post, path = "/v1/routes/{route}/pools/{pool}/abort", tag = "operate",
    operation_id = "abort",
    params(
        ("route" = String, Path, description = "The route's name"),
        ("pool" = String, Path, description = "The pool that is taken back"),
    ),
    request_body(content = Option<view::DrainOrder>),
    responses(
        (status = 200, description = "It drains", body = view::Route),
        (status = 404, description = "There is no such route, or the pool is none of its own", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No other pool can take its sessions", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is no policy", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn abort(
    State(admin): App,
    Path((route, pool)): Path<(String, String)>,
    OptionalJson(order): OptionalJson<view::DrainOrder>,
) -> Result<Json<view::Route>, Problem> {
    admin.steer(Controller::abort, &route, &pool, &order)
}

fn refused(refusal: Refusal, route: &str, pool: &str) -> Problem {
    let status = match refusal {
        Refusal::UnknownRoute | Refusal::UnknownPool => StatusCode::NOT_FOUND,
        _ => StatusCode::CONFLICT,
    };
    Problem::new(status, format!("{route}, {pool}: {refusal}"))
}

impl Admin {
    /// Promotes or aborts a pool of a route, and says how the route is then.
    fn steer(
        &self,
        act: fn(&Controller, &str, &str, DrainPolicy) -> Result<(), Refusal>,
        route: &str,
        pool: &str,
        order: &view::DrainOrder,
    ) -> Result<Json<view::Route>, Problem> {
        act(&self.controller, route, pool, order.policy())
            .map_err(|error| refused(error, route, pool))?;
        self.split(route)
    }

    fn split(&self, name: &str) -> Result<Json<view::Route>, Problem> {
        let mut routes = self.show_splits().into_iter();
        let route = routes.find(|route| route.name == name);
        let gone = || Problem::new(StatusCode::NOT_FOUND, format!("{name:?} is gone"));
        route.map(Json).ok_or_else(gone)
    }

    /// Every route over several pools, as it is now.
    pub(in crate::admin) fn show_splits(&self) -> Vec<view::Route> {
        let splits = self.controller.splits().into_iter();
        splits
            .map(|(route, shares)| {
                let sum: u32 = route.arms.iter().map(|arm| arm.weight).sum();
                let arms = route.arms.into_iter().enumerate().map(|(i, arm)| {
                    let pool = self.controller.pool(&arm.pool);
                    let backends = pool.as_ref().map(|pool| pool.backends()).unwrap_or_default();
                    view::Arm {
                        wanted: f64::from(arm.weight) / f64::from(sum.max(1)),
                        share: shares.as_ref().map(|shares| shares[i]),
                        sessions: backends.iter().map(|b| u64::from(b.sessions())).sum(),
                        takes_new: pool.is_some_and(|pool| pool.takes_new()),
                        weight: arm.weight,
                        pool: arm.pool,
                    }
                });
                view::Route { name: route.name, pools: arms.collect() }
            })
            .collect()
    }
}
