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

/// What was said, and what it was.
#[derive(Clone, Copy, Debug)]
struct Pair {
    predicted: f64,
    measured: f64,
}

impl Pair {
    /// In the median.
    fn of(
        summary: &Summary<'_>,
        predicted: impl Fn(&Prediction) -> f64,
        measured: impl Fn(&Run) -> f64,
    ) -> Option<Self> {
        let said = summary.median_of(|run| run.details.predicted.as_ref().map(&predicted))?;
        Some(Pair { predicted: said, measured: summary.median(measured) })
    }

    /// Predicted over measured, less 1.
    fn error(self) -> f64 {
        self.predicted / self.measured.max(f64::MIN_POSITIVE) - 1.0
    }

    fn cells(self, write: fn(f64) -> String) -> [String; 3] {
        let error = format!("{:+.1} %", self.error() * 100.0);
        [write(self.predicted), write(self.measured), error]
    }
}

fn peak(summary: &Summary<'_>) -> Option<Pair> {
    Pair::of(summary, |said| said.peak_to_mean, |run| run.imbalance.peak_to_mean)
}

fn p50(summary: &Summary<'_>) -> Option<Pair> {
    Pair::of(summary, |said| said.p50, |run| run.latency.p50)
}

fn p99(summary: &Summary<'_>) -> Option<Pair> {
    Pair::of(summary, |said| said.p99, |run| run.latency.p99)
}

/// How far off it was at most.
pub(super) fn verdict(all: &[Summary<'_>]) -> Option<String> {
    let worst = |of: fn(&Summary<'_>) -> Option<Pair>| {
        all.iter().filter_map(of).map(|pair| pair.error().abs()).reduce(f64::max).map(percent)
    };
    Some(format!(
        "The simulator, asked about the same runs, is {} off in peak-to-mean and {} in the 99th \
         percentile at most.",
        worst(peak)?,
        worst(p99)?,
    ))
}

fn row(summary: &Summary<'_>) -> Option<[String; COLUMNS.len()]> {
    let [peak_said, peak_was, peak_error] = peak(summary)?.cells(|ratio| format!("{ratio:.2}"));
    let [p50_said, p50_was, p50_error] = p50(summary)?.cells(digits);
    let [p99_said, p99_was, p99_error] = p99(summary)?.cells(digits);
    let (scenario, policy) = (summary.scenario.to_owned(), summary.policy.name.clone());
    Some([
        scenario, policy, peak_said, peak_was, peak_error, p50_said, p50_was, p50_error, p99_said,
        p99_was, p99_error,
    ])
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
