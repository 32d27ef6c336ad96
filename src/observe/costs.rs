//! What stickiness costs, pool by pool, over the last ten seconds, minute and five minutes: the
//! figures of [`balance::cost`](crate::balance::cost), and what latencies say beside them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::metrics::{Histogram, PoolFigures, Snapshot};
use crate::balance::cost::{self, Book, Figures, Window};
use crate::balance::{BackendId, Timestamp};
use crate::clock::Stopwatch;

/// The cost of stickiness in all pools that measure it. Read once a second, see
/// [`cost::INTERVAL`].
#[derive(Debug)]
pub struct Costs {
    /// A clock that never steps, as the time of day may.
    since: Stopwatch,
    /// By pool.
    kept: Mutex<BTreeMap<Box<str>, Kept>>,
}

/// What is kept of one pool.
#[derive(Debug, Default)]
struct Kept {
    meter: cost::Meter,
    latencies: Latencies,
}

/// What stickiness costs a pool in one window.
#[derive(Clone, Debug)]
pub struct PoolCost {
    /// The window.
    pub window: Window,
    /// The distance to even distribution.
    pub figures: Figures,
    /// What it costs those whose session lives at the busiest backend; `None` without answers.
    pub spread: Option<Spread>,
}

/// How long answers took (until their head) at the busiest backend, and in the pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of the answers took so long at most.
    pub p50: Compared,
    /// 99 of 100 answers took so long at most.
    pub p99: Compared,
}

/// A duration here and there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// At the busiest backend.
    pub busiest: Duration,
    /// In the whole pool.
    pub pool: Duration,
}

impl Compared {
    /// How many times the pool's it is at the busiest backend: 1 is even.
    pub fn ratio(&self) -> Option<f64> {
        (!self.pool.is_zero()).then(|| self.busiest.as_secs_f64() / self.pool.as_secs_f64())
    }
}

impl Default for Costs {
    fn default() -> Self {
        Costs { since: Stopwatch::start(), kept: Mutex::default() }
    }
}

impl Costs {
    /// Takes in how all pools are now.
    pub(crate) fn read(&self, snapshot: &Snapshot) {
        self.read_at(snapshot, Timestamp::ZERO + self.since.elapsed());
    }

    fn read_at(&self, snapshot: &Snapshot, now: Timestamp) {
        let mut kept = self.kept();
        let measured =
            |name: &str| snapshot.pool(name).is_some_and(|figures| figures.pool.measures_cost());
        kept.retain(|name, _| measured(name));
        for figures in snapshot.pools.iter().filter(|figures| figures.pool.measures_cost()) {
            let kept = kept.entry(figures.pool.name().into()).or_default();
            kept.meter.read(figures.pool.readings(), now);
            kept.latencies.read(figures, now);
        }
    }

