//! The tests that the comparison of two arms rests on.
//!
//! Shares are compared by the pooled z-test of two proportions, or, where that is not good enough
//! (an expected count below 5, Cochran 1954), by Fisher's exact test, both two-sided. The interval
//! of their difference is Newcombe's hybrid score interval (1998, method 10), which is good for few
//! and for rare events. Durations are compared by the rank-sum test of Wilcoxon (1945) and of Mann
//! and Whitney (1947), with the correction for ties (Lehmann 1975): it asks which arm's requests
//! take longer without asking how durations are distributed, and those in one bucket of a
//! histogram are ties.

use std::f64::consts::SQRT_2;

/// 95 % of a normal distribution lie within so many standard deviations of its mean.
const Z95: f64 = 1.959_963_984_540_054;

/// The least expected count that the z-test is good for.
const LEAST_EXPECTED: f64 = 5.0;

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Times that it did.
    pub count: u64,
    /// Times that it could have.
    pub of: u64,
}

impl Sample {
    /// The first over the second; 0 of nothing.
    pub fn share(&self) -> f64 {
        if self.of == 0 { 0.0 } else { self.count as f64 / self.of as f64 }
    }
}

/// One set of durations against another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranks {
    /// The probability of a difference like this, or a greater one, by chance alone.
    pub p: f64,
    /// In how many of all pairs the second one is longer; ties count half. 0.5 is no difference.
    pub superiority: f64,
}

/// The probability that two samples of the same differ like these, or more.
pub(super) fn proportions_differ(a: Sample, b: Sample) -> f64 {
    let (n, hits) = ((a.of + b.of) as f64, (a.count + b.count) as f64);
    if a.of == 0 || b.of == 0 {
        return 1.0;
    }
    let rarer = hits.min(n - hits);
    let smaller = a.of.min(b.of) as f64;
    match rarer * smaller / n < LEAST_EXPECTED {
        true => fisher(a, b),
        false => {
            let pooled = hits / n;
            let variance = pooled * (1.0 - pooled) * (1.0 / a.of as f64 + 1.0 / b.of as f64);
            two_sided((a.share() - b.share()) / variance.sqrt())
        }
    }
}

/// Fisher's exact test: of all tables with these margins, those that are no likelier than this.
fn fisher(a: Sample, b: Sample) -> f64 {
    let hits = a.count + b.count;
    let choose = |n: u64, k: u64| {
        let factorial = |n: u64| libm::lgamma(n as f64 + 1.0);
        factorial(n) - factorial(k) - factorial(n - k)
    };
    let all = choose(a.of + b.of, hits);
    let probability = |k: u64| (choose(a.of, k) + choose(b.of, hits - k) - all).exp();
    // A little more, since sums of logarithms are not exact.
    let observed = probability(a.count) * (1.0 + 1e-7);
    let tables = hits.saturating_sub(b.of)..=hits.min(a.of);
    let as_extreme = tables.map(probability).filter(|p| *p <= observed);
    as_extreme.sum::<f64>().min(1.0)
}

/// Where the difference of two shares lies, the first less the second, with 95 % confidence.
pub(super) fn interval(a: Sample, b: Sample) -> [f64; 2] {
    let ([a_low, a_high], [b_low, b_high]) = (wilson(a), wilson(b));
    let difference = a.share() - b.share();
    let below = (a.share() - a_low).hypot(b_high - b.share());
    let above = (a_high - a.share()).hypot(b.share() - b_low);
    [difference - below, difference + above]
}

/// Wilson's score interval (1927) of one share.
fn wilson(sample: Sample) -> [f64; 2] {
    if sample.of == 0 {
        return [0.0, 1.0];
    }
    let (n, share, z2) = (sample.of as f64, sample.share(), Z95 * Z95);
    let center = share + z2 / (2.0 * n);
    let half = Z95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    [(center - half) / (1.0 + z2 / n), (center + half) / (1.0 + z2 / n)]
}

