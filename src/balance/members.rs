//! An immutable view of a pool's backends: what a placement reads.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use foldhash::fast::FixedState;

use super::balancer::{Balance, Balancer, Candidates};
use super::hashing::{Algorithm, Hashing};
use super::{Backend, BackendId};

/// Everything about the members that can be worked out before a request comes. Renewed as a whole
/// when a backend changes state, so that a reader never sees half a change.
pub(super) struct Members {
    /// In configured order.
    all: Vec<Arc<Backend>>,
    by_id: HashMap<BackendId, usize, FixedState>,
    /// Those that accept new sessions and have a weight.
    ready: Vec<Arc<Backend>>,
    balancer: Box<dyn Balancer>,
    hashing: Option<Box<dyn Hashing>>,
}

impl Members {
    pub(super) fn new(
        all: Vec<Arc<Backend>>,
        balance: Balance,
        position: &Arc<AtomicUsize>,
        algorithm: Option<Algorithm>,
    ) -> Self {
        let takes_new = |b: &&Arc<Backend>| b.state().accepts_new() && b.weight() > 0;
        let ready: Vec<_> = all.iter().filter(takes_new).cloned().collect();
        Members {
            by_id: all.iter().enumerate().map(|(i, backend)| (backend.id(), i)).collect(),
            balancer: balance.prepare(&ready, position),
            hashing: algorithm.map(|algorithm| algorithm.prepare(&all)),
            ready,
            all,
        }
    }

    pub(super) fn all(&self) -> &[Arc<Backend>] {
        &self.all
    }

    pub(super) fn get(&self, id: BackendId) -> Option<&Arc<Backend>> {
        self.by_id.get(&id).map(|&index| &self.all[index])
    }

    /// The balancer's choice.
    pub(super) fn pick(
        &self,
        tried: &[BackendId],
        rng: &mut dyn super::Rng,
    ) -> Option<&Arc<Backend>> {
        let ready = Candidates { backends: &self.ready, tried };
        self.balancer.pick(&ready, rng).map(|index| &self.ready[index])
    }

    /// The first backend in the key's order of preference that `accepts`.
    pub(super) fn owner(
        &self,
        key: u64,
        accepts: impl Fn(&Backend) -> bool,
    ) -> Option<&Arc<Backend>> {
        let hashing = self.hashing.as_ref()?;
        hashing.owner(key, &|index| accepts(&self.all[index])).map(|index| &self.all[index])
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("all", &self.all).field("ready", &self.ready.len()).finish()
    }
}
