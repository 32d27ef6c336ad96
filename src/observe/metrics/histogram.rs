//! How long things take, as counts in fixed buckets.
//!
//! The bounds are the preferred numbers R10 (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8) from 100
//! microseconds to 100 seconds: quantiles are off by 12 % at most. Scrapers get every bucket whose
//! bound begins with 1, 2.5 or 5, so that a backend costs twenty time series, not sixty.

use std::time::Duration;

use super::counter::Counter;

/// Bounds within a decade, in hundredths.
const STEPS: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

/// Decades, from 100 microseconds on.
const DECADES: usize = 6;

/// Buckets with a bound.
pub(super) const BOUNDED: usize = STEPS.len() * DECADES + 1;

/// All buckets: the last one has no bound.
const BUCKETS: usize = BOUNDED + 1;

/// Upper bounds, inclusive, in microseconds.
const BOUNDS: [u64; BOUNDED] = bounds();

/// Bits of a duration after its first that choose the entry of [`FIRST`].
const BITS: u32 = 2;

/// The lowest bucket that a duration of so many microseconds can belong to, by its highest bits.
/// At most two more bounds lie between it and the right one.
const FIRST: [u8; 64 << BITS] = first();

const fn bounds() -> [u64; BOUNDED] {
    let mut bounds = [0; BOUNDED];
    let mut i = 0;
    while i < BOUNDED {
        bounds[i] = STEPS[i % STEPS.len()] * 10u64.pow((i / STEPS.len()) as u32);
        i += 1;
    }
    bounds
}

const fn first() -> [u8; 64 << BITS] {
    let mut first = [0; 64 << BITS];
    let mut key = 0;
    while key < first.len() {
        let (exponent, mantissa) = ((key >> BITS) as u32, (key & ((1 << BITS) - 1)) as u64);
        // The smallest value with this key.
        let least = match exponent >= BITS {
            true => ((1 << BITS) | mantissa) << (exponent - BITS),
            false => 0,
        };
        let mut bucket = 0;
        while bucket < BOUNDED && BOUNDS[bucket] < least {
            bucket += 1;
        }
        first[key] = bucket as u8;
        key += 1;
    }
    first
}

/// The bucket that a duration belongs to.
#[inline]
fn bucket(nanos: u64) -> usize {
    // Rounded up: what is a little more than a bound is above it.
    let micros = nanos.div_ceil(1_000).max(1);
    let exponent = micros.ilog2();
    let mantissa = (micros >> exponent.saturating_sub(BITS)) & ((1 << BITS) - 1);
    let mut bucket = usize::from(FIRST[((exponent << BITS) as usize) | mantissa as usize]);
    while bucket < BOUNDED && BOUNDS[bucket] < micros {
        bucket += 1;
    }
    bucket
}

/// A histogram that one worker writes.
#[derive(Debug)]
pub(crate) struct Recorder {
    buckets: [Counter; BUCKETS],
    nanos: Counter,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { buckets: std::array::from_fn(|_| Counter::default()), nanos: Counter::default() }
    }
}

impl Recorder {
    /// Counts a duration.
    #[inline]
    pub(crate) fn observe(&self, nanos: u64) {
        self.buckets[bucket(nanos)].add(1);
        self.nanos.add(nanos);
    }
}

/// A histogram as it was at some moment, of one worker or of several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; BUCKETS], nanos: 0 }
    }
}

impl Histogram {
    /// Adds what one worker has recorded.
    pub(super) fn add(&mut self, recorder: &Recorder) {
        for (sum, part) in self.buckets.iter_mut().zip(&recorder.buckets) {
            *sum += part.get();
        }
        self.nanos = self.nanos.wrapping_add(recorder.nanos.get());
    }

