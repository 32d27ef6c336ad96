//! The report for a terminal or a pipe.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figures::Spread;
use super::summary::Summary;
use super::words::{count, digits, percent};
use super::{Report, Run, prediction};
use crate::lab::board::render::{align_right, plain_table};

/// The columns of the tables of figures, here and on the page.
pub(super) const COLUMNS: [&str; 13] = [
    "policy",
    "req/s",
    "p50 ms",
    "p90",
    "p99",
    "p99.9",
    "errors",
    "req. lost",
    "peak/mean",
    "Jain",
    "CoV",
    "sessions lost",
    "moved",
];

/// One row of a table of figures.
pub(super) fn row(summary: &Summary<'_>) -> [String; COLUMNS.len()] {
    let latency = |i: usize| digits(summary.median(|run| run.latency.quantiles()[i]));
    let total = |of: fn(&Run) -> u64| count(summary.total(of));
    let seen = total(|run| run.sessions.seen);
    let lost = summary.lost().map_or("-".into(), |lost| format!("{} of {seen}", count(lost)));
    [
        summary.policy.name.clone(),
        digits(summary.throughput().median),
        latency(0),
        latency(1),
        with_spread(summary, digits, |run| run.latency.p99),
        latency(3),
        total(|run| run.errors),
        total(|run| run.requests_lost),
        with_spread(summary, |value| format!("{value:.2}"), |run| run.imbalance.peak_to_mean),
        format!("{:.3}", summary.median(|run| run.imbalance.jain)),
        format!("{:.2}", summary.median(|run| run.imbalance.variation)),
        lost,
        total(|run| run.sessions.moved),
    ]
}

/// `1.31 (1.28-1.40)`: the median, and how far the repetitions are apart.
fn with_spread(
    summary: &Summary<'_>,
    write: impl Fn(f64) -> String,
    figure: impl Fn(&Run) -> f64,
) -> String {
    let Spread { median, lowest, highest } = summary.spread(figure);
    match summary.runs.len() {
        1 => write(median),
        _ => format!("{} ({}-{})", write(median), write(lowest), write(highest)),
    }
}

/// What only some runs have, as in `state 0.42 ms p50`.
pub(super) fn particulars(summary: &Summary<'_>) -> Vec<(&'static str, String)> {
    let state = summary.median_of(|run| run.details.state_ms.map(|ms| ms.p50));
    let state_p99 = summary.median_of(|run| run.details.state_ms.map(|ms| ms.p99));
    let bytes = summary.median_of(|run| run.details.request_bytes);
    let recovery = summary.median_of(|run| run.details.recovery_seconds);
    let share = summary.median_of(|run| run.details.newcomers_share.map(|share| share.actual));
    let drains = summary.runs.iter().flat_map(|run| run.details.drain_seconds.iter().copied());
    let drain = Spread::of(drains);
    let cut = summary.runs.iter().filter_map(|run| run.details.channels_cut).reduce(|a, b| a + b);
    let errors = errors(summary);
    let particulars = [
        ("state p50 ms", state.map(digits)),
        ("state p99 ms", state_p99.map(digits)),
        ("request bytes", bytes.map(digits)),
        (
            "drain s",
            drain.map(|drain| format!("{:.1} (longest {:.1})", drain.median, drain.highest)),
        ),
        ("recovery s", recovery.map(|seconds| format!("{seconds:.2}"))),
        ("newcomers' share", share.map(percent)),
        ("channels cut", cut.map(count)),
        ("errors", (!errors.is_empty()).then_some(errors)),
    ];
    particulars.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// `502 3 times, timed_out once`
fn errors(summary: &Summary<'_>) -> String {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, times) in summary.runs.iter().flat_map(|run| &run.details.errors) {
        *kinds.entry(kind).or_default() += times;
    }
    let kinds = kinds.into_iter().map(|(kind, times)| match times {
        1 => format!("{kind} once"),
        times => format!("{kind} {} times", count(times)),
    });
    kinds.collect::<Vec<_>>().join(", ")
}

pub(super) fn render(report: &Report) -> String {
    let mut text = format!("{}\n", report.title);
    for fact in &report.setup {
        let _ = writeln!(text, "  {}: {}", fact.name, fact.value);
    }
    for (scenario, summaries) in report.scenarios() {
        let mut table = plain_table(None);
        table.set_header(COLUMNS);
        for summary in &summaries {
            table.add_row(row(summary));
        }
        align_right(&mut table, 1..COLUMNS.len());
        let _ = writeln!(text, "\n{scenario}\n{}", table.trim_fmt());
        for summary in &summaries {
            let particulars = particulars(summary);
            if !particulars.is_empty() {
                let parts: Vec<_> =
                    particulars.iter().map(|(name, value)| format!("{name} {value}")).collect();
                let _ = writeln!(text, "  {}: {}", summary.policy.name, parts.join(", "));
            }
        }
    }
    let predicted = prediction::rows(report);
    if !predicted.is_empty() {
        let mut table = plain_table(None);
        table.set_header(prediction::COLUMNS);
        table.add_rows(predicted);
        align_right(&mut table, 2..prediction::COLUMNS.len());
        let _ = writeln!(text, "\nSimulator\n{}", table.trim_fmt());
    }
    if report.judges_claims {
        text.push_str("\nClaims\n");
        for claim in report.claims() {
            let _ = writeln!(text, "  {:<12}  {}", claim.outcome.as_str(), claim.says);
            if !claim.figures.is_empty() {
                let _ = writeln!(text, "  {:<12}    {}", "", claim.figures);
            }
        }
    }
    text.push_str("\nVerdict\n");
    for sentence in report.verdict() {
        let _ = writeln!(text, "  {sentence}");
    }
    text
}
