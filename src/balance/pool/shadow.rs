//! The even-distribution shadow of a request: where the balancer would have sent it, had there
//! been no affinity for anybody. See [`cost`](crate::balance::cost).

use super::{Placement, Pool};
use crate::balance::cost::{Reading, Readings, Work};
use crate::balance::load::World;
use crate::balance::members::Members;
use crate::balance::{Backend, Cause, InFlight, Rng, Timestamp};

impl Pool {
    /// Places a request in the even world, too, that has waited for its real place.
    pub fn cast_shadow(
        &self,
        placement: &Placement,
        in_flight: &mut InFlight,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) {
        cast(&self.members.load(), placement, in_flight, now, rng);
    }

    /// Is the cost of stickiness measured?
    pub fn measures_cost(&self) -> bool {
        self.members.load().policy().measures_cost
    }

    /// What a [`Meter`](crate::balance::cost::Meter) wants to know.
    pub fn readings(&self) -> Readings {
        Readings { members: self.members_read(), moves: self.moves() }
    }

    fn members_read(&self) -> Vec<Reading> {
        let members = self.members.load();
        let priority = members.priority();
        let with_weight = members.all().iter().zip(members.weights());
        with_weight
            .map(|(backend, weight)| {
                let state = backend.state();
                // Those that stand by for others have no share of the load.
                let takes_part = priority.is_none_or(|p| backend.priority() <= p);
                let serves = state.accepts_bound() && takes_part;
                reading(backend, if serves { weight } else { 0 }, state.accepts_new())
            })
            .collect()
    }
}

/// Places a request that is in flight in the even world, too, if the cost is measured.
#[inline]
pub(super) fn cast(
    members: &Members,
    placement: &Placement,
    in_flight: &mut InFlight,
    now: Timestamp,
    rng: &mut dyn Rng,
) {
    if !members.policy().measures_cost {
        return;
    }
    let Some(even) = members.pick_evenly(now, rng) else { return };
    let by_affinity = !matches!(placement.cause, Cause::Free | Cause::New | Cause::Unstuck);
    if by_affinity && even.id() != placement.backend.id() {
        placement.backend.count_forced();
    }
    in_flight.cast_shadow(even);
}

fn reading(backend: &Backend, weight: u32, takes_new: bool) -> Reading {
    let requests = |world| match world {
        World::Real => backend.placed().iter().sum(),
        World::Even => backend.placed_evenly(),
    };
    let work = |world| Work { requests: requests(world), busy: backend.busy(world) };
    Reading {
        id: backend.id(),
        weight,
        takes_new,
        real: work(World::Real),
        even: work(World::Even),
        forced: backend.forced(),
        sessions: backend.sessions(),
    }
}
