//! A histogram of latencies: fixed memory, a relative error of 3 %, mergeable and subtractable.

use std::time::Duration;

use super::buckets;

/// Of the [`buckets`] of microseconds: 32 to a doubling.
const PRECISION: u32 = 5;
/// The last one begins after about 35 minutes.
const BUCKETS: usize = 27 << PRECISION;

/// How often which latency occurred.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        self.counts[bucket(latency)] += 1;
        self.total += 1;
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The latency that a share of `q` (0 to 1) of the recorded ones do not exceed, to within 3 %.
    /// Zero when nothing was recorded.
    pub fn quantile(&self, q: f64) -> Duration {
        buckets::quantile(&self.counts[..], self.total, q).map_or(Duration::ZERO, highest)
    }

    /// What was recorded after `earlier`, which is a copy of this histogram from then.
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let mut recent = self.clone();
        for (count, before) in recent.counts.iter_mut().zip(earlier.counts.iter()) {
            *count = count.saturating_sub(*before);
        }
        recent.total = self.total.saturating_sub(earlier.total);
        recent
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    buckets::bucket(micros, PRECISION).min(BUCKETS - 1)
}

/// The highest latency that falls into a bucket.
fn highest(bucket: usize) -> Duration {
    Duration::from_micros(buckets::lowest(bucket + 1, PRECISION) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_within_3_percent_of_its_bucket() {
        let mut micros = 1u64;
        while micros < 1_500_000_000 {
            let top = highest(bucket(Duration::from_micros(micros))).as_micros() as u64;
            assert!(top >= micros && top - micros <= micros / 32, "{micros} fell under {top}");
            micros += micros / 7 + 1;
        }
        assert_eq!(bucket(Duration::MAX), bucket(Duration::from_secs(100_000)));
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), Duration::ZERO);
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        for (q, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = latencies.quantile(q).as_secs_f64() * 1e3;
            assert!((found - expected).abs() <= expected * 0.032, "{q}: {found}");
        }
    }

    #[test]
    fn the_recent_past_can_be_cut_out() {
        let mut latencies = Latencies::default();
        (0..50).for_each(|_| latencies.record(Duration::from_secs(1)));
        let earlier = latencies.clone();
        (0..10).for_each(|_| latencies.record(Duration::from_micros(20)));
        let recent = latencies.since(&earlier);
        assert_eq!((recent.count(), latencies.count()), (10, 60));
        assert_eq!(recent.quantile(1.0), Duration::from_micros(20));
    }
}
