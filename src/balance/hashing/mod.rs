//! From a key to a backend, without memory.
//!
//! The same key, the same backend: in every process, whatever the order in the configuration, and
//! with as few keys as possible moving when a backend leaves or joins. Three algorithms make
//! different bargains:
//!
//! | | lookup | evenness | keys that move needlessly |
//! | --- | --- | --- | --- |
//! | [`rendezvous`] | all members, a nanosecond each | as chance has it | none |
//! | [`ring`] | one search | 256 points a member: up to a fifth above the mean | none |
//! | [`maglev`] | one read | within a few percent | few, when the membership changes |
//!
//! Members know each other by name, not by place or incarnation. A member that is out of service
//! is passed over and keeps its keys: none of the others' move, and it has its own back later.

mod maglev;
mod rendezvous;
mod ring;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// A key's order of preference over the members of a pool.
pub trait Hashing: fmt::Debug + Send + Sync {
    /// The index of the first member, in the order of preference of `key`, that `accepts`.
    fn owner(&self, key: u64, accepts: &dyn Fn(usize) -> bool) -> Option<usize>;
}

/// What hashing knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// A hash of its name.
    pub name: u64,
    /// Its effective weight in thousandths. Without weight it owns nothing.
    pub weight: u32,
}

/// The hashing algorithms that a pool can be configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Highest random weight.
    #[default]
    Rendezvous,
    /// Points on a ring.
    Ring,
    /// A lookup table that the members fill in turns.
    Maglev,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 3] = [Algorithm::Rendezvous, Algorithm::Ring, Algorithm::Maglev];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rendezvous => "rendezvous",
            Algorithm::Ring => "ring",
            Algorithm::Maglev => "maglev",
        }
    }

    /// The algorithm over these members.
    pub fn prepare(self, members: &[Member]) -> Arc<dyn Hashing> {
        match self {
            Algorithm::Rendezvous => Arc::new(rendezvous::Rendezvous::new(members)),
            Algorithm::Ring => Arc::new(ring::Ring::new(members)),
            Algorithm::Maglev => Arc::new(maglev::Maglev::new(members)),
        }
    }
}

/// The key of some bytes: a user name, an address, a path.
pub fn key(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// 64 bits that look independent for every pair of values: the finalizer of SplitMix64 (Steele,
/// Lea and Flood 2014) over both.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = (a ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b.rotate_left(32));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
