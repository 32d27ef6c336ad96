//! What the API says, as types: the server writes them, the commands read them, and the OpenAPI
//! document is made from them.
//!
//! Times are RFC 3339 in UTC, durations are written as in a configuration (`"10m"`), shares run
//! from 0 to 1. Labels of states, causes, reasons and outcomes are those of logs and metrics.

mod backend;
mod cost;
mod event;
mod order;
mod plan;
mod pool;
mod process;
mod route;
mod session;
mod time;
mod unstick;

pub use backend::{Backend, BackendDetail, Drain, HistoryEntry, LastError, Latency};
pub use cost::{BlastRadius, Compared, Cost, Imbalance, Loads, Part, Spread};
pub use event::{DrainOf, Event, Lag, Membership, Transition, WeightOf};
pub use order::{DrainOrder, MaintenanceOrder, NewBackend, Removal, Span, WeightOrder};
pub use plan::{Evenness, Flow, Plan};
pub use pool::{Affinity, Pool, Pools};
pub use process::{Process, Readiness, Reload};
pub use route::{Arm, Route, Routes};
pub use session::{Released, Session, SessionCounts, SessionsOfBackend, SessionsOfPool};
pub(crate) use time::rfc3339;
pub use unstick::{Difference, Durations, Group, Unstick};