    /// What stickiness costs this pool in each window, the shortest first; nothing in its first
    /// second, or if it is not measured.
    pub fn of(&self, pool: &str) -> Vec<PoolCost> {
        let kept = self.kept();
        let Some(Kept { meter, latencies }) = kept.get(pool) else { return Vec::new() };
        let cost = |window: Window| {
            let figures = meter.figures(window)?;
            let spread = figures.busy.peak.and_then(|peak| latencies.spread(window, peak));
            Some(PoolCost { window, figures, spread })
        };
        Window::ALL.into_iter().filter_map(cost).collect()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long answers took, at the times that windows begin.
#[derive(Debug)]
struct Latencies {
    /// In the order of [`Window::ALL`].
    books: [Book<Arc<Heads>>; Window::ALL.len()],
    now: (Timestamp, Arc<Heads>),
}

/// How long each backend's answers took, since it was first seen.
type Heads = HashMap<BackendId, Histogram>;

impl Default for Latencies {
    fn default() -> Self {
        Latencies {
            books: Window::ALL.map(|window| Book::new(window.step(), window.duration())),
            now: Default::default(),
        }
    }
}

impl Latencies {
    fn read(&mut self, figures: &PoolFigures, now: Timestamp) {
        let heads =
            figures.backends.iter().map(|backend| (backend.id, backend.counts.head.clone()));
        let heads = Arc::new(heads.collect::<Heads>());
        self.books.iter_mut().for_each(|book| book.keep(now, || heads.clone()));
        self.now = (now, heads);
    }

    fn spread(&self, window: Window, busiest: BackendId) -> Option<Spread> {
        let (now, heads) = &self.now;
        let book = Window::ALL.iter().zip(&self.books).find(|(of, _)| **of == window)?.1;
        let (_, before) = book.page_at(*now, window.duration())?;
        let lately = |(id, histogram): (&BackendId, &Histogram)| match before.get(id) {
            Some(before) => histogram.since(before),
            None => histogram.clone(),
        };
        let at_busiest = lately(heads.get_key_value(&busiest)?);
        let mut all = Histogram::default();
        heads.iter().for_each(|head| all.merge(&lately(head)));
        let compared =
            |q| Some(Compared { busiest: at_busiest.quantile(q)?, pool: all.quantile(q)? });
        Some(Spread { p50: compared(0.5)?, p99: compared(0.99)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{BackendSpec, Pool, PoolSpec};
    use crate::observe::metrics::Metrics;

    fn pool(measures_cost: bool) -> Arc<Pool> {
        let backend = |name: &str| BackendSpec::new(name, "127.0.0.1:1".parse().unwrap());
        let backends = vec![backend("a"), backend("b")];
        Arc::new(Pool::new(&PoolSpec { measures_cost, ..PoolSpec::new("p", backends) }, 1))
    }

    #[test]
    fn a_pool_has_figures_from_the_second_reading_on_and_only_if_it_is_measured() {
        let (costs, metrics) = (Costs::default(), Metrics::default());
        let at = |second: u64| Timestamp::from_millis(second * 1_000);
        let read = |pool: &Arc<Pool>, second: u64| {
            costs.read_at(&metrics.snapshot(std::slice::from_ref(pool)), at(second));
            costs.of("p").len()
        };
        let measured = pool(true);
        assert_eq!((read(&measured, 1), read(&measured, 2)), (0, 3));
        let cost = &costs.of("p")[0];
        assert_eq!((cost.figures.headroom_cost(), cost.spread), (None, None), "nobody came");
        assert_eq!(read(&pool(false), 3), 0);
        assert!(costs.of("q").is_empty());
    }

    #[test]
    fn the_spread_is_that_of_the_busiest_over_the_window() {
        let (metrics, pool) = (Metrics::default(), pool(true));
        let meters = metrics.worker();
        let of = |i: usize| meters.backend(&pool, &pool.backends()[i]);
        let (a, b) = (of(0), of(1));
        let mut latencies = Latencies::default();
        let mut read = |second: u64| {
            let snapshot = metrics.snapshot(std::slice::from_ref(&pool));
            latencies.read(&snapshot.pools[0], Timestamp::from_millis(second * 1_000));
            latencies.spread(Window::Short, pool.backends()[0].id())
        };
        a.answered(50_000_000_000); // long before the window
        assert_eq!(read(0), None);
        for second in 1..=20 {
            assert_eq!(read(second), None);
        }
        (0..100).for_each(|_| a.answered(2_000_000));
        (0..300).for_each(|_| b.answered(1_000_000));
        let spread = read(21).unwrap();
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
        assert!((1.6..=2.0).contains(&millis(spread.p50.busiest)), "{spread:?}");
        assert!((0.8..=1.0).contains(&millis(spread.p50.pool)), "{spread:?}");
        assert!(spread.p50.ratio().unwrap() > 1.6);
        assert!((spread.p99.ratio().unwrap() - 1.0).abs() < 0.05, "{spread:?}");
    }
}
