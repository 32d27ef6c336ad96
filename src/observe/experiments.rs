//! The unstick experiments of all pools: since when, and what was counted in either arm. What
//! follows from it is for [`balance::unstick`](crate::balance::unstick) to say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::metrics::{ArmCounts, PoolFigures, Snapshot};
use crate::balance::unstick::{Comparison, Unstick};
use crate::balance::{BackendId, Timestamp};

/// The experiments of all pools.
#[derive(Debug, Default)]
pub(super) struct Experiments(Mutex<BTreeMap<Box<str>, Kept>>);

/// What an experiment has shown so far.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Which sessions are free.
    pub unstick: Unstick,
    /// When it began: with the process, or when a reload changed the share.
    pub since: Timestamp,
    /// What was counted, by [`Arm::index`](crate::balance::unstick::Arm::index).
    pub arms: [ArmCounts; 2],
}

impl Experiment {
    /// The two arms next to each other.
    pub fn comparison(&self) -> Comparison {
        let [bound, free] = self.arms.each_ref().map(ArmCounts::tallied);
        Comparison::of(&bound, &free)
    }
}

/// What is kept of one pool.
#[derive(Debug, Default)]
struct Kept {
    current: Option<Experiment>,
    /// The counts as they were last read: what comes on top is new. Backends come and go.
    last: HashMap<Option<BackendId>, [ArmCounts; 2]>,
}

impl Experiments {
    /// Takes in what these pools have counted.
    pub(super) fn read(&self, snapshot: &Snapshot, now: Timestamp) {
        let mut kept = self.kept();
        for figures in &snapshot.pools {
            let unstick = figures.pool.affinity().unstick;
            let has_counted = figures.counts().any(|(_, counts)| counts.arms.is_some());
            if unstick.is_some() || has_counted {
                let name = figures.pool.name();
                kept.entry(name.into()).or_default().read(figures, unstick, now);
            }
        }
    }

    pub(super) fn of(&self, pool: &str) -> Option<Experiment> {
        self.kept().get(pool)?.current.clone()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn read(&mut self, figures: &PoolFigures, unstick: Option<Unstick>, now: Timestamp) {
        let mut came: [ArmCounts; 2] = Default::default();
        let mut counted = HashMap::new();
        for (id, counts) in figures.counts() {
            let Some(arms) = counts.arms.as_deref() else { continue };
            let before = self.last.remove(&id).unwrap_or_default();
            for i in 0..came.len() {
                came[i].merge(&arms[i].since(&before[i]));
            }
            counted.insert(id, arms.clone());
        }
        self.last = counted;
        match &mut self.current {
            Some(current) if Some(current.unstick) == unstick => {
                current.arms.iter_mut().zip(&came).for_each(|(sum, part)| sum.merge(part));
            }
            // What another share has brought says nothing about this one.
            Some(_) => {
                let arms = Default::default();
                self.current = unstick.map(|unstick| Experiment { unstick, since: now, arms });
            }
            None => {
                self.current =
                    unstick.map(|unstick| Experiment { unstick, since: now, arms: came });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::balance::affinity::{AffinitySpec, Mode};
    use crate::balance::unstick::Arm;
    use crate::balance::{BackendSpec, Cause, Pool, PoolSpec};
    use crate::observe::metrics::{Ended, Metrics};

    #[test]
    fn an_experiment_counts_from_its_beginning_whoever_leaves() {
        let spec = |percent: Option<f64>| {
            let backend = BackendSpec::new("a", "127.0.0.1:1".parse().unwrap());
            let unstick = percent.map(|percent| Unstick::new(percent, "p"));
            let affinity = AffinitySpec { mode: Mode::Cookie, unstick, ..Default::default() };
            PoolSpec { affinity, ..PoolSpec::new("p", vec![backend]) }
        };
        let pool = Arc::new(Pool::new(&spec(Some(5.0)), 1));
        let metrics = Metrics::default();
        let meter = metrics.worker().backend(&pool, &pool.backends()[0]);
        let end = |arm, cause, status| {
            let cause = Some(cause);
            let arm = Some(arm).filter(|_| Arm::counts(cause));
            let is_unknown = status == 404;
            meter.end(&Ended {
                cause,
                status,
                arm,
                is_unknown,
                nanos: Some(1),
                ..Ended::default()
            });
        };
        let counts = || {
            let experiment = metrics.experiment(std::slice::from_ref(&pool), "p")?;
            Some(experiment.arms.map(|arm| (arm.classes, arm.unknown, arm.whole.count())))
        };
        end(Arm::Free, Cause::New, 200);
        end(Arm::Free, Cause::Unstuck, 404);
        end(Arm::Bound, Cause::Bound, 200);
        end(Arm::Bound, Cause::Bound, 200);
        let expected = [([0, 0, 2, 0, 0, 0], 0, 2), ([0, 0, 0, 0, 1, 0], 1, 1)];
        assert_eq!(counts(), Some(expected), "first requests say nothing");
        pool.set_backends(&[], Timestamp::ZERO);
        assert_eq!(counts(), Some(expected), "what a backend that has left counted stays");
        pool.reconfigure(&spec(Some(10.0)), Timestamp::ZERO);
        assert_eq!(counts(), Some([([0; 6], 0, 0); 2]), "another share, another experiment");
        pool.reconfigure(&spec(None), Timestamp::ZERO);
        assert_eq!(counts(), None);
        pool.reconfigure(&spec(Some(10.0)), Timestamp::ZERO);
        end(Arm::Free, Cause::Unstuck, 200);
        assert_eq!(counts().unwrap()[1].0, [0, 0, 1, 0, 0, 0]);
    }
}
