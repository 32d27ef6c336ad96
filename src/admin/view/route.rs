//! Routes over several pools.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All routes over several pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Routes {
    /// In the order of their names.
    pub routes: Vec<Route>,
}

/// A route over several pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// What it is called.
    pub name: String,
    /// Its pools, in the order of the configuration.
    pub pools: Vec<Arm>,
}

/// One of the pools of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Arm {
    /// The pool's name.
    pub pool: String,
    /// Its weight, next to those of the others.
    pub weight: u32,
    /// The share of requests that it should have.
    pub wanted: f64,
    /// The share that it has had in the last minute. Absent if there were too few requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Sessions that are bound to its backends.
    pub sessions: u64,
    /// Does it take new sessions?
    pub takes_new: bool,
}
