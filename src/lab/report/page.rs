//! The report as one HTML page that loads nothing: style and charts are in it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{self, Line};
use super::claims::Outcome;
use super::figures::Percentiles;
use super::summary::Summary;
use super::table::{COLUMNS, particulars, row};
use super::{BackendLoad, Report, Run, glossary, prediction};

/// A chart of load by backend shows so many lines at most.
const MOST_LINES: usize = 8;

pub(super) fn render(report: &Report) -> String {
    let scenarios = report.scenarios();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    h1 { (report.title) }
                    @if !report.command.is_empty() { p { code { (report.command) } } }
                    section {
                        h2 { "Verdict" }
                        ul.verdict { @for sentence in report.verdict() { li { (sentence) } } }
                    }
                    @if report.judges_claims { (claims(report)) }
                    @if scenarios.iter().any(|(_, of)| of.iter().any(has_sessions)) {
                        (sessions_lost(&scenarios))
                    }
                    @for (name, summaries) in &scenarios { (scenario(name, summaries)) }
                    (simulator(report))
                    (setup(report))
                }
            }
        }
    };
    page.into_string()
}

fn claims(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Claims" }
            div.scroll { table.claims {
                thead { tr { th { "what is said" } th { "here" } th { "figures" } } }
                tbody {
                    @for claim in report.claims() {
                        @let class = match claim.outcome {
                            Outcome::Held => "held",
                            Outcome::NotHere => "not-here",
                            Outcome::NotMeasured => "not-measured",
                        };
                        tr {
                            td { (claim.says) }
                            td { span class=(class) { (claim.outcome.as_str()) } }
                            td { (claim.figures) }
                        }
                    }
                }
            } }
        }
    }
}

fn has_sessions(summary: &Summary<'_>) -> bool {
    summary.lost().is_some() && summary.total(|run| run.sessions.seen) > 0
}

