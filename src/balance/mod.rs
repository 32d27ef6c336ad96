//! The pure core: where does this request go, and why?
//!
//! This module decides and counts. It does **not** read a clock, draw OS randomness, open a socket
//! or a file, log, or spawn: time comes in as a [`Timestamp`], randomness as a `&mut dyn Rng`, and
//! every decision goes out as a value. The live proxy, the simulator and the benches therefore run
//! the same code, and a seed replays a run.
//!
//! A request passes through in three steps, named in the field's terms:
//!
//! 1. **hint**: what the request asks for. An opened token is a [`Hint`], and so is a hash key;
//!    without either a request is free.
//! 2. **placement**: where it goes and why. [`Pool::place`] is the only place where affinity meets
//!    balancing: affinity proposes, the balancer disposes. A [`Placement`] names its [`Cause`].
//! 3. **binding**: what the client is told to keep. [`Pool::bind`] records the session in the
//!    [`Ledger`](affinity::Ledger) and says whether a new token is due.
//!
//! Between the last two the request is *in flight*: [`InFlight`] counts it exactly once, however
//! it ends.
//!
//! Reading order: [`backend`] (states and the two questions), [`pool`], [`balancer`], [`hashing`],
//! [`affinity`], [`drain`], then the small machines [`health`] and [`outlier`].

pub mod affinity;
pub mod backend;
pub mod balancer;
mod cause;
pub mod cost;
pub mod drain;
pub mod forecast;
pub mod hashing;
pub mod health;
mod identity;
mod in_flight;
mod load;
mod members;
pub mod outlier;
mod pace;
mod peak_ewma;
pub mod pool;
pub mod queue;
mod ready;
pub mod retry;
mod slow_start;
pub mod split;
pub mod state;
mod time;
mod tunnels;
pub mod unstick;

pub use affinity::{Binding, Grant, Hint, SessionId, Wish};
pub use backend::Backend;
pub use cause::{Cause, Reason, Unavailable};
pub use drain::{DrainPolicy, DrainProgress, Refused};
pub use identity::{Address, BackendId, BackendSpec};
pub use in_flight::{InFlight, Outcome};
pub use pool::{Ask, Decision, Placement, Pool, PoolSpec, Transition, View};
pub use rand_core::Rng;
pub use state::{BackendState, Condition};
pub use time::Timestamp;
pub use tunnels::Tunnel;