    /// Counts by bucket, the shortest durations first.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Histogram) {
        for (sum, part) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += part;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }

    /// What has come since `earlier`. All of it if counting began anew meanwhile.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        if self.count() < earlier.count() {
            return self.clone();
        }
        let mut since = self.clone();
        for (left, before) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *left = left.saturating_sub(*before);
        }
        since.nanos = self.nanos.saturating_sub(earlier.nanos);
        since
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The duration that a share `q` of them does not exceed, as far as the buckets tell; `None`
    /// if there are none. What is beyond the last bound counts as 100 seconds.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = self.count() as f64 * q.clamp(0.0, 1.0);
        let mut below = 0.0;
        for (i, &count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let up_to = below + count as f64;
            if up_to >= rank {
                let upper = BOUNDS[i.min(BOUNDED - 1)] as f64;
                let lower = if i == 0 { 0.0 } else { BOUNDS[i - 1] as f64 };
                let part = ((rank - below) / count as f64).clamp(0.0, 1.0);
                let micros = (upper - lower).max(0.0).mul_add(part, lower);
                return Some(Duration::from_secs_f64(micros / 1e6));
            }
            below = up_to;
        }
        None
    }

    /// What scrapers get: bounds in microseconds, and how many durations do not exceed each.
    pub(super) fn exposed(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut up_to = 0;
        self.buckets.iter().zip(BOUNDS).enumerate().filter_map(move |(i, (count, bound))| {
            up_to += count;
            // 1, 2.5 and 5 of each decade.
            matches!(i % STEPS.len(), 0 | 4 | 7).then_some((bound, up_to))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_finds_its_bucket() {
        let micros = |nanos: u64| nanos.div_ceil(1_000);
        let bounds = BOUNDS.iter().flat_map(|&b| [b * 1_000 - 1, b * 1_000, b * 1_000 + 1]);
        let others = (0..2_000).map(|i| 1.013f64.powi(i) as u64);
        for nanos in bounds.chain(others).chain([0, 1, u64::MAX]) {
            let found = bucket(nanos);
            assert!(
                found == BOUNDED || micros(nanos) <= BOUNDS[found],
                "{nanos} is not in {found}"
            );
            assert!(found == 0 || micros(nanos) > BOUNDS[found - 1], "{nanos} is below {found}");
        }
        assert_eq!(BOUNDS[0], 100);
        assert_eq!(BOUNDS[BOUNDED - 1], 100_000_000);
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let recorder = Recorder::default();
        (1..=1_000).for_each(|ms| recorder.observe(ms * 1_000_000));
        let mut histogram = Histogram::default();
        histogram.add(&recorder);
        assert_eq!(histogram.count(), 1_000);
        assert_eq!(histogram.sum(), Duration::from_millis(500_500));
        for (q, truth) in [(0.5, 0.5), (0.9, 0.9), (0.99, 0.99)] {
            let estimate = histogram.quantile(q).unwrap().as_secs_f64();
            assert!((estimate / truth - 1.0).abs() < 0.12, "{q}: {estimate}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        let later = {
            recorder.observe(3_000_000_000);
            let mut later = Histogram::default();
            later.add(&recorder);
            later
        };
        assert_eq!(later.since(&histogram).count(), 1);
        assert_eq!(later.since(&histogram).sum(), Duration::from_secs(3));
        assert_eq!(histogram.since(&later), histogram, "counting began anew");
    }

    #[test]
    fn scrapers_get_cumulative_buckets() {
        let recorder = Recorder::default();
        for micros in [50, 100, 101, 240, 2_000, 200_000_000] {
            recorder.observe(micros * 1_000);
        }
        let mut histogram = Histogram::default();
        histogram.add(&recorder);
        let exposed: Vec<_> = histogram.exposed().collect();
        assert_eq!(exposed[..3], [(100, 2), (250, 4), (500, 4)]);
        assert_eq!(exposed.last(), Some(&(100_000_000, 5)), "the rest is beyond all bounds");
        assert_eq!(exposed.len(), 3 * DECADES + 1);
    }
}
