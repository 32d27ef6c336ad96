//! What stickiness costs next to even distribution. `docs/cost.md` says what each figure means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What stickiness costs a pool, over one window. What is not known is left out: without requests
/// nothing has a peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// `10s`, `1m` or `5m`.
    #[schema(example = "1m")]
    pub window: String,
    /// How much of it there has been since the start.
    pub seconds: f64,
    /// Requests that began in it.
    pub requests: u64,
    /// Were there enough of them (30 a backend) for the figures to say something?
    pub is_meaningful: bool,
    /// The headroom cost in one plain sentence.
    pub in_words: String,
    /// The capacity that the busiest backend must have more because of stickiness: 0.34 is 34 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headroom_cost: Option<f64>,
    /// Share of the requests that affinity sent elsewhere than the balancer would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_share: Option<f64>,
    /// How unevenly the load lies.
    pub real: Loads,
    /// How unevenly it would lie under even distribution.
    pub even: Loads,
    /// What the busiest backend's answers take longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// What is lost if the backend with the most sessions dies now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastRadius>,
    /// Sessions that moved, by reason. What never happened is left out.
    pub moves: BTreeMap<String, u64>,
    /// Each member's part.
    pub backends: Vec<Part>,
}

/// How unevenly each kind of load lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Loads {
    /// Requests that began.
    pub requests: Imbalance,
    /// Time that requests were in flight.
    pub in_flight_time: Imbalance,
    /// Bound sessions; under even distribution there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Imbalance>,
}

/// How far a load is from even.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Imbalance {
    /// The busiest backend's load over its fair share: 1 is even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_to_mean: Option<f64>,
    /// The busiest backend, if it is still a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busiest: Option<String>,
    /// Jain's index: 1 is even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jain: Option<f64>,
    /// Standard deviation over mean: 0 is even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<f64>,
}

/// How long answers took at the busiest backend, next to all of the pool's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// Half of the answers were faster.
    pub p50: Compared,
    /// 99 of 100 answers were faster.
    pub p99: Compared,
}

/// A time at the busiest backend, and in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Compared {
    /// At the busiest backend, in milliseconds.
    pub busiest_ms: f64,
    /// In the pool, in milliseconds.
    pub pool_ms: f64,
    /// The first over the second: 1 is even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// What is lost with one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BlastRadius {
    /// The one with the most sessions.
    pub backend: String,
    /// Its sessions.
    pub sessions: u32,
    /// Their share of the pool's.
    pub share: f64,
}

/// One member's part of the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its requests over its fair share of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<f64>,
    /// Its in-flight time over its fair share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_time: Option<f64>,
    /// Its sessions over its fair share of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<f64>,
    /// Its share of the pool's in-flight time, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_share: Option<f64>,
    /// The same under even distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub even_in_flight_share: Option<f64>,
}
