//! What is counted, and how it is read.
//!
//! Every worker counts in memory of its own ([`meter`]): no lock, no shared cache line, no look-up
//! by name while a request is served. Whoever reads adds the workers' counts up ([`snapshot`]) and
//! writes them down ([`render`]). What the decision core counts anyway (sessions, requests in
//! flight, reasons) is not counted twice but read there.

mod counter;
mod histogram;
mod meter;
mod process;
mod render;
mod snapshot;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

pub use self::histogram::Histogram;
pub use self::meter::{ArmCounts, Counts, Tally};
pub(crate) use self::meter::{Ended, ListenerMeter, Meter};
pub use self::snapshot::{
    BackendFigures, Interval, ListenerFigures, PoolFigures, PoolInterval, Snapshot,
};
pub use self::text::Format;

use self::meter::Subject;
use super::access_log::AccessLog;
use super::costs::Costs;
use super::experiments::{Experiment, Experiments};
use crate::balance::{Backend, BackendId, Pool, Timestamp};
use crate::clock;

/// The classes of statuses, as a label. The first is for requests that got no status.
pub const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Everything that one proxy counts.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<Meters>>>,
    /// Reloads that failed, and that succeeded.
    reloads: [AtomicU64; 2],
    /// When the configuration in force was loaded, in nanoseconds.
    loaded: AtomicU64,
    /// Did the last reload fail?
    last_failed: AtomicU64,
    access_log: Arc<AccessLog>,
    costs: Costs,
    experiments: Experiments,
}

impl Metrics {
    /// Nothing has been counted; the configuration has just been loaded.
    pub fn new(access_log: Arc<AccessLog>) -> Arc<Self> {
        let metrics = Metrics { access_log, ..Metrics::default() };
        metrics.loaded.store(clock::now().as_nanos(), Ordering::Relaxed);
        Arc::new(metrics)
    }

    /// What one more worker counts.
    pub(crate) fn worker(&self) -> Arc<Meters> {
        let meters = Arc::new(Meters::default());
        locked(&self.workers).push(meters.clone());
        meters
    }

