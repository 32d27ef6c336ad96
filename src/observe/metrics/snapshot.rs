//! What all workers have counted, as it was at some moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Tally;
use super::meter::{Counts, ListenerMeter};
use crate::balance::{Backend, BackendId, Pool};
use crate::clock::Moment;

/// All counts at some moment. Two of them make a [rate](Interval).
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) at: Moment,
    /// In the order that was asked for.
    pub pools: Vec<PoolFigures>,
    /// Requests that no route led anywhere.
    pub unrouted: Counts,
    /// By address.
    pub listeners: Vec<ListenerFigures>,
}

/// A pool at some moment.
#[derive(Clone, Debug)]
pub struct PoolFigures {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Requests that no backend got.
    pub unplaced: Counts,
    /// Its members, and then those that left and still have requests in flight.
    pub backends: Vec<BackendFigures>,
}

/// A backend at some moment.
#[derive(Clone, Debug)]
pub struct BackendFigures {
    /// Who it is.
    pub id: BackendId,
    /// Its name.
    pub name: Arc<str>,
    /// The backend, while it is a member.
    pub member: Option<Arc<Backend>>,
    /// What was counted.
    pub counts: Counts,
}

impl BackendFigures {
    pub(super) fn of_member(backend: &Arc<Backend>) -> Self {
        BackendFigures {
            id: backend.id(),
            name: backend.name().into(),
            member: Some(backend.clone()),
            counts: Counts::default(),
        }
    }

    /// Requests that are being served.
    pub fn in_flight(&self) -> u64 {
        match &self.member {
            Some(member) => member.in_flight().into(),
            None => self.counts.get(Tally::Open),
        }
    }
}

/// A listener at some moment.
#[derive(Clone, Debug)]
pub struct ListenerFigures {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections at once, at most.
    pub max: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
}

impl ListenerFigures {
    pub(super) fn new(address: SocketAddr) -> Self {
        ListenerFigures { address, max: 0, accepted: 0, open: 0, received: 0, sent: 0 }
    }

    pub(super) fn add(&mut self, meter: &ListenerMeter) {
        // In this order, so that nothing is seen to close before it was accepted.
        let closed = meter.closed.get();
        self.max = meter.max;
        self.accepted += meter.accepted.get();
        self.open += meter.accepted.get().saturating_sub(closed);
        self.received += meter.received.get();
        self.sent += meter.sent.get();
    }
}

impl Snapshot {
    /// A pool by its name.
    pub fn pool(&self, name: &str) -> Option<&PoolFigures> {
        self.pools.iter().find(|pool| pool.pool.name() == name)
    }

    /// What has happened since an earlier snapshot, by pool and backend, for dashboards.
    pub fn since(&self, earlier: &Snapshot) -> Interval {
        let length = Duration::from_nanos(self.at.since(earlier.at));
        let pools = self.pools.iter().map(|pool| {
            let name = pool.pool.name();
            let before = earlier.pool(name);
            let backends = pool.backends.iter().map(|backend| {
                let before = before.and_then(|pool| pool.backend(backend.id));
                let counts = before.map_or_else(
                    || backend.counts.clone(),
                    |before| backend.counts.since(&before.counts),
                );
                (backend.name.clone(), counts)
            });
            let unplaced = before.map_or_else(
                || pool.unplaced.clone(),
                |before| pool.unplaced.since(&before.unplaced),
            );
            (Arc::from(name), PoolInterval { unplaced, backends: backends.collect() })
        });
        Interval { length, pools: pools.collect() }
    }
}

impl PoolFigures {
    /// What was counted, by backend; `None` is for requests that no backend got.
    pub fn counts(&self) -> impl Iterator<Item = (Option<BackendId>, &Counts)> {
        let backends = self.backends.iter().map(|backend| (Some(backend.id), &backend.counts));
        std::iter::once((None, &self.unplaced)).chain(backends)
    }

    /// A backend by its id.
    pub fn backend(&self, id: BackendId) -> Option<&BackendFigures> {
        self.backends.iter().find(|backend| backend.id == id)
    }

    /// All requests of the pool.
    pub fn total(&self) -> Counts {
        let mut total = self.unplaced.clone();
        self.backends.iter().for_each(|backend| total.merge(&backend.counts));
        total
    }
}

/// What has happened between two snapshots.
#[derive(Clone, Debug)]
pub struct Interval {
    /// How long it was.
    pub length: Duration,
    /// By name.
    pub pools: BTreeMap<Arc<str>, PoolInterval>,
}

/// What has happened in a pool between two snapshots.
#[derive(Clone, Debug)]
pub struct PoolInterval {
    /// Requests that no backend got.
    pub unplaced: Counts,
    /// By name.
    pub backends: BTreeMap<Arc<str>, Counts>,
}

impl PoolInterval {
    /// All requests of the pool.
    pub fn total(&self) -> Counts {
        let mut total = self.unplaced.clone();
        self.backends.values().for_each(|counts| total.merge(counts));
        total
    }
}

impl Interval {
    /// How many of something came in a second.
    pub fn rate(&self, count: u64) -> f64 {
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }
}
