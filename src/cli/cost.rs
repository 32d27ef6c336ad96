//! What stickiness costs, as the commands say it.

use comfy_table::Cell;

use super::table::{count, percent, table};
use super::terminal::Terminal;
use crate::admin::view::{Cost, Imbalance, Pool};
use crate::balance::cost::Window;

/// All figures of a pool: a sentence, and a line for each window.
pub(super) fn in_full(pool: &Pool, terminal: &Terminal) -> Option<String> {
    let cost = pool.cost(Window::default())?;
    let titles = [
        "window",
        "headroom",
        "in-flight time",
        "requests",
        "sessions",
        "forced",
        "Jain",
        "variation",
        "p50",
        "p99",
        "moved",
    ];
    let rows = pool.cost.iter().map(row).collect();
    let mut text = format!("{}\n{}", cost.in_words, table(terminal, &titles, 1, rows));
    text.extend(blast_radius(cost).map(|line| format!("{line}\n")));
    text.extend(moves(pool.cost.last().unwrap_or(cost)).map(|line| format!("{line}\n")));
    Some(text)
}

fn row(cost: &Cost) -> Vec<Cell> {
    let times = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
    let against = |real: &Imbalance, even: &Imbalance| match (real.peak_to_mean, even.peak_to_mean)
    {
        (Some(real), Some(even)) => format!("{real:.2} (even {even:.2})"),
        (real, _) => times(real),
    };
    let share = |share: Option<f64>| share.map_or("-".into(), percent);
    let sessions = cost.real.sessions.as_ref().and_then(|sessions| sessions.peak_to_mean);
    vec![
        Cell::new(&cost.window),
        Cell::new(headroom(cost)),
        Cell::new(against(&cost.real.in_flight_time, &cost.even.in_flight_time)),
        Cell::new(against(&cost.real.requests, &cost.even.requests)),
        Cell::new(times(sessions)),
        Cell::new(share(cost.forced_share)),
        Cell::new(times(cost.real.in_flight_time.jain)),
        Cell::new(times(cost.real.in_flight_time.variation)),
        Cell::new(times(cost.spread.and_then(|spread| spread.p50.ratio))),
        Cell::new(times(cost.spread.and_then(|spread| spread.p99.ratio))),
        Cell::new(cost.moves.values().sum::<u64>()),
    ]
}

/// All figures of one window, in a few short lines.
pub(super) fn in_short(cost: &Cost) -> Vec<String> {
    let times = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
    let share = |share: Option<f64>| share.map_or("-".into(), percent);
    let (real, even) = (&cost.real, &cost.even);
    let peak = |load: &Imbalance| times(load.peak_to_mean);
    let ratio = |of: fn(&crate::admin::view::Spread) -> Option<f64>| {
        times(cost.spread.as_ref().and_then(of))
    };
    let mut lines = vec![
        cost.in_words.clone(),
        format!(
            "headroom cost {}, forced share {}, p50 and p99 at the busiest {} and {} times the pool's",
            headroom(cost),
            share(cost.forced_share),
            ratio(|spread| spread.p50.ratio),
            ratio(|spread| spread.p99.ratio),
        ),
        format!(
            "peak-to-mean (even): in-flight time {} ({}), requests {} ({}), sessions {}; Jain's \
             index {}, variation {}",
            peak(&real.in_flight_time),
            peak(&even.in_flight_time),
            peak(&real.requests),
            peak(&even.requests),
            times(real.sessions.as_ref().and_then(|sessions| sessions.peak_to_mean)),
            times(real.in_flight_time.jain),
            times(real.in_flight_time.variation),
        ),
    ];
    lines.extend(blast_radius(cost));
    lines.extend(moves(cost));
    lines
}

/// The headroom cost, unless it would be chance: the sentence says the same.
fn headroom(cost: &Cost) -> String {
    match cost.headroom_cost {
        None => "-".into(),
        Some(_) if !cost.is_meaningful => "too few".into(),
        Some(headroom) => percent(headroom),
    }
}

