//! What a pool does, whoever is in it. Immutable: placements read it beside the members, and
//! another configuration makes another one.

use std::time::Duration;

use super::PoolSpec;
use crate::balance::affinity::{AffinitySpec, Afterwards, Lifetimes, Mode, OverloadAction};
use crate::balance::balancer::Balance;
use crate::balance::drain::DrainPolicy;
use crate::balance::hashing::Algorithm;
use crate::balance::outlier::Ejection;
use crate::balance::queue::QueueSpec;
use crate::balance::ready::WEIGHT_ONE;
use crate::balance::slow_start;
use crate::balance::{Backend, Timestamp};

/// A [`PoolSpec`] without its name and members.
#[derive(Clone, Copy, Debug)]
pub(in crate::balance) struct Policy {
    pub(in crate::balance) affinity: AffinitySpec,
    /// Those of `affinity`.
    pub(in crate::balance) lifetimes: Lifetimes,
    pub(in crate::balance) balance: Balance,
    pub(in crate::balance) ejection: Option<Ejection>,
    pub(in crate::balance) queue: QueueSpec,
    pub(in crate::balance) slow_start: Option<Duration>,
    pub(in crate::balance) measures_cost: bool,
    pub(in crate::balance) drain: DrainPolicy,
}

impl From<&PoolSpec> for Policy {
    fn from(spec: &PoolSpec) -> Self {
        Policy {
            affinity: spec.affinity,
            lifetimes: Lifetimes::from(&spec.affinity),
            balance: spec.balance,
            ejection: spec.ejection,
            queue: spec.queue,
            slow_start: spec.slow_start,
            measures_cost: spec.measures_cost,
            drain: spec.drain,
        }
    }
}

impl Policy {
    /// Which hashing finds the owner of a key, if keys have owners.
    pub(in crate::balance) fn algorithm(&self) -> Option<Algorithm> {
        match self.affinity.mode {
            Mode::Hash(algorithm) => Some(algorithm),
            Mode::None | Mode::Cookie => None,
        }
    }

    /// Are there sessions that are served away from home for a while?
    pub(in crate::balance) fn has_detours(&self) -> bool {
        self.affinity.when_unavailable.without_waiting() == Afterwards::Detour
            || self.affinity.overload.is_some_and(|o| o.action == OverloadAction::Detour)
    }

    /// Does anybody ask how much is in flight in the whole pool?
    pub(super) fn counts_total(&self) -> bool {
        self.affinity.overload.is_some() || self.affinity.max_load.is_some()
    }

    /// Sessions wait while their home has more in flight than this factor of its fair share.
    pub(super) fn queues_above(&self) -> Option<f32> {
        let overload = self.affinity.overload?;
        (overload.action == OverloadAction::Queue).then_some(overload.factor)
    }

    /// A backend's weight in thousandths, slow start included.
    pub(super) fn effective_weight(&self, backend: &Backend, now: Timestamp) -> u32 {
        let part = match (self.slow_start, backend.ready_since()) {
            (Some(duration), Some(since)) => slow_start::part(since, now, duration),
            _ => WEIGHT_ONE,
        };
        backend.weight().saturating_mul(part)
    }
}
