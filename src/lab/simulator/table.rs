//! Runs as text for people: a table, and what it means in sentences.

use std::fmt::Write as _;
use std::time::Duration;

use super::figures::{Figures, Sessions};
use super::sweep::Run;
use crate::lab::board::render::{align_right, millis, plain_table};
use crate::lab::report::words;

/// Cells of a run that follow its settings and its policy.
const TITLES: [&str; 9] =
    ["busy", "mean", "p50", "p99", "p99.9", "peak", "headroom", "failed", "lost"];

/// A table with a line for each run. `width` is the terminal's, if known.
pub fn table(runs: &[Run], width: Option<u16>) -> String {
    let mut table = plain_table(width);
    let settings = runs.first().map(|run| &run.settings[..]).unwrap_or_default();
    let titles = settings.iter().map(|(key, _)| *key).chain(["policy"]).chain(TITLES);
    table.set_header(titles);
    for run in runs {
        let values = run.settings.iter().map(|(_, value)| value.clone());
        table.add_row(values.chain([run.figures.policy.clone()]).chain(cells(&run.figures)));
    }
    align_right(&mut table, settings.len() + 1..settings.len() + 1 + TITLES.len());
    table.trim_fmt()
}

fn cells(figures: &Figures) -> [String; TITLES.len()] {
    let latency = &figures.latency;
    let headroom = figures.cost.map_or_else(|| "-".into(), |cost| signed_percent(cost.headroom));
    let lost = figures.sessions.as_ref().and_then(|sessions| sessions.lost);
    [
        format!("{:.0} %", figures.utilization * 100.0),
        time(latency.mean),
        time(latency.p50),
        time(latency.p99),
        time(latency.p999),
        format!("{:.2}", figures.imbalance.requests),
        headroom,
        figures.requests.failures().to_string(),
        lost.map_or_else(|| "-".into(), |lost| lost.to_string()),
    ]
}

/// What the columns mean.
pub const LEGEND: &str = "\
busy: how much of the fleet's time was spent on requests. peak: requests at the busiest backend, over
the mean. headroom: the extra capacity that it needs because sessions stick, next to the same balancer
without affinity. lost: sessions that met a server which did not know them (- without affinity: such
servers must not keep sessions).";

/// What stickiness costs in each of the runs that stick, a sentence each.
pub fn verdict(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let Some(cost) = run.figures.cost else { continue };
        for (key, value) in &run.settings {
            let _ = write!(text, "{key} {value}, ");
        }
        let _ = write!(
            text,
            "{}: stickiness {}, p99 is {}",
            run.figures.policy,
            words::headroom(cost.headroom),
            longer(cost.p99)
        );
        if let Some(Sessions { begun, lost: Some(lost), .. }) = &run.figures.sessions {
            let (lost, begun) = (words::count(*lost), words::several(*begun, "session"));
            let _ = write!(text, ", {lost} of {begun} lost");
        }
        text.push_str(".\n");
        drains(&run.figures, &mut text);
    }
    runs.iter().for_each(|run| sizes(run, &mut text));
    text
}

/// How large the fleet was, if it has changed for longer than a deploy takes.
fn sizes(run: &Run, text: &mut String) {
    /// A share of the backends that is not worth a word.
    const LITTLE: f64 = 0.02;

    let sizes = || run.figures.timeline.iter().map(|slot| slot.backends);
    let (least, most) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    if (run.figures.mean_backends / f64::from(run.figures.backends) - 1.0).abs() < LITTLE {
        return;
    }
    for (key, value) in &run.settings {
        let _ = write!(text, "{key} {value}, ");
    }
    let (policy, mean) = (&run.figures.policy, run.figures.mean_backends);
    let _ = writeln!(text, "{policy}: {mean:.1} backends on average, {least:.0} to {most:.0}.");
}

fn drains(figures: &Figures, text: &mut String) {
    if figures.drains.is_empty() {
        return;
    }
    let over = figures.drains.iter().filter_map(|drain| drain.took);
    let (count, longest) = over.fold((0u32, 0.0), |(n, most), took| (n + 1, f64::max(most, took)));
    let sessions: u32 = figures.drains.iter().map(|drain| drain.sessions).sum();
    let cut: u32 = figures.drains.iter().map(|drain| drain.cut).sum();
    let _ = writeln!(
        text,
        "  {count} of {} over, the longest took {longest:.0} s; of {} {} {} still there at the end.",
        words::several(figures.drains.len() as u64, "drain"),
        words::several(sessions.into(), "session"),
        words::count(cut.into()),
        if cut == 1 { "was" } else { "were" },
    );
}

/// `20 % longer`, `the same`
fn longer(more: f64) -> String {
    match (more * 100.0).round() {
        0.0 => "the same".into(),
        less if less < 0.0 => format!("{:.0} % shorter", -less),
        more => format!("{more:.0} % longer"),
    }
}

/// `+34 %`
fn signed_percent(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

fn time(seconds: f64) -> String {
    match seconds >= 10.0 {
        true => format!("{seconds:.1} s"),
        false => millis(Duration::from_secs_f64(seconds.max(0.0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_to_nothing_is_the_same() {
        let found = [0.004, -0.004, 0.2, -0.2].map(longer);
        assert_eq!(found, ["the same", "the same", "20 % longer", "20 % shorter"]);
    }
}