/// The headroom cost and the peak-to-mean of several windows in a line, if they had traffic and are
/// not all the same: those that reach back before the start are.
pub(super) fn over_time(costs: &[Cost]) -> Option<String> {
    let mut told: Vec<&Cost> = Vec::new();
    for cost in costs.iter().filter(|cost| cost.requests > 0) {
        if told.last().is_none_or(|last| cost.seconds > last.seconds + 1.0) {
            told.push(cost);
        }
    }
    let one = |cost: &&Cost| {
        let peak = |load: &Imbalance| load.peak_to_mean.map_or("-".into(), |x| format!("{x:.2}"));
        let (real, even) = (peak(&cost.real.in_flight_time), peak(&cost.even.in_flight_time));
        format!("{} {}, {real} ({even})", cost.window, headroom(cost))
    };
    let windows = told.iter().map(one).collect::<Vec<_>>().join("; ");
    let text = format!("headroom cost and peak-to-mean of in-flight time (even): {windows}");
    (told.len() > 1).then_some(text)
}

fn blast_radius(cost: &Cost) -> Option<String> {
    let radius = cost.blast_radius.as_ref()?;
    let sessions = count(radius.sessions.into(), "session");
    Some(format!(
        "if {} dies now: {sessions} lost ({} of all)",
        radius.backend,
        percent(radius.share)
    ))
}

fn moves(cost: &Cost) -> Option<String> {
    let moves = cost.moves.iter().map(|(reason, n)| format!("{reason} {n}"));
    let moves = moves.collect::<Vec<_>>().join(", ");
    (!moves.is_empty()).then(|| format!("sessions moved ({}): {moves}", cost.window))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admin::view::{BlastRadius, Compared, Loads, Spread};

    /// What it costs where the busiest of some has twice what it should have.
    pub(in crate::cli) fn cost(window: Window) -> Cost {
        let load = |peak: f64| Imbalance {
            peak_to_mean: Some(peak),
            busiest: Some("shop-1".into()),
            jain: Some(0.5),
            variation: Some(0.7),
        };
        let loads =
            |peak| Loads { requests: load(peak), in_flight_time: load(peak), sessions: None };
        let compared = Compared { busiest_ms: 12.0, pool_ms: 8.0, ratio: Some(1.5) };
        Cost {
            window: window.as_str().into(),
            seconds: 10.0,
            requests: 100,
            is_meaningful: true,
            in_words: "Stickiness has its price.".into(),
            headroom_cost: Some(0.6),
            forced_share: None,
            real: loads(2.0),
            even: loads(1.25),
            spread: Some(Spread { p50: compared, p99: compared }),
            blast_radius: Some(BlastRadius { backend: "shop-1".into(), sessions: 1, share: 0.5 }),
            moves: BTreeMap::from([("down".into(), 3)]),
            backends: Vec::new(),
        }
    }

    #[test]
    fn windows_are_told_side_by_side_if_they_differ() {
        let of = |window, seconds, requests| Cost { seconds, requests, ..cost(window) };
        let few = Cost { is_meaningful: false, ..of(Window::Short, 10.0, 7) };
        let costs = [few, of(Window::Medium, 42.0, 900), of(Window::Long, 42.0, 900)];
        let expected = "headroom cost and peak-to-mean of in-flight time (even): 10s too few, 2.00 \
                        (1.25); 1m 60.0 %, 2.00 (1.25)";
        assert_eq!(over_time(&costs).as_deref(), Some(expected));
        assert_eq!(over_time(&costs[1..]), None, "they are the same");
        let idle = [of(Window::Short, 10.0, 0), of(Window::Medium, 60.0, 9)];
        assert_eq!(over_time(&idle), None, "nothing came in one of them");
    }

    #[test]
    fn what_is_chance_is_no_figure() {
        let few = Cost { is_meaningful: false, ..cost(Window::Short) };
        let text = in_short(&few).join("\n");
        assert!(text.contains("headroom cost too few,"), "{text}");
    }

    #[test]
    fn every_figure_is_there_and_what_is_unknown_is_a_dash() {
        let text = in_short(&cost(Window::Short)).join("\n");
        for part in [
            "Stickiness has its price.",
            "headroom cost 60.0 %, forced share -,",
            "1.50 and 1.50 times",
            "in-flight time 2.00 (1.25), requests 2.00 (1.25), sessions -;",
            "Jain's index 0.50, variation 0.70",
            "if shop-1 dies now: 1 session lost (50.0 % of all)",
            "sessions moved (10s): down 3",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
