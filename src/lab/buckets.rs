//! Buckets of a histogram whose bounds grow like floating-point numbers (Gil Tene's HdrHistogram does
//! the same): so few that they are counted in an array, and so fine that the error is relative.
//!
//! With a precision of `p`, each of the numbers below `1 << (p + 1)` has a bucket of its own, and from
//! there on each doubling is cut into `1 << p` equal parts.

/// Where a number belongs.
#[inline]
pub(super) const fn bucket(number: u64, precision: u32) -> usize {
    let doublings = (number | 1 << precision).ilog2() - precision;
    ((doublings as usize) << precision) + (number >> doublings) as usize
}

/// The lowest number of a bucket.
pub(super) const fn lowest(bucket: usize, precision: u32) -> u64 {
    let doublings = (bucket >> precision).saturating_sub(1);
    ((bucket - (doublings << precision)) as u64) << doublings
}

/// The bucket up to which a share of `q` (0 to 1) of `total` lie. `None` if there are none.
pub(super) fn quantile<C: Copy + Into<u64>>(counts: &[C], total: u64, q: f64) -> Option<usize> {
    /// Buckets that are summed up before they are looked at: most lie before the one.
    const PAGE: usize = 128;

    let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
    let mut seen = 0;
    for (page, counts) in counts.chunks(PAGE).enumerate() {
        let sum: u64 = counts.iter().map(|&count| count.into()).sum();
        if seen + sum < rank {
            seen += sum;
            continue;
        }
        let at = counts.iter().position(|&count| {
            seen += count.into();
            seen >= rank
        });
        return at.map(|at| page * PAGE + at);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_its_bucket() {
        for precision in [3, 5, 10] {
            let mut number = 0;
            while number < 1 << 50 {
                let found = bucket(number, precision);
                let (low, next) = (lowest(found, precision), lowest(found + 1, precision));
                assert!(low <= number && number < next, "{number}: {low} to {next}");
                assert!(next - low <= 1 + (number >> precision), "{number}: {low} to {next}");
                number += number / 700 + 1;
            }
        }
    }

    #[test]
    fn a_quantile_is_a_rank() {
        let mut counts = [0u32; 400];
        assert_eq!(quantile(&counts, 0, 0.5), None);
        (counts[3], counts[130], counts[399]) = (1, 8, 1);
        for (q, expected) in [(0.0, 3), (0.1, 3), (0.11, 130), (0.9, 130), (0.91, 399), (1.0, 399)]
        {
            assert_eq!(quantile(&counts, 10, q), Some(expected), "{q}");
        }
    }
}