/// The rank-sum test over counts in the same buckets, the shortest first. `None` if one of the two
/// is empty.
pub(super) fn rank_sum(first: &[u64], second: &[u64]) -> Option<Ranks> {
    let total = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
    let (n1, n2) = (total(first), total(second));
    if n1 == 0.0 || n2 == 0.0 {
        return None;
    }
    let (mut below, mut longer, mut ties) = (0.0, 0.0, 0.0);
    for (&a, &b) in first.iter().zip(second) {
        let (a, b) = (a as f64, b as f64);
        longer += b * (below + a / 2.0);
        below += a;
        ties += (a + b).powi(3) - (a + b);
    }
    let n = n1 + n2;
    let variance = n1 * n2 / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    let superiority = longer / (n1 * n2);
    // All in one bucket: nothing differs.
    let p = match variance > 0.0 {
        true => two_sided((longer - n1 * n2 / 2.0) / variance.sqrt()),
        false => 1.0,
    };
    Some(Ranks { p, superiority })
}

/// The probability that a standard normal variable is as far from 0 as this, or farther.
fn two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: u64, of: u64) -> Sample {
        Sample { count, of }
    }

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    #[test]
    fn fisher_s_exact_test_gives_its_published_values() {
        // The lady tasting tea (Fisher 1935): 3 of 4 cups right. 34 of 70 tables.
        close(fisher(sample(3, 4), sample(1, 4)), 34.0 / 70.0, 1e-9);
        // All right: 2 of 70.
        close(fisher(sample(4, 4), sample(0, 4)), 2.0 / 70.0, 1e-9);
        // 1 of 12 against 9 of 12: by hand (2 * 2,640 + 2 * 66) / 1,961,256.
        let table = (2.0 * 12.0 * 220.0 + 2.0 * 66.0) / 1_961_256.0;
        close(fisher(sample(1, 12), sample(9, 12)), table, 1e-9);
        close(proportions_differ(sample(0, 300), sample(0, 30)), 1.0, 1e-9);
        close(proportions_differ(sample(3, 4), sample(0, 0)), 1.0, 0.0);
    }

    #[test]
    fn two_proportions_are_compared_by_their_pooled_share() {
        // By hand: 0.8 and 0.6, pooled 104 / 150, z = 2.65018.
        let (a, b) = (sample(56, 70), sample(48, 80));
        close(proportions_differ(a, b), 0.008_045, 1e-5);
        close(proportions_differ(b, a), 0.008_045, 1e-5);
        close(two_sided(Z95), 0.05, 1e-12);
    }

    #[test]
    fn the_interval_is_newcombe_s() {
        // Newcombe 1998, table II, method 10.
        for (a, b, low, high) in [
            (sample(56, 70), sample(48, 80), 0.0524, 0.3339),
            (sample(9, 10), sample(3, 10), 0.1705, 0.8090),
            (sample(10, 10), sample(0, 20), 0.6791, 1.0000),
        ] {
            let [found_low, found_high] = interval(a, b);
            close(found_low, low, 5e-5);
            close(found_high, high, 5e-5);
        }
        assert!(interval(sample(0, 381), sample(0, 10_000))[1] < 0.01);
        assert!(interval(sample(0, 379), sample(0, 10_000))[1] > 0.01);
    }

    #[test]
    fn ranks_are_compared_with_their_ties() {
        // By hand: of 36 pairs the second is longer in 26, ties counted half; the ties of 4, 4 and
        // 4 take 180 / 132 off the variance, which is 34.9091; z = 1.35401.
        let ranks = rank_sum(&[3, 2, 1], &[1, 2, 3]).unwrap();
        close(ranks.superiority, 26.0 / 36.0, 1e-12);
        close(ranks.p, 0.175_73, 1e-5);
        let reversed = rank_sum(&[1, 2, 3], &[3, 2, 1]).unwrap();
        close(reversed.superiority, 10.0 / 36.0, 1e-12);
        close(reversed.p, ranks.p, 1e-12);
        // All differ: no ties. Ranks 1, 2, 3 against 4, 5, 6, 7: U is 12 of 12, z = 2.12132.
        let apart = rank_sum(&[1, 1, 1, 0, 0, 0, 0], &[0, 0, 0, 1, 1, 1, 1]).unwrap();
        close(apart.superiority, 1.0, 0.0);
        close(apart.p, 0.033_895, 1e-5);
        assert_eq!(rank_sum(&[5, 0], &[7, 0]), Some(Ranks { p: 1.0, superiority: 0.5 }));
        assert_eq!(rank_sum(&[5], &[0]), None);
    }
}
