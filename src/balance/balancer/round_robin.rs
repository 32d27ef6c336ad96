//! Smooth weighted round robin.
//!
//! Over one cycle backend *i* of weight *w* has *w* turns, and they are evenly spaced: turn *k*
//! falls at `(k + phase) / w` of the cycle. That is earliest-deadline-first scheduling with
//! deadlines known beforehand, so the whole cycle is worked out when the snapshot is built and a
//! pick is one counter and one array read, whatever the number of backends. nginx and Envoy
//! arrive at such sequences step by step (nginx `ngx_http_upstream_get_peer`; Envoy
//! `edf_scheduler.h`).
//!
//! The phase `(i + 1/2) / n` spreads the backends against each other: equal weights give the
//! configured order, and weights 5, 1, 1 give `a a a b a a c` and never five `a` in a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Balancer, Candidates, Ready};
use crate::balance::Rng;

/// Turns in a cycle at most. Larger sums of weights are scaled down to it, which at a hundred
/// backends still leaves 160 turns for an average one.
const MAX_TURNS: u64 = 16_384;

#[derive(Debug)]
pub(super) struct RoundRobin {
    /// One cycle of candidate indices.
    turns: Box<[u32]>,
    /// Turns taken so far; shared by all workers and by the balancers of later snapshots.
    position: Arc<AtomicUsize>,
}

impl RoundRobin {
    pub(super) fn new(ready: &Ready, position: Arc<AtomicUsize>) -> Self {
        RoundRobin { turns: cycle(ready.weights()), position }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, candidates: &Candidates<'_>, _rng: &mut dyn Rng) -> Option<usize> {
        // One turn is taken, and looked on from there. Others take turns at the same time: whoever
        // took turn after turn could find the same backend behind each of them.
        let first = self.position.fetch_add(1, Ordering::Relaxed);
        let look = self.turns.len().min(2 * candidates.ready.len());
        let turns = (0..look).map(|i| first.wrapping_add(i) % self.turns.len());
        let mut indices = turns.map(|turn| self.turns[turn] as usize);
        let found = indices.find(|&index| candidates.allows(index));
        // A cycle can be long and give nearly all turns to those that are not allowed.
        found.or_else(|| (0..candidates.ready.len()).find(|&index| candidates.allows(index)))
    }
}

fn cycle(weights: &[u32]) -> Box<[u32]> {
    let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let sum: u64 = weights.iter().map(|&w| u64::from(w / common)).sum();
    let turns_of = |weight: u32| match u64::from(weight / common) {
        weight if sum <= MAX_TURNS => weight,
        weight => (weight * MAX_TURNS / sum).max(1),
    };
    let mut turns: Vec<(f64, u32)> = Vec::with_capacity(sum.min(MAX_TURNS) as usize);
    for (i, &weight) in weights.iter().enumerate() {
        let turns_here = turns_of(weight);
        let phase = (i as f64 + 0.5) / weights.len() as f64;
        turns.extend((0..turns_here).map(|k| ((k as f64 + phase) / turns_here as f64, i as u32)));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    turns.into_iter().map(|(_, index)| index).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::Balance;
    use crate::balance::balancer::tests::{backends, candidates, histogram, ready, rng};

    fn sequence(weights: &[u32], picks: usize) -> String {
        let ready = ready(&backends(weights));
        let balancer = RoundRobin::new(&ready, Arc::default());
        let mut rng = rng(1);
        let mut pick = || balancer.pick(&candidates(&ready, &[]), &mut rng).unwrap();
        (0..picks).map(|_| (b'a' + pick() as u8) as char).collect()
    }

    #[test]
    fn equal_weights_go_in_configured_order() {
        assert_eq!(sequence(&[1, 1, 1], 7), "abcabca");
        assert_eq!(sequence(&[4, 4], 5), "ababa", "a common factor changes nothing");
    }

    #[test]
    fn turns_are_spread_evenly() {
        assert_eq!(sequence(&[5, 1, 1], 7), "aaabaac");
        assert_eq!(sequence(&[2, 1], 6), "aabaab");
    }

    #[test]
    fn shares_are_exact_over_a_cycle() {
        let ready = ready(&backends(&[7, 3, 11, 1]));
        assert_eq!(histogram(Balance::RoundRobin, &ready, 22 * 3), [21, 9, 33, 3]);
    }

    #[test]
    fn huge_weights_are_scaled_and_nobody_starves() {
        let turns = cycle(&[1_000_000, 1, 500_000]);
        assert!(turns.len() as u64 <= MAX_TURNS + 3);
        assert_eq!(turns.iter().filter(|&&i| i == 1).count(), 1);
    }

    #[test]
    fn a_new_snapshot_goes_on_where_the_last_one_stopped() {
        let ready = ready(&backends(&[1, 1, 1]));
        let position = Arc::default();
        let mut rng = rng(1);
        let mut pick = || {
            let balancer = RoundRobin::new(&ready, Arc::clone(&position));
            balancer.pick(&candidates(&ready, &[]), &mut rng)
        };
        assert_eq!((pick(), pick(), pick()), (Some(0), Some(1), Some(2)));
    }
}
