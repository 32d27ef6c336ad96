//! Routes over several pools, as operators see them: who has which share, and taking one of the
//! pools back, or all others.

use std::sync::Arc;

use super::Controller;
use super::refusal::Refusal;
use crate::balance::split::Split;
use crate::balance::{DrainPolicy, Pool};

/// A route over several pools.
#[derive(Clone, Debug)]
pub struct SplitRoute {
    /// What operators call it.
    pub name: String,
    /// Its pools.
    pub arms: Vec<Arm>,
}

/// One of its pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Its name.
    pub pool: String,
    /// Its share of the requests next to the others' weights.
    pub weight: u32,
}

/// A route in force, and what has been counted of it.
#[derive(Clone, Debug)]
pub(crate) struct Steered {
    pub(crate) route: SplitRoute,
    pub(crate) steering: Arc<Split>,
}

impl Controller {
    /// From now on there are these.
    pub(crate) fn set_splits(&self, splits: Vec<Steered>) {
        self.splits.store(Arc::new(splits));
    }

    /// The routes over several pools, each with the shares of requests that its pools have had in
    /// the last minute, if that was enough of them.
    pub fn splits(&self) -> Vec<(SplitRoute, Option<Box<[f64]>>)> {
        let splits = self.splits.load();
        splits.iter().map(|split| (split.route.clone(), split.steering.shares())).collect()
    }

    /// One pool of a route gets everything: its own backends are ready, those of the others drain.
    /// What `order` does not say is as the policy of each pool says.
    pub fn promote(&self, route: &str, pool: &str, order: DrainPolicy) -> Result<(), Refusal> {
        let (chosen, others) = self.arms(route, pool)?;
        if chosen.1 == 0 {
            return Err(Refusal::NoWeight);
        }
        for backend in chosen.0.backends() {
            self.ready(pool, backend.name())?;
        }
        if !chosen.0.takes_new() {
            return Err(Refusal::NobodyElse);
        }
        others.iter().try_for_each(|(other, _)| self.drain_all(other, order))
    }

    /// One pool of a route gets nothing more: its backends drain.
    pub fn abort(&self, route: &str, pool: &str, order: DrainPolicy) -> Result<(), Refusal> {
        let (aborted, others) = self.arms(route, pool)?;
        if !others.iter().any(|(other, weight)| *weight > 0 && other.takes_new()) {
            return Err(Refusal::NobodyElse);
        }
        self.drain_all(&aborted.0, order)
    }

    /// A pool of a route, and the others.
    #[expect(clippy::type_complexity, reason = "one of them, and the rest")]
    fn arms(
        &self,
        route: &str,
        pool: &str,
    ) -> Result<((Arc<Pool>, u32), Vec<(Arc<Pool>, u32)>), Refusal> {
        let splits = self.splits.load();
        let split = splits.iter().find(|split| split.route.name == route);
        let split = split.ok_or(Refusal::UnknownRoute)?;
        let found = |arm: &Arm| Some((self.pool(&arm.pool)?, arm.weight));
        let (chosen, others): (Vec<_>, Vec<_>) =
            split.route.arms.iter().partition(|arm| arm.pool == pool);
        let chosen = chosen.first().and_then(|arm| found(arm)).ok_or(Refusal::UnknownPool)?;
        Ok((chosen, others.into_iter().filter_map(found).collect()))
    }

    fn drain_all(&self, pool: &Pool, order: DrainPolicy) -> Result<(), Refusal> {
        for backend in pool.backends() {
            // Nobody of this pool is to be left: its sessions have another one to go to.
            self.drain(pool.name(), backend.name(), order, true)?;
        }
        Ok(())
    }
}
