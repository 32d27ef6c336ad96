//! The simulator held against the measurement: predicted and measured, side by side.

use super::summary::Summary;
use super::words::{digits, percent};
use super::{Prediction, Report, Run};

/// The columns of the table.
pub(super) const COLUMNS: [&str; 11] = [
    "scenario",
    "policy",
    "peak/mean predicted",
    "measured",
    "error",
    "p50 ms predicted",
    "measured",
    "error",
    "p99 ms predicted",
    "measured",
    "error",
];

/// A row for each policy in each scenario that was predicted.
pub(super) fn rows(report: &Report) -> Vec<[String; COLUMNS.len()]> {
    report.summaries().iter().filter_map(row).collect()
}

/// How far off it was at most.
pub(super) fn verdict(all: &[Summary<'_>]) -> Option<String> {
    let compared: Vec<_> =
        all.iter().filter_map(|summary| Some((peak(summary)?, p99(summary)?))).collect();
    let worst = |of: fn(&((f64, f64), (f64, f64))) -> (f64, f64)| {
        let error = |pair| {
            let (predicted, measured): (f64, f64) = of(pair);
            (predicted / measured.max(f64::MIN_POSITIVE) - 1.0).abs()
        };
        percent(compared.iter().map(error).fold(0.0, f64::max))
    };
    (!compared.is_empty()).then(|| {
        format!(
            "The simulator, asked about the same runs, is {} off in peak-to-mean and {} in the \
             99th percentile at most.",
            worst(|(peak, _)| *peak),
            worst(|(_, p99)| *p99),
        )
    })
}

/// Predicted and measured, in the median.
fn compare(
    summary: &Summary<'_>,
    predicted: impl Fn(&Prediction) -> f64,
    measured: impl Fn(&Run) -> f64,
) -> Option<(f64, f64)> {
    let said = summary.median_of(|run| run.details.predicted.as_ref().map(&predicted))?;
    Some((said, summary.median(measured)))
}

fn peak(summary: &Summary<'_>) -> Option<(f64, f64)> {
    compare(summary, |said| said.peak_to_mean, |run| run.imbalance.peak_to_mean)
}

fn p99(summary: &Summary<'_>) -> Option<(f64, f64)> {
    compare(summary, |said| said.p99, |run| run.latency.p99)
}

fn row(summary: &Summary<'_>) -> Option<[String; COLUMNS.len()]> {
    let (peak, p99) = (peak(summary)?, p99(summary)?);
    let p50 = compare(summary, |said| said.p50, |run| run.latency.p50)?;
    let ratio = |value: f64| format!("{value:.2}");
    let [peak_said, peak_was, peak_error] = cells(peak, ratio);
    let [p50_said, p50_was, p50_error] = cells(p50, digits);
    let [p99_said, p99_was, p99_error] = cells(p99, digits);
    let (scenario, policy) = (summary.scenario.to_owned(), summary.policy.name.clone());
    Some([
        scenario, policy, peak_said, peak_was, peak_error, p50_said, p50_was, p50_error, p99_said,
        p99_was, p99_error,
    ])
}

/// Predicted, measured, and the first over the second, less 1.
fn cells((predicted, measured): (f64, f64), write: fn(f64) -> String) -> [String; 3] {
    let error = match measured {
        0.0 => "-".to_owned(),
        measured => format!("{:+.1} %", (predicted / measured - 1.0) * 100.0),
    };
    [write(predicted), write(measured), error]
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn the_error_is_that_of_the_prediction() {
        let mut first = run("sticky", "skewed");
        first.imbalance.peak_to_mean = 1.5;
        (first.latency.p50, first.latency.p99) = (20.0, 100.0);
        first.details.predicted = Some(Prediction { peak_to_mean: 1.2, p50: 21.0, p99: 90.0 });
        let report = Report { runs: vec![first, run("none", "skewed")], ..Report::default() };
        let expected = [
            "skewed", "sticky", "1.20", "1.50", "-20.0 %", "21", "20", "+5.0 %", "90", "100",
            "-10.0 %",
        ];
        assert_eq!(rows(&report), [expected.map(str::to_owned)]);
        let text = report.to_text();
        assert!(text.contains("\nSimulator\n"), "{text}");
        assert!(text.contains("is 20 % off in peak-to-mean and 10 % in the 99th"), "{text}");
        assert!(report.to_markdown().contains("| skewed | sticky | 1.20 |"));
        assert!(report.to_html().contains("-20.0 %"));
    }
}
