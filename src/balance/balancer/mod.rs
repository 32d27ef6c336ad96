//! Choosing a backend for a request that is free to go anywhere.
//!
//! One file per algorithm, all of the same shape: a small struct that is built from the ready
//! backends of a snapshot, and a [`Balancer::pick`] that reads their load. A snapshot is rebuilt
//! when a backend changes state, so whatever can be worked out beforehand is.

mod least_connections;
mod random;
mod round_robin;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Backend, BackendId, Rng};

/// What a balancer may choose from.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The backends that accept new sessions, each of a weight above zero.
    pub backends: &'a [Arc<Backend>],
    /// Those that failed this request already. Nearly always empty.
    pub tried: &'a [BackendId],
}

impl Candidates<'_> {
    /// May candidate `index` take this request?
    pub fn allows(&self, index: usize) -> bool {
        self.tried.is_empty() || !self.tried.contains(&self.backends[index].id())
    }
}

/// Chooses among the candidates, by index. `None` if and only if none of them is allowed.
pub trait Balancer: fmt::Debug + Send + Sync {
    /// The choice for one request.
    fn pick(&self, ready: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize>;
}

/// The balancers that a pool can be configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each backend in turn, as often as its weight says, evenly spread.
    RoundRobin,
    /// The backend with the fewest requests in flight for its weight.
    #[default]
    LeastConnections,
    /// By chance, as often as its weight says.
    Random,
}

impl Balance {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConnections => "least_connections",
            Balance::Random => "random",
        }
    }

    /// The balancer over `ready`. `position` outlives it: whose turn it is must survive a change
    /// of membership, or every change would send the next sessions to the first backend.
    pub(super) fn prepare(
        self,
        ready: &[Arc<Backend>],
        position: &Arc<AtomicUsize>,
    ) -> Box<dyn Balancer> {
        match self {
            Balance::RoundRobin => Box::new(round_robin::RoundRobin::new(ready, position.clone())),
            Balance::LeastConnections => Box::new(least_connections::LeastConnections),
            Balance::Random => Box::new(random::Random::new(ready)),
        }
    }
}

/// A number below `n`, by multiplication instead of division (Lemire 2019). The bias is below
/// `n / 2^64`.
pub(super) fn below(rng: &mut dyn Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::balance::{BackendSpec, Cause, InFlight};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    pub(in crate::balance) fn rng(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    /// Backends `a`, `b`, `c`, ... of the given weights.
    pub(in crate::balance) fn backends(weights: &[u32]) -> Vec<Arc<Backend>> {
        let spec = |(i, &weight): (usize, &u32)| BackendSpec {
            name: format!("b{i:04}"),
            address: "127.0.0.1:1".parse().unwrap(),
            weight,
        };
        weights.iter().enumerate().map(spec).map(|s| Arc::new(Backend::new("p", &s))).collect()
    }

    /// How often each backend is picked in `picks` picks.
    pub(in crate::balance) fn histogram(
        balancer: &dyn Balancer,
        backends: &[Arc<Backend>],
        picks: usize,
    ) -> Vec<usize> {
        let mut rng = rng(7);
        let mut counts = vec![0; backends.len()];
        for _ in 0..picks {
            counts[balancer.pick(&Candidates { backends, tried: &[] }, &mut rng).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn every_balancer_respects_what_was_tried_and_says_when_nothing_is_left() {
        let backends = backends(&[1, 2, 3]);
        for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::Random] {
            let balancer = balance.prepare(&backends, &Arc::default());
            let mut rng = rng(1);
            let mut tried = vec![backends[2].id()];
            for _ in 0..100 {
                let pick =
                    balancer.pick(&Candidates { backends: &backends, tried: &tried }, &mut rng);
                assert_ne!(pick, Some(2), "{balance:?}");
            }
            tried.extend([backends[0].id(), backends[1].id()]);
            let all_tried = Candidates { backends: &backends, tried: &tried };
            assert_eq!(balancer.pick(&all_tried, &mut rng), None, "{balance:?}");
            let empty = balance.prepare(&[], &Arc::default());
            let none = Candidates { backends: &[], tried: &[] };
            assert_eq!(empty.pick(&none, &mut rng), None, "{balance:?}");
        }
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = rng(3);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut rng, 7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
    }

    /// Holds `n` requests in flight on a backend.
    pub(in crate::balance) fn occupy(backend: &Arc<Backend>, n: usize) -> Vec<InFlight> {
        (0..n).map(|_| InFlight::start(backend.clone(), Cause::Free)).collect()
    }
}
