//! Choosing a backend for a request that is free to go anywhere.
//!
//! One file per algorithm, all of the same shape: a small struct that is built from the
//! [`Ready`] backends of a snapshot, and a [`Balancer::pick`] that reads their load. A snapshot is
//! rebuilt when a backend changes state, so whatever can be worked out beforehand is.

mod draw;
mod least_connections;
mod peak_ewma;
mod random;
mod round_robin;
mod two_choices;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::Rng;
pub use super::ready::{Candidates, Ready};

/// Chooses among the candidates, by index. `None` if and only if none of them is allowed.
pub trait Balancer: fmt::Debug + Send + Sync {
    /// The choice for one request.
    fn pick(&self, candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize>;
}

/// The balancers that a pool can be configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded of two that are drawn by chance.
    #[default]
    TwoChoices,
    /// Each backend in turn, as often as its weight says, evenly spread.
    RoundRobin,
    /// The backend with the fewest requests in flight for its weight.
    LeastConnections,
    /// By chance, as often as its weight says.
    Random,
    /// Of two that are drawn by chance, the one that should answer sooner.
    PeakEwma,
}

impl Balance {
    /// All of them.
    pub const ALL: [Balance; 5] = [
        Balance::TwoChoices,
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::Random,
        Balance::PeakEwma,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Balance::TwoChoices => "two_choices",
            Balance::RoundRobin => "round_robin",
            Balance::LeastConnections => "least_connections",
            Balance::Random => "random",
            Balance::PeakEwma => "peak_ewma",
        }
    }

    /// Does it look at how long backends take?
    pub const fn wants_latency(self) -> bool {
        matches!(self, Balance::PeakEwma)
    }

    /// The balancer over `ready`. `position` outlives it: whose turn it is must survive a change
    /// of membership, or every change would send the next sessions to the first backend.
    pub fn prepare(self, ready: &Ready, position: &Arc<AtomicUsize>) -> Box<dyn Balancer> {
        match self {
            Balance::TwoChoices => Box::new(two_choices::TwoChoices::new(ready)),
            Balance::RoundRobin => Box::new(round_robin::RoundRobin::new(ready, position.clone())),
            Balance::LeastConnections => Box::new(least_connections::LeastConnections::new(ready)),
            Balance::Random => Box::new(random::Random::new(ready)),
            Balance::PeakEwma => Box::new(peak_ewma::PeakEwma::new(ready)),
        }
    }
}

/// A number below `n`, by multiplication instead of division (Lemire 2019). The bias is below
/// `n / 2^64`.
pub(super) fn below(rng: &mut dyn Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
pub(super) mod tests;
