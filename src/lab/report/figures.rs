//! Figures: percentiles, imbalance, and the spread over repetitions.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A distribution in a few figures, all in the same unit, usually milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// 9 of 10 are below.
    pub p90: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1,000 are below.
    pub p999: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The highest.
    pub max: f64,
}

impl Percentiles {
    /// The quantiles of [`Percentiles::quantiles`].
    pub const NAMES: [&str; 4] = ["p50", "p90", "p99", "p99.9"];

    /// Those of a histogram; `unit` of its values are one, as in 1,000 for milliseconds of a
    /// histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>, unit: f64) -> Self {
        if histogram.is_empty() {
            return Percentiles::default();
        }
        let at = |q| histogram.value_at_quantile(q) as f64 / unit;
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            mean: histogram.mean() / unit,
            max: histogram.max() as f64 / unit,
        }
    }

    /// The quantiles, lowest first.
    pub fn quantiles(&self) -> [f64; 4] {
        [self.p50, self.p90, self.p99, self.p999]
    }
}

/// How unevenly a load is spread over backends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imbalance {
    /// The busiest backend's load over its fair share, which is the mean where all weights are
    /// the same. 1 is even; n is everything on one of n backends.
    pub peak_to_mean: f64,
    /// Jain's fairness index: 1 is even, 1/n is everything on one of n backends.
    pub jain: f64,
    /// Coefficient of variation, the standard deviation over the mean: 0 is even.
    pub variation: f64,
}

impl Default for Imbalance {
    /// Even.
    fn default() -> Self {
        Imbalance { peak_to_mean: 1.0, jain: 1.0, variation: 0.0 }
    }
}

impl Imbalance {
    /// Of these loads, one for each backend, all of the same weight.
    pub fn of(loads: &[f64]) -> Self {
        Imbalance::of_weighted(loads.iter().map(|&load| (load, 1.0)))
    }

    /// Of loads and weights, one pair for each backend. Backends of weight 0 are left out; no load
    /// at all is even.
    pub fn of_weighted(loads: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut relative: Vec<(f64, f64)> = loads.into_iter().filter(|(_, w)| *w > 0.0).collect();
        let load: f64 = relative.iter().map(|(load, _)| load).sum();
        let weight: f64 = relative.iter().map(|(_, weight)| weight).sum();
        if load <= 0.0 {
            return Imbalance::default();
        }
        // From here on 1 is a fair share.
        relative.iter_mut().for_each(|(l, w)| *l = *l * weight / (load * *w));
        let count = relative.len() as f64;
        let sum: f64 = relative.iter().map(|(share, _)| share).sum();
        let squares: f64 = relative.iter().map(|(share, _)| share * share).sum();
        let mean = sum / count;
        let variance = (squares / count - mean * mean).max(0.0);
        Imbalance {
            peak_to_mean: relative.iter().map(|(share, _)| *share).fold(0.0, f64::max),
            jain: sum * sum / (count * squares),
            variation: variance.sqrt() / mean,
        }
    }
}

/// One figure over several repetitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median, which one repetition out of the ordinary does not move.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Spread {
    /// Of these figures; `None` of none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (&lowest, &highest) = (figures.first()?, figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => (figures[middle - 1] + figures[middle]) / 2.0,
            _ => figures[middle],
        };
        Some(Spread { median, lowest, highest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn imbalance_by_hand() {
        let even = Imbalance::of(&[5.0, 5.0, 5.0]);
        assert!(close(even.peak_to_mean, 1.0) && close(even.jain, 1.0));
        assert!(close(even.variation, 0.0));
        let one_of_four = Imbalance::of(&[8.0, 0.0, 0.0, 0.0]);
        assert!(close(one_of_four.peak_to_mean, 4.0) && close(one_of_four.jain, 0.25));
        assert!(close(one_of_four.variation, 3f64.sqrt()));
        let two = Imbalance::of(&[30.0, 10.0]);
        assert!(close(two.peak_to_mean, 1.5) && close(two.jain, 0.8) && close(two.variation, 0.5));
        assert_eq!(Imbalance::of(&[]), Imbalance::default());
        assert_eq!(Imbalance::of(&[0.0, 0.0]), Imbalance::default());
    }

    #[test]
    fn a_share_is_fair_by_weight() {
        let even = Imbalance::of_weighted([(30.0, 3.0), (10.0, 1.0), (0.0, 0.0)]);
        assert!(close(even.peak_to_mean, 1.0) && close(even.variation, 0.0));
        let uneven = Imbalance::of_weighted([(10.0, 3.0), (30.0, 1.0)]);
        assert!(close(uneven.peak_to_mean, 3.0), "three times its quarter");
    }

    #[test]
    fn a_spread_has_a_median() {
        assert_eq!(Spread::of([]), None);
        let odd = Spread::of([3.0, 1.0, 9.0]).unwrap();
        assert_eq!((odd.lowest, odd.median, odd.highest), (1.0, 3.0, 9.0));
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
    }

    #[test]
    fn percentiles_have_the_unit_that_is_asked_for() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=1000u64).for_each(|millis| histogram.record(millis * 1000).unwrap());
        let found = Percentiles::of(&histogram, 1e3);
        for (found, expected) in found.quantiles().into_iter().zip([500.0, 900.0, 990.0, 999.0]) {
            assert!((found - expected).abs() <= expected / 500.0, "{found} is not {expected}");
        }
        assert_eq!(Percentiles::of(&Histogram::new(3).unwrap(), 1e3), Percentiles::default());
    }
}