/// Each policy once, in the order of its first run.
fn policies<'a>(summaries: impl Iterator<Item = &'a Summary<'a>>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for summary in summaries {
        let name = summary.policy.name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn sessions_lost(scenarios: &[(&str, Vec<Summary<'_>>)]) -> Markup {
    let policies = policies(scenarios.iter().flat_map(|(_, of)| of.iter()));
    let names: Vec<&str> = scenarios.iter().map(|(name, _)| *name).collect();
    let series = policies.iter().map(|policy| {
        let share = |of: &[Summary<'_>]| {
            let summary = of.iter().find(|summary| summary.policy.name == *policy)?;
            Some(summary.share_lost()? * 100.0)
        };
        scenarios.iter().map(|(_, of)| share(of)).collect::<Vec<_>>()
    });
    let series: Vec<Vec<Option<f64>>> = series.collect();
    // Who cannot lose any stands in the legend all the same: a policy has one colour everywhere.
    let names_of_policies: Vec<String> = policies
        .iter()
        .zip(&series)
        .map(|(policy, values)| match values.iter().any(Option::is_some) {
            true => (*policy).to_owned(),
            false => format!("{policy} (-)"),
        })
        .collect();
    let legend: Vec<&str> = names_of_policies.iter().map(String::as_str).collect();
    html! {
        section {
            h2 { "Sessions lost by scenario" }
            div.charts.wide {
                (figure("% of all sessions", &legend, &chart::bars(&names, &series, "%")))
            }
        }
    }
}

fn scenario(name: &str, summaries: &[Summary<'_>]) -> Markup {
    let policies: Vec<&str> = summaries.iter().map(|s| s.policy.name.as_str()).collect();
    let latencies: Vec<Vec<f64>> = summaries
        .iter()
        .map(|s| (0..4).map(|i| s.median(|run| run.latency.quantiles()[i])).collect())
        .collect();
    let latency = chart::steps(&Percentiles::NAMES, &latencies, "ms");
    html! {
        section {
            h2 { (name) }
            div.scroll { table {
                thead { tr { @for column in COLUMNS { th { (column) } } } }
                tbody {
                    @for summary in summaries {
                        tr { @for cell in row(summary) { td { (cell) } } }
                    }
                }
            } }
            @for summary in summaries {
                @let particulars = particulars(summary);
                @if !particulars.is_empty() {
                    p.particulars {
                        b { (summary.policy.name) ": " }
                        @for (i, (name, value)) in particulars.iter().enumerate() {
                            @if i > 0 { ", " }
                            (name) " " (value)
                        }
                    }
                }
            }
            div.charts {
                (figure("Latency by percentile", &policies, &latency))
                @for summary in summaries {
                    @let run = summary.typical();
                    @if run.load.backends.iter().any(|backend| backend.rates.len() > 1) {
                        (load(&summary.policy.name, run))
                    }
                }
            }
        }
    }
}

/// Load by backend over time.
fn load(policy: &str, run: &Run) -> Markup {
    let shown = shown(&run.load.backends);
    let names: Vec<&str> = shown.iter().map(|backend| backend.name.as_str()).collect();
    let line = |backend: &&BackendLoad| Line {
        points: backend
            .rates
            .iter()
            .enumerate()
            .map(|(i, rate)| (i as f64 * run.load.step, *rate))
            .collect(),
    };
    let lines: Vec<Line> = shown.iter().map(line).collect();
    let title = match run.load.backends.len() {
        all if all > shown.len() => format!("Load by backend, {policy} ({} of {all})", shown.len()),
        _ => format!("Load by backend, {policy}"),
    };
    figure(&title, &names, &chart::lines(&lines, "seconds", "requests/s"))
}

/// All backends; or, if these are too many, some from the busiest to the idlest.
fn shown(backends: &[BackendLoad]) -> Vec<&BackendLoad> {
    let mut chosen: Vec<&BackendLoad> = backends.iter().collect();
    if chosen.len() <= MOST_LINES {
        return chosen;
    }
    let total = |backend: &BackendLoad| backend.rates.iter().sum::<f64>();
    chosen.sort_by(|a, b| total(b).total_cmp(&total(a)));
    let last = chosen.len() - 1;
    (0..MOST_LINES).map(|i| chosen[i * last / (MOST_LINES - 1)]).collect()
}

/// A chart with its title and its legend.
fn figure(title: &str, names: &[&str], svg: &str) -> Markup {
    html! {
        figure {
            figcaption {
                span.title { (title) }
                @for (i, name) in names.iter().enumerate() {
                    span.key { span.swatch style=(format!("--c:var(--c{})", i % chart::COLORS.len())) {} (name) }
                }
            }
            (PreEscaped(svg))
        }
    }
}

/// What the simulator says about the same runs, if it says anything.
fn simulator(report: &Report) -> Markup {
    let rows = prediction::rows(report);
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "The simulator about the same runs" }
                div.scroll { table {
                    thead { tr { @for column in prediction::COLUMNS { th { (column) } } } }
                    tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
                } }
            }
        }
    }
}

fn setup(report: &Report) -> Markup {
    html! {
        section {
            h2 { "How this was measured" }
            dl {
                @for fact in &report.setup { dt { (fact.name) } dd { (fact.value) } }
            }
            h3 { "What the figures mean" }
            dl {
                @for (term, meaning) in glossary::of(report) { dt { (term) } dd { (meaning) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_backends_the_busiest_and_the_idlest_are_shown() {
        let backends: Vec<_> = (0..100)
            .map(|i| BackendLoad { name: format!("b{i}"), rates: vec![f64::from(i)] })
            .collect();
        let shown = shown(&backends);
        assert_eq!(shown.len(), MOST_LINES);
        assert_eq!((shown[0].name.as_str(), shown[7].name.as_str()), ("b99", "b0"));
        assert_eq!(super::shown(&backends[..3]).len(), 3);
    }

    #[test]
    fn the_style_sheet_knows_every_colour() {
        let css = include_str!("page.css");
        for (i, color) in chart::COLORS.iter().enumerate() {
            assert!(css.contains(&format!("--c{i}: {color}")), "{color}");
            assert!(css.contains(&format!("[fill=\"{color}\"]")), "{color}");
            assert!(css.contains(&format!("[stroke=\"{color}\"]")), "{color}");
        }
    }
}
