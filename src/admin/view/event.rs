//! What happens, as it happens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Drain, Pools, Reload};

/// Something that happened. The event stream names it twice: as the event's type and in `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A backend has changed its state.
    Transition(Transition),
    /// How a drain goes: several times a second while it does, and once when it has ended.
    Drain(DrainOf),
    /// The configuration was read again.
    Reload(Reload),
    /// Backends came or went.
    Membership(Membership),
    /// A backend has another weight.
    Weight(WeightOf),
    /// All pools, every second, for who asked for figures.
    Figures(Pools),
    /// The reader is too slow: events are missing here.
    Lag(Lag),
}

impl Event {
    /// The event's type in the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Transition(_) => "transition",
            Event::Drain(_) => "drain",
            Event::Reload(_) => "reload",
            Event::Membership(_) => "membership",
            Event::Weight(_) => "weight",
            Event::Figures(_) => "figures",
            Event::Lag(_) => "lag",
        }
    }
}

/// A backend's change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Why, in words.
    pub why: String,
    /// Sessions bound to it then.
    pub sessions: u32,
    /// Requests in flight there then.
    pub in_flight: u32,
}

/// How a backend's drain goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainOf {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// How it goes.
    pub drain: Drain,
}

/// Backends that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The pool.
    pub pool: String,
    /// Backends that came.
    pub added: Vec<String>,
    /// Backends that went.
    pub removed: Vec<String>,
}

/// A backend's new weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WeightOf {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// From now on.
    pub weight: u32,
}

/// Events that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lag {
    /// How many.
    pub missed: u64,
}
