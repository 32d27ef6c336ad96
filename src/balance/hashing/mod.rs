//! From a key to a backend, without memory.
//!
//! The same key, the same backend: in every process, whatever the order in the configuration, and
//! with as few keys as possible moving when a backend leaves or joins.

mod rendezvous;

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::Backend;

/// A key's order of preference over the members of a pool.
pub trait Hashing: fmt::Debug + Send + Sync {
    /// The index of the first member, in the order of preference of `key`, that `accepts`.
    fn owner(&self, key: u64, accepts: &dyn Fn(usize) -> bool) -> Option<usize>;
}

/// The hashing algorithms that a pool can be configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Highest random weight.
    #[default]
    Rendezvous,
}

impl Algorithm {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rendezvous => "rendezvous",
        }
    }

    pub(super) fn prepare(self, members: &[Arc<Backend>]) -> Box<dyn Hashing> {
        match self {
            Algorithm::Rendezvous => Box::new(rendezvous::Rendezvous::new(members)),
        }
    }
}

/// The key of some bytes: a user name, an address, a path.
pub fn key(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}
