//! Weighted random choice.
//!
//! Without memory and without reading load. On its own it is the yardstick of the literature: with
//! *n* backends and *m* sessions the busiest carries about `m/n + sqrt(2 (m/n) ln n)` of them
//! (Raab and Steger 1998, "Balls into Bins").

use super::draw::Draw;
use super::{Balancer, Candidates, Ready};
use crate::balance::Rng;

#[derive(Debug)]
pub(super) struct Random(Draw);

impl Random {
    pub(super) fn new(ready: &Ready) -> Self {
        Random(Draw::new(ready))
    }
}

impl Balancer for Random {
    fn pick(&self, candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        self.0.one(candidates, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::Balance;
    use crate::balance::balancer::tests::{backends, candidates, histogram, ready, rng};

    #[test]
    fn shares_follow_the_weights() {
        let counts = histogram(Balance::Random, &ready(&backends(&[1, 2, 7])), 100_000);
        let near = |count: usize, share: usize| count.abs_diff(share) < 700;
        assert!(near(counts[0], 10_000) && near(counts[1], 20_000) && near(counts[2], 70_000));
    }

    #[test]
    fn the_others_share_what_a_tried_one_leaves() {
        let backends = backends(&[1, 8_000, 3]);
        let ready = ready(&backends);
        let balancer = Random::new(&ready);
        let tried = [backends[1].id()];
        let mut rng = rng(5);
        let mut pick = || balancer.pick(&candidates(&ready, &tried), &mut rng);
        let thirds = (0..40_000).filter(|_| pick() == Some(2)).count();
        assert!((29_400..30_600).contains(&thirds), "{thirds}");
    }
}
