//! Drawing by weight: what the balancers that rest on chance have in common.

use super::{Candidates, Ready, below};
use crate::balance::Rng;

/// Draws to make before those that are not allowed are sorted out one by one.
const PATIENCE: usize = 8;

/// Draws backends, each as often as its weight says.
#[derive(Debug)]
pub(super) struct Draw {
    /// Running sums of the weights; empty if all are equal.
    cumulative: Box<[u64]>,
    len: usize,
}

impl Draw {
    pub(super) fn new(ready: &Ready) -> Self {
        let mut sum = 0;
        let sums = ready.weights().iter().map(|&weight| {
            sum += u64::from(weight);
            sum
        });
        let cumulative =
            if ready.has_equal_weights() { Box::default() } else { sums.collect::<Box<[_]>>() };
        Draw { cumulative, len: ready.len() }
    }

    /// One of all of them. There must be one.
    pub(super) fn any(&self, rng: &mut dyn Rng) -> usize {
        match self.cumulative.last() {
            None => below(rng, self.len as u64) as usize,
            Some(&total) => {
                let ticket = below(rng, total);
                self.cumulative.partition_point(|&sum| sum <= ticket)
            }
        }
    }

    /// One of those that are allowed.
    pub(super) fn one(&self, candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        if candidates.allows_all() {
            return Some(self.any(rng));
        }
        let lucky = (0..PATIENCE).map(|_| self.any(rng)).find(|&index| candidates.allows(index));
        lucky.or_else(|| sorted_out(candidates, rng))
    }

    /// Two different ones of those that are allowed, or twice the same if there is but one.
    pub(super) fn two(
        &self,
        candidates: &Candidates<'_>,
        rng: &mut dyn Rng,
    ) -> Option<(usize, usize)> {
        let first = self.one(candidates, rng)?;
        let other = (0..PATIENCE)
            .map(|_| self.any(rng))
            .find(|&index| index != first && candidates.allows(index));
        Some((first, other.unwrap_or(first)))
    }
}

/// The same draw over the weights of the allowed ones only.
fn sorted_out(candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
    let allowed = || (0..candidates.ready.len()).filter(|&index| candidates.allows(index));
    let weight = |index: usize| u64::from(candidates.ready.weights()[index]);
    let mut ticket = below(rng, allowed().map(weight).sum());
    let mut last = None;
    for index in allowed() {
        last = Some(index);
        if ticket < weight(index) {
            break;
        }
        ticket -= weight(index);
    }
    // Others may have become full or free between the two looks: then the last one will do.
    last
}
