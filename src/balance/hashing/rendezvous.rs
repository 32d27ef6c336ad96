//! Rendezvous hashing, or highest random weight (Thaler and Ravishankar 1998, "Using Name-Based
//! Mappings to Increase Hit Rates").
//!
//! Every member gets a score from the key and its own name, and the highest score owns the key.
//! When a member leaves, only its keys move, each to its second choice; when one joins, it takes
//! only the keys that it now scores highest for: the minimum possible, always. The price is a
//! score for every member, so it suits pools of up to some hundred.
//!
//! Weights follow Schindelhauer and Schomaker 2005 ("Weighted Distributed Hash Tables"): the score
//! `-w / ln(h)` of a uniform `h` in (0, 1) is the highest with probability `w / sum(w)`. Among
//! members of one weight that is the highest `h`, so only one logarithm per weight is needed.

use std::collections::BTreeMap;

use super::{Hashing, Member};

#[derive(Debug)]
pub(super) struct Rendezvous {
    /// By weight, lightest first.
    classes: Box<[Class]>,
}

/// The members of one weight.
#[derive(Debug)]
struct Class {
    weight: f64,
    names: Box<[u64]>,
    indices: Box<[usize]>,
}

impl Rendezvous {
    pub(super) fn new(members: &[Member]) -> Self {
        let mut classes: BTreeMap<u32, (Vec<u64>, Vec<usize>)> = BTreeMap::new();
        for (index, member) in members.iter().enumerate().filter(|(_, member)| member.weight > 0) {
            let (names, indices) = classes.entry(member.weight).or_default();
            names.push(member.name);
            indices.push(index);
        }
        let class = |(weight, (names, indices)): (u32, (Vec<u64>, Vec<usize>))| Class {
            weight: f64::from(weight),
            names: names.into(),
            indices: indices.into(),
        };
        Rendezvous { classes: classes.into_iter().map(class).collect() }
    }

    /// The index of the highest score among those that `accepts`.
    fn highest(&self, key: u64, accepts: impl Fn(usize) -> bool) -> Option<usize> {
        let best_of = |class: &Class| {
            let hashes = class.names.iter().zip(&class.indices);
            let accepted = hashes.filter(|&(_, &index)| accepts(index));
            // The name breaks ties, so that the configured order cannot.
            let best = accepted.map(|(&name, &index)| (hash(key, name), name, index)).max();
            best.map(|(hash, name, index)| (hash, name, index, class.weight))
        };
        if let [only] = &self.classes[..] {
            return best_of(only).map(|(_, _, index, _)| index);
        }
        let score = |hash: u64, weight: f64| -weight / unit(hash).ln();
        let bests = self.classes.iter().filter_map(best_of);
        let best =
            bests.max_by(|a, b| score(a.0, a.3).total_cmp(&score(b.0, b.3)).then(a.1.cmp(&b.1)));
        best.map(|(_, _, index, _)| index)
    }
}

impl Hashing for Rendezvous {
    fn owner(&self, key: u64, accepts: &dyn Fn(usize) -> bool) -> Option<usize> {
        // Nearly always the first choice will do, and asking everybody costs more than hashing.
        match self.highest(key, |_| true) {
            Some(first) if accepts(first) => Some(first),
            _ => self.highest(key, accepts),
        }
    }
}

/// 64 bits that look independent for every pair, by one multiplication: the two halves of a
/// 128-bit product, folded (Wang Yi's wyhash).
fn hash(key: u64, name: u64) -> u64 {
    let product = u128::from(key ^ name) * u128::from(name.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
    (product >> 64) as u64 ^ product as u64
}

/// A number strictly between 0 and 1.
fn unit(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}
