//! What a change would do.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::backends::{HIGHEST_WEIGHT, check_highest};
use crate::admin::extract::{Json, Query};
use crate::admin::problem::Problem;
use crate::admin::view;
use crate::balance::forecast::{Change, Evenness, Forecast, Impossible};

/// What is to be done to a backend.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeName {
    /// It is emptied.
    Drain,
    /// It is no longer a member.
    Remove,
    /// It becomes one.
    Add,
    /// It gets another weight.
    Weight,
}

/// Which change.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PlanQuery {
    /// The pool's name.
    pool: String,
    /// The backend's name.
    backend: String,
    /// What is to be done to it.
    #[param(inline)]
    change: ChangeName,
    /// With `add` and `weight`: its weight. Absent: 1.
    #[param(maximum = 65535)]
    weight: Option<u32>,
}

/// What a change would do
///
/// Nothing is done: this only says which sessions would move where, and how even the pool would be.
#[utoipa::path(get, path = "/v1/plan", tag = "operate", operation_id = "plan",
    params(PlanQuery),
    responses(
        (status = 200, description = "What it would do", body = view::Plan),
        (status = 404, description = "There is no such backend", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It cannot be done", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This is no weight", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn plan(
    State(admin): App,
    Query(query): Query<PlanQuery>,
) -> Result<Json<view::Plan>, Problem> {
    let PlanQuery { pool, backend: name, change, weight } = query;
    let weight = weight.unwrap_or(1);
    check_highest("weight", weight, HIGHEST_WEIGHT)?;
    let pool = match change {
        ChangeName::Add => admin.pool(&pool)?,
        _ => admin.backend(&pool, &name)?.0,
    };
    let change = match change {
        ChangeName::Drain => Change::Drain(name.clone()),
        ChangeName::Remove => Change::Remove(name.clone()),
        ChangeName::Add => Change::Add { name: name.clone(), weight },
        ChangeName::Weight => Change::Weight { name: name.clone(), weight },
    };
    match pool.forecast(&change) {
        Ok(forecast) => Ok(Json(show(pool.name(), forecast))),
        Err(impossible) => Err(refused(impossible, pool.name(), &name)),
    }
}

fn show(pool: &str, forecast: Forecast) -> view::Plan {
    let evenness = |Evenness { sessions, in_flight }| view::Evenness { sessions, in_flight };
    let flows = forecast.flows.into_iter().map(|flow| view::Flow {
        from: flow.from,
        to: flow.to,
        sessions: flow.sessions,
        in_flight: flow.in_flight,
    });
    view::Plan {
        pool: pool.to_owned(),
        sessions: forecast.sessions,
        in_flight: forecast.in_flight,
        flows: flows.collect(),
        before: evenness(forecast.before),
        after: evenness(forecast.after),
    }
}

fn refused(impossible: Impossible, pool: &str, backend: &str) -> Problem {
    let detail = format!("{pool}/{backend}: {impossible}");
    match impossible {
        Impossible::UnknownBackend => Problem::new(StatusCode::NOT_FOUND, detail),
        Impossible::NameTaken => {
            Problem::new(StatusCode::CONFLICT, detail).of_kind("name-taken", "The name is taken")
        }
        Impossible::NobodyLeft => Problem::new(StatusCode::CONFLICT, detail)
            .of_kind("last-ready", "No backend would be ready"),
    }
}
