//! Rates and shares of the last seconds, from counts that only ever grow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::balance::{Backend, BackendId, Pool};
use crate::clock::Stopwatch;
use crate::observe::metrics::{Interval, Metrics, Snapshot};

/// How far back rates and shares look.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts as they were.
#[derive(Debug)]
pub(super) struct Figures {
    since: Stopwatch,
    /// The oldest first. The first is the last one that is at least [`WINDOW`] old.
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Debug)]
struct Sample {
    at: Duration,
    requests: HashMap<BackendId, u64>,
    latencies: Option<Arc<Snapshot>>,
}

/// What has come lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    seconds: f64,
    /// Requests at its beginning.
    before: HashMap<BackendId, u64>,
    /// How long answers took.
    latencies: Option<Interval>,
}

impl Default for Figures {
    fn default() -> Self {
        Figures { since: Stopwatch::start(), samples: Mutex::default() }
    }
}

impl Figures {
    /// Takes the counts. To be called every second or so.
    pub(super) fn sample(&self, pools: &[Arc<Pool>], metrics: &Metrics) {
        let latencies = Arc::new(metrics.snapshot(pools));
        self.sample_at(self.since.elapsed(), pools, Some(latencies));
    }

    fn sample_at(&self, at: Duration, pools: &[Arc<Pool>], latencies: Option<Arc<Snapshot>>) {
        let backends = pools.iter().flat_map(|pool| pool.backends());
        let requests = backends.map(|backend| (backend.id(), requests(&backend))).collect();
        let mut samples = self.samples();
        while samples.get(1).is_some_and(|next| next.at + WINDOW <= at) {
            samples.pop_front();
        }
        samples.push_back(Sample { at, requests, latencies });
    }

    /// What has come in the last seconds.
    pub(super) fn recent(&self, pools: &[Arc<Pool>], metrics: &Metrics) -> Recent {
        let mut recent = self.recent_at(self.since.elapsed());
        let earlier = self.samples().front().and_then(|oldest| oldest.latencies.clone());
        recent.latencies = earlier.map(|earlier| metrics.snapshot(pools).since(&earlier));
        recent
    }

    fn recent_at(&self, now: Duration) -> Recent {
        let samples = self.samples();
        let Some(oldest) = samples.front() else { return Recent::default() };
        let seconds = now.saturating_sub(oldest.at).as_secs_f64();
        Recent { seconds, before: oldest.requests.clone(), latencies: None }
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Requests that were placed on a backend lately. Who was not there before began at zero.
    pub(super) fn requests(&self, backend: &Backend) -> u64 {
        let before = self.before.get(&backend.id()).copied().unwrap_or_default();
        requests(backend).saturating_sub(before)
    }

    /// How long a backend took to answer lately: half of the answers were faster than the first,
    /// 99 of 100 faster than the second.
    pub(super) fn latency(&self, pool: &str, backend: &str) -> Option<[Duration; 2]> {
        let pool = self.latencies.as_ref()?.pools.get(pool)?;
        let head = &pool.backends.get(backend)?.head;
        Some([head.quantile(0.5)?, head.quantile(0.99)?])
    }

    /// So many a second.
    pub(super) fn rate(&self, count: u64) -> f64 {
        share(count as f64, self.seconds)
    }
}

/// Requests placed on a backend so far.
pub(super) fn requests(backend: &Backend) -> u64 {
    backend.placed().iter().sum()
}

/// `part` of `whole`; 0 of nothing.
pub(super) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{BackendSpec, Cause, PoolSpec};

    #[test]
    fn only_the_last_seconds_count() {
        let spec = BackendSpec::new("a", "127.0.0.1:1".parse().unwrap());
        let pools = [Arc::new(Pool::new(&PoolSpec::new("p", vec![spec]), 1))];
        let backend = pools[0].backends()[0].clone();
        let place = |n| (0..n).for_each(|_| drop(backend.start(Cause::Free)));
        let figures = Figures::default();
        let recent = |second| {
            let recent = figures.recent_at(Duration::from_secs(second));
            let requests = recent.requests(&backend);
            (requests, recent.rate(requests))
        };
        assert_eq!(recent(0), (0, 0.0), "nothing is known yet");
        figures.sample_at(Duration::ZERO, &pools, None);
        place(20);
        assert_eq!(recent(5), (20, 4.0));
        for second in 1..=30 {
            figures.sample_at(Duration::from_secs(second), &pools, None);
        }
        place(5);
        assert_eq!(recent(30), (5, 0.5));
        assert_eq!(figures.samples().len(), 11);
    }
}
