//! The board: what the proxy counts and what the browsers see, side by side, a few times a second.
//!
//! [`Board::look`] takes the figures, [`Frame`] holds them, and [`render`] makes text of them.

pub mod render;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::journal::{Ending, Journal};
use super::latency::Latencies;
use crate::balance::affinity::Mode;
use crate::balance::{Backend, BackendId, BackendState, Pool};

/// How far back shares, rates and latencies look, so that they show what happens now.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Looks at a pool again and again.
#[derive(Debug)]
pub struct Board {
    pool: Arc<Pool>,
    /// The past, oldest first. The oldest is the last one that is at least [`WINDOW`] old.
    samples: VecDeque<Sample>,
}

/// Counts since the start, as they were at one moment.
#[derive(Debug, Default)]
struct Sample {
    at: Duration,
    requests: BTreeMap<BackendId, u64>,
    latencies: Latencies,
}

/// The figures of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Since the start.
    pub at: Duration,
    /// One for each backend, in the order of the configuration.
    pub rows: Vec<Row>,
    /// Sessions that go on, as the browsers know.
    pub sessions: u64,
    /// Answers per second, lately.
    pub rate: f64,
    /// Requests without an answer or with a wrong one, since the start.
    pub errors: u64,
    /// Sessions that were lost, since the start.
    pub lost: u64,
    /// Half of the answers were faster, lately.
    pub p50: Duration,
    /// 99 of 100 answers were faster, lately.
    pub p99: Duration,
}

/// The figures of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: BackendState,
    /// Sessions bound to it; `None` if the pool knows no sessions.
    pub sessions: Option<u32>,
    /// Requests that were placed on it since the start.
    pub requests: u64,
    /// Requests in flight.
    pub in_flight: u32,
    /// Its share of the requests, lately (0 to 1).
    pub share: f64,
    /// The share that its weight entitles it to (0 to 1).
    pub fair_share: f64,
}

impl Board {
    /// A board for this pool, put up when nothing has happened yet.
    pub fn new(pool: Arc<Pool>) -> Self {
        Board { pool, samples: VecDeque::from([Sample::default()]) }
    }

    /// Takes the figures, `at` so long after the start. Calls must be in order of time.
    pub fn look(&mut self, at: Duration, journal: &Journal) -> Frame {
        let backends = self.pool.backends();
        let now = Sample {
            at,
            requests: backends.iter().map(|b| (b.id(), requests(b))).collect(),
            latencies: journal.latencies().clone(),
        };
        while self.samples.get(1).is_some_and(|next| next.at + WINDOW <= at) {
            self.samples.pop_front();
        }
        let then = self.samples.front().unwrap_or(&now);
        let (recent, latencies) = (now.since(then), now.latencies.since(&then.latencies));
        let span = at.saturating_sub(then.at);
        self.samples.push_back(now);
        Frame {
            at,
            rows: self.rows(&backends, &recent),
            sessions: journal.going_on(),
            rate: share(latencies.count() as f64, span.as_secs_f64()),
            errors: journal.error_count(),
            lost: journal.ended(Ending::Lost),
            p50: latencies.quantile(0.5),
            p99: latencies.quantile(0.99),
        }
    }

    fn rows(&self, backends: &[Arc<Backend>], recent: &BTreeMap<BackendId, u64>) -> Vec<Row> {
        let all_recent: u64 = recent.values().sum();
        let fair_shares = fair_shares(backends);
        let row = |(backend, fair_share): (&Arc<Backend>, f64)| Row {
            name: backend.name().to_owned(),
            state: backend.state(),
            sessions: (self.pool.affinity().mode != Mode::None).then(|| backend.sessions()),
            requests: requests(backend),
            in_flight: backend.in_flight(),
            share: share(recent[&backend.id()] as f64, all_recent as f64),
            fair_share,
        };
        backends.iter().zip(fair_shares).map(row).collect()
    }
}

impl Sample {
    /// Requests that were placed after `then`.
    fn since(&self, then: &Sample) -> BTreeMap<BackendId, u64> {
        let before = |id| then.requests.get(id).copied().unwrap_or_default();
        self.requests.iter().map(|(id, n)| (*id, n.saturating_sub(before(id)))).collect()
    }
}

/// Requests placed on a backend so far.
pub(super) fn requests(backend: &Backend) -> u64 {
    backend.placed().iter().sum()
}

/// The shares that the backends' weights entitle them to.
pub(super) fn fair_shares(backends: &[Arc<Backend>]) -> Vec<f64> {
    let all: f64 = backends.iter().map(|b| f64::from(b.weight())).sum();
    backends.iter().map(|b| share(f64::from(b.weight()), all)).collect()
}

/// `part` of `whole`; 0 of nothing.
pub(super) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::balance::affinity::AffinitySpec;
    use crate::balance::balancer::Balance;
    use crate::balance::{BackendSpec, Cause, InFlight, PoolSpec};

    /// A pool of `app-1`, `app-2`, ... with these weights.
    pub(in crate::lab) fn pool(mode: Mode, weights: &[u32]) -> Arc<Pool> {
        let backend = |(i, &weight): (usize, &u32)| {
            let spec = BackendSpec::new(format!("app-{}", i + 1), "127.0.0.1:1".parse().unwrap());
            BackendSpec { weight, ..spec }
        };
        let spec = PoolSpec {
            balance: Balance::RoundRobin,
            affinity: AffinitySpec { mode, ..AffinitySpec::default() },
            ..PoolSpec::new("shop", weights.iter().enumerate().map(backend).collect())
        };
        Arc::new(Pool::new(&spec, 1))
    }

    /// Places `n` requests on a backend, which are in flight while the guards live.
    pub(in crate::lab) fn place(pool: &Pool, backend: usize, n: usize) -> Vec<InFlight> {
        let backend = &pool.backends()[backend];
        (0..n).map(|_| backend.start(Cause::Bound).unwrap()).collect()
    }

    #[test]
    fn shares_are_of_the_last_seconds_and_counts_since_the_start() {
        let pool = pool(Mode::Cookie, &[1, 3]);
        let mut board = Board::new(pool.clone());
        let seconds = Duration::from_secs;
        let journal = Journal::default();
        let empty = board.look(seconds(0), &journal);
        assert_eq!((empty.rows[0].share, empty.rows[1].share), (0.0, 0.0));
        drop(place(&pool, 0, 30));
        let in_flight = place(&pool, 1, 10);
        let frame = board.look(seconds(5), &journal);
        assert_eq!((frame.rows[0].share, frame.rows[0].fair_share), (0.75, 0.25));
        assert_eq!((frame.rows[1].in_flight, frame.rows[1].sessions), (10, Some(0)));
        drop(in_flight);
        board.look(seconds(8), &journal);
        drop(place(&pool, 1, 60));
        let later = board.look(seconds(17), &journal);
        assert_eq!((later.rows[0].share, later.rows[1].share), (0.0, 1.0));
        assert_eq!((later.rows[0].requests, later.rows[1].requests), (30, 70));
        assert_eq!(board.samples.len(), 3, "what is older than the window is forgotten");
    }

    #[test]
    fn without_affinity_there_are_no_sessions_to_show() {
        let frame = Board::new(pool(Mode::None, &[1])).look(Duration::ZERO, &Journal::default());
        assert_eq!(frame.rows[0].sessions, None);
        assert_eq!((frame.rate, frame.p99), (0.0, Duration::ZERO));
    }
}
