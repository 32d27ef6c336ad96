//! Rendezvous hashing, or highest random weight (Thaler and Ravishankar 1998, "Using Name-Based
//! Mappings to Increase Hit Rates").
//!
//! Every member gets a score from the key and its own id, and the highest score owns the key. When
//! a member leaves, only its keys move, each to its second choice; when one joins, it takes only
//! the keys that it now scores highest for: the minimum possible, always. The price is a score
//! for every member, so the other algorithms take over for large pools.
//!
//! Weights follow Schindelhauer and Schomaker 2005 ("Weighted Distributed Hash Tables"): the score
//! `-w / ln(h)` of a uniform `h` in (0, 1) is the highest with probability `w / sum(w)`.

use std::sync::Arc;

use super::Hashing;
use crate::balance::Backend;

#[derive(Debug)]
pub(super) struct Rendezvous {
    /// Id and weight of each member, by index.
    members: Box<[(u64, u32)]>,
    /// With equal weights the logarithm keeps the order of the hashes, so it is left out.
    equal_weights: bool,
}

impl Rendezvous {
    pub(super) fn new(members: &[Arc<Backend>]) -> Self {
        let members: Box<[_]> = members.iter().map(|b| (b.id().to_bits(), b.weight())).collect();
        let equal_weights = members.windows(2).all(|pair| pair[0].1 == pair[1].1);
        Rendezvous { members, equal_weights }
    }
}

impl Hashing for Rendezvous {
    fn owner(&self, key: u64, accepts: &dyn Fn(usize) -> bool) -> Option<usize> {
        let accepted = self.members.iter().enumerate().filter(|&(i, m)| m.1 > 0 && accepts(i));
        // The id breaks ties, so that the configured order cannot.
        let best = if self.equal_weights {
            accepted.max_by_key(|(_, (id, _))| (mix(key, *id), *id))
        } else {
            let score = |(id, weight): &(u64, u32)| -f64::from(*weight) / unit(mix(key, *id)).ln();
            accepted.max_by(|(_, a), (_, b)| score(a).total_cmp(&score(b)).then(a.0.cmp(&b.0)))
        };
        best.map(|(index, _)| index)
    }
}

/// 64 bits that look independent for every pair: the finalizer of SplitMix64 (Steele, Lea and
/// Flood 2014) over both.
fn mix(key: u64, id: u64) -> u64 {
    let mut z = (key ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(id.rotate_left(32));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number strictly between 0 and 1.
fn unit(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::tests::backends;
    use crate::balance::hashing;

    fn owners(members: &[Arc<Backend>], keys: u64, accepts: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let hashing = Rendezvous::new(members);
        (0..keys).map(|k| hashing.owner(hashing::key(&k.to_le_bytes()), accepts).unwrap()).collect()
    }

    fn counts(owners: &[usize], members: usize) -> Vec<f64> {
        let mut counts = vec![0.0; members];
        owners.iter().for_each(|&owner| counts[owner] += 1.0);
        counts
    }

    #[test]
    fn keys_are_spread_evenly_and_by_weight() {
        let even = counts(&owners(&backends(&[3; 10]), 100_000, &|_| true), 10);
        assert!(even.iter().all(|&c| (c / 10_000.0 - 1.0).abs() < 0.04), "{even:?}");
        let weighted = counts(&owners(&backends(&[1, 2, 5]), 80_000, &|_| true), 3);
        for (count, share) in weighted.iter().zip([10_000.0, 20_000.0, 50_000.0]) {
            assert!((count / share - 1.0).abs() < 0.04, "{weighted:?}");
        }
    }

    #[test]
    fn only_the_keys_of_a_member_that_leaves_move() {
        for weights in [vec![1; 10], vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            let members = backends(&weights);
            let before = owners(&members, 20_000, &|_| true);
            let after = owners(&members, 20_000, &|i| i != 3);
            for (b, a) in before.iter().zip(&after) {
                assert!(b == a || *b == 3);
                assert_ne!(*a, 3);
            }
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut members = backends(&[1, 2, 3, 4]);
        let name = |members: &[Arc<Backend>], i: usize| members[i].name().to_owned();
        let before: Vec<_> =
            owners(&members, 1_000, &|_| true).into_iter().map(|i| name(&members, i)).collect();
        members.reverse();
        let after: Vec<_> =
            owners(&members, 1_000, &|_| true).into_iter().map(|i| name(&members, i)).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn nobody_accepts_nobody_owns() {
        assert_eq!(Rendezvous::new(&backends(&[1, 1])).owner(1, &|_| false), None);
        assert_eq!(Rendezvous::new(&backends(&[0])).owner(1, &|_| true), None);
    }
}
