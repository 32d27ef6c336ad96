//! Pools.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Backend, Cost, Route, Unstick};
use crate::balance::cost::Window;

/// Every pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pools {
    /// When this was so.
    #[schema(format = DateTime)]
    pub at: String,
    /// In the order of the configuration.
    pub pools: Vec<Pool>,
    /// The routes over several of them, in the order of their names. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// A named group of backends with one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How free requests are balanced.
    pub balance: String,
    /// How sessions stick.
    pub affinity: Affinity,
    /// Sessions that this proxy knows of.
    pub sessions: u64,
    /// Times that a session was not counted because there were `max_sessions` already.
    pub untracked: u64,
    /// Requests started and not finished, at all backends.
    pub in_flight: u32,
    /// Requests that wait for a backend.
    pub waiting: u32,
    /// Requests that could not be placed, since the start.
    pub unavailable: u64,
    /// Requests a second, over the last ten seconds.
    pub request_rate: f64,
    /// Sessions that moved or were served elsewhere, and tokens that were not honoured, since the
    /// start, by reason. What never happened is left out.
    pub reasons: BTreeMap<String, u64>,
    /// What stickiness costs next to even distribution, over the last ten seconds, minute and five
    /// minutes. Empty if it is not measured, or not yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cost: Vec<Cost>,
    /// The unstick experiment, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstick: Option<Unstick>,
    /// In the order of the configuration.
    pub backends: Vec<Backend>,
}

/// How sessions stick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affinity {
    /// `none`, `cookie`, `hash`, ...
    pub mode: String,
    /// What happens to a session whose home cannot serve it.
    pub when_unavailable: String,
    /// A session ends when it was not seen for so long.
    #[schema(example = "30m")]
    pub idle_timeout: String,
}

impl Pool {
    /// What stickiness costs over a window, `1m` say.
    pub fn cost(&self, window: Window) -> Option<&Cost> {
        self.cost.iter().find(|cost| cost.window == window.as_str())
    }

    /// The backend of this name.
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}