    /// The configuration was read again, and was put in force or not.
    pub fn note_reload(&self, succeeded: bool, now: Timestamp) {
        self.reloads[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
        self.last_failed.store(u64::from(!succeeded), Ordering::Relaxed);
        if succeeded {
            self.loaded.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// All counts as they are now. Backends that have left these pools are forgotten once nothing
    /// is in flight at them any more.
    pub fn snapshot(&self, pools: &[Arc<Pool>]) -> Snapshot {
        let mut unrouted = Counts::default();
        let mut listeners: BTreeMap<SocketAddr, ListenerFigures> = BTreeMap::new();
        let figures = |pool: &Arc<Pool>| PoolFigures {
            pool: pool.clone(),
            unplaced: Counts::default(),
            backends: pool.backends().iter().map(BackendFigures::of_member).collect(),
        };
        let mut figures: Vec<_> = pools.iter().map(figures).collect();
        let mut places = HashMap::new();
        for (i, pool) in figures.iter().enumerate() {
            places.extend(pool.backends.iter().enumerate().map(|(j, b)| (b.id, (i, j))));
        }
        for worker in locked(&self.workers).iter() {
            for meter in locked(&worker.listeners).iter() {
                let figures = || ListenerFigures::new(meter.address);
                listeners.entry(meter.address).or_insert_with(figures).add(meter);
            }
            for meter in locked(&worker.unplaced).iter() {
                match &meter.subject.pool {
                    None => unrouted.add(meter),
                    Some(name) => {
                        let pool = figures.iter_mut().find(|pool| pool.pool.name() == &**name);
                        pool.into_iter().for_each(|pool| pool.unplaced.add(meter));
                    }
                }
            }
            // Whoever holds a meter may still count; new ones are only made under this lock.
            locked(&worker.backends).retain(|id, meter| {
                let Subject { pool: Some(pool), backend: Some((_, name)) } = &meter.subject else {
                    return false;
                };
                let known = match places.get(id) {
                    Some(&known) => Some(known),
                    None => figures.iter().position(|p| p.pool.name() == &**pool).map(|i| {
                        let backends = &mut figures[i].backends;
                        backends.push(BackendFigures {
                            id: *id,
                            name: name.clone(),
                            member: None,
                            counts: Counts::default(),
                        });
                        places.insert(*id, (i, backends.len() - 1));
                        (i, backends.len() - 1)
                    }),
                };
                let member = known.map(|(i, j)| &mut figures[i].backends[j]);
                let is_member = member.as_ref().is_some_and(|backend| backend.member.is_some());
                member.into_iter().for_each(|backend| backend.counts.add(meter));
                is_member || Arc::strong_count(meter) > 1
            });
        }
        for pool in &mut figures {
            let is_there = |b: &BackendFigures| b.member.is_some() || b.in_flight() > 0;
            pool.backends.retain(is_there);
        }
        let listeners = listeners.into_values().collect();
        Snapshot { at: clock::moment(), pools: figures, unrouted, listeners }
    }

    /// What stickiness costs.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    /// Takes in how these pools are now. To be called once a second.
    pub(crate) fn measure(&self, pools: &[Arc<Pool>]) {
        let snapshot = self.snapshot(pools);
        self.costs.read(&snapshot);
        self.experiments.read(&snapshot, clock::now());
    }

    /// What the unstick experiment of a pool has shown so far, if there is one. `pools` are all.
    pub fn experiment(&self, pools: &[Arc<Pool>], pool: &str) -> Option<Experiment> {
        self.experiments.read(&self.snapshot(pools), clock::now());
        self.experiments.of(pool)
    }

    /// All metrics as a scraper wants them.
    pub fn render(&self, pools: &[Arc<Pool>], format: Format) -> String {
        render::all(self, &self.snapshot(pools), format)
    }

    /// Lines lost so far, by log.
    fn lines_lost(&self) -> [(&'static str, u64); 2] {
        [("log", super::log_lines_lost()), ("access", self.access_log.lost())]
    }

    /// Reloads so far: failed, succeeded.
    fn reloads(&self) -> [u64; 2] {
        self.reloads.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// What one worker counts. The locks are taken when something is met for the first time, and by
/// whoever reads; requests that are served take none.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    backends: Mutex<HashMap<BackendId, Arc<Meter>, FixedState>>,
    /// Requests that no backend got, by pool. There are few pools.
    unplaced: Mutex<Vec<Arc<Meter>>>,
    listeners: Mutex<Vec<Arc<ListenerMeter>>>,
}

impl Meters {
    /// The meter of a backend. To be kept with a connection to it.
    pub(crate) fn backend(&self, pool: &Pool, backend: &Backend) -> Arc<Meter> {
        let meter = || {
            let name = (backend.id(), backend.name().into());
            Meter::new(Subject { pool: Some(pool.name().into()), backend: Some(name) })
        };
        locked(&self.backends).entry(backend.id()).or_insert_with(meter).clone()
    }

    /// The meter of requests that no backend gets: of those for a pool, or of those for none.
    pub(crate) fn unplaced(&self, pool: Option<&str>) -> Arc<Meter> {
        let mut meters = locked(&self.unplaced);
        if let Some(meter) = meters.iter().find(|meter| meter.subject.pool.as_deref() == pool) {
            return meter.clone();
        }
        let meter = Meter::new(Subject { pool: pool.map(Arc::from), backend: None });
        meters.push(meter.clone());
        meter
    }

    /// The meter of a listener. To be kept with a connection that came in there.
    pub(crate) fn listener(&self, address: SocketAddr, max: usize) -> Arc<ListenerMeter> {
        let mut meters = locked(&self.listeners);
        if let Some(meter) = meters.iter().find(|meter| meter.address == address) {
            return meter.clone();
        }
        let meter = ListenerMeter::new(address, max as u64);
        meters.push(meter.clone());
        meter
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
