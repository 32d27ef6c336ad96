//! Weighted random choice.
//!
//! Without memory and without reading load. On its own it is the yardstick of the literature: with
//! *n* backends and *m* sessions the busiest carries about `m/n + sqrt(2 (m/n) ln n)` of them
//! (Raab and Steger 1998, "Balls into Bins").

use std::sync::Arc;

use super::{Balancer, Candidates, below};
use crate::balance::{Backend, Rng};

#[derive(Debug)]
pub(super) struct Random {
    /// Running sum of the weights.
    cumulative: Box<[u64]>,
}

impl Random {
    pub(super) fn new(ready: &[Arc<Backend>]) -> Self {
        let sums = ready.iter().scan(0, |sum, backend| {
            *sum += u64::from(backend.weight());
            Some(*sum)
        });
        Random { cumulative: sums.collect() }
    }

    /// The choice when some candidates are not allowed: the same draw over the others' weights.
    fn pick_allowed(&self, ready: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        let allowed = || (0..ready.backends.len()).filter(|&i| ready.allows(i));
        let weight = |i: usize| u64::from(ready.backends[i].weight());
        let total: u64 = allowed().map(weight).sum();
        let mut ticket = below(rng, total);
        allowed().find(|&i| {
            let hit = ticket < weight(i);
            ticket = ticket.saturating_sub(weight(i));
            hit
        })
    }
}

impl Balancer for Random {
    fn pick(&self, ready: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        if !ready.tried.is_empty() {
            return self.pick_allowed(ready, rng);
        }
        let ticket = below(rng, *self.cumulative.last()?);
        Some(self.cumulative.partition_point(|&sum| sum <= ticket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::tests::{backends, histogram, rng};

    #[test]
    fn shares_follow_the_weights() {
        let backends = backends(&[1, 2, 7]);
        let counts = histogram(&Random::new(&backends), &backends, 100_000);
        let near = |count: usize, share: usize| count.abs_diff(share) < 700;
        assert!(near(counts[0], 10_000) && near(counts[1], 20_000) && near(counts[2], 70_000));
    }

    #[test]
    fn the_others_share_what_a_tried_one_leaves() {
        let backends = backends(&[1, 8, 3]);
        let balancer = Random::new(&backends);
        let tried = [backends[1].id()];
        let ready = Candidates { backends: &backends, tried: &tried };
        let mut rng = rng(5);
        let thirds = (0..40_000).filter(|_| balancer.pick(&ready, &mut rng) == Some(2)).count();
        assert!((29_400..30_600).contains(&thirds), "{thirds}");
    }
}
