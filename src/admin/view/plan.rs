//! What a change would do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a change would do, before anybody does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Of this pool.
    pub pool: String,
    /// Sessions that would move.
    pub sessions: u64,
    /// Requests in flight that go with them.
    pub in_flight: u64,
    /// From where to where.
    pub flows: Vec<Flow>,
    /// How even the pool is.
    pub before: Evenness,
    /// How even it would be.
    pub after: Evenness,
}

/// Sessions that would go from one backend to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// Their home.
    pub from: String,
    /// Their new home.
    pub to: String,
    /// How many.
    pub sessions: u64,
    /// Requests in flight that go with them.
    pub in_flight: u64,
}

/// Peak-to-mean: the busiest backend's share over its fair share, by weight. 1 is even.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evenness {
    /// Of sessions.
    pub sessions: f64,
    /// Of requests in flight.
    pub in_flight: f64,
}
