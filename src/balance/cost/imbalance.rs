//! How uneven a distribution is, in one number or another.

use crate::balance::BackendId;

/// A backend whose fair share is below this part of the average one was not there for long enough.
const LEAST_PART: f64 = 0.1;

/// How far a load is from even. `None` where there was no load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Imbalance {
    /// The busiest backend's load over its fair share: 1 is even.
    pub peak_to_mean: Option<f64>,
    /// The busiest backend.
    pub peak: Option<BackendId>,
    /// Jain's index of fairness: 1 is even.
    pub jain: Option<f64>,
    /// Standard deviation over mean: 0 is even.
    pub variation: Option<f64>,
}

impl Imbalance {
    /// Of loads over their fair shares; `None` for those who do not count.
    pub(super) fn of(ratios: impl Iterator<Item = (BackendId, Option<f64>)> + Clone) -> Self {
        let known = ratios.filter_map(|(id, ratio)| Some((id, ratio?)));
        let Some((peak, most)) = known.clone().max_by(|a, b| a.1.total_cmp(&b.1)) else {
            return Imbalance::default();
        };
        let (n, sum, squares) = known
            .fold((0.0, 0.0, 0.0), |(n, sum, squares), (_, x)| (n + 1.0, sum + x, squares + x * x));
        let mean: f64 = sum / n;
        let variance = (squares / n - mean * mean).max(0.0);
        Imbalance {
            peak_to_mean: Some(most),
            peak: Some(peak),
            jain: Some(sum * sum / (n * squares)),
            variation: Some(variance.sqrt() / mean),
        }
    }
}

/// Each load over its fair share. `None` for whom there was none, or too little to say; all of
/// them if there was no load at all.
pub(super) fn ratios(loads: impl Iterator<Item = (f64, f64)> + Clone) -> Vec<Option<f64>> {
    let (n, actual, fair) = loads
        .clone()
        .filter(|&(_, fair)| fair > 0.0)
        .fold((0.0, 0.0, 0.0), |sum, (a, f)| (sum.0 + 1.0, sum.1 + a, sum.2 + f));
    let least = LEAST_PART * fair / n;
    let ratio = |(load, share): (f64, f64)| {
        (actual > 0.0 && share > 0.0 && share >= least).then(|| load / share)
    };
    loads.map(ratio).collect()
}
