//! What stickiness costs, and how many sessions move. What is not known has no sample.

use super::super::snapshot::Snapshot;
use super::super::text::{Kind, Text};
use super::each_pool;
use crate::balance::Reason;
use crate::balance::cost::{Figures, Imbalance};
use crate::observe::{Costs, PoolCost};

/// A load, the world that it is in, and its imbalance.
type Load = (&'static str, &'static str, fn(&Figures) -> &Imbalance);

const LOADS: [Load; 5] = [
    ("requests", "real", |figures| &figures.requests),
    ("in_flight_time", "real", |figures| &figures.busy),
    ("sessions", "real", |figures| &figures.sessions),
    ("requests", "even", |figures| &figures.even_requests),
    ("in_flight_time", "even", |figures| &figures.even_busy),
];

/// Writes them down.
pub(super) fn write(text: &mut Text, snapshot: &Snapshot, costs: &Costs) {
    moves(text, snapshot);
    let costs: Vec<(&str, Vec<PoolCost>)> =
        snapshot.pools.iter().map(|pool| (pool.pool.name(), costs.of(pool.pool.name()))).collect();
    headroom(text, &costs);
    imbalances(text, &costs);
    spread(text, &costs);
    blast_radius(text, &costs);
}

fn moves(text: &mut Text, snapshot: &Snapshot) {
    let help = "Sessions that have got another home, each counted once, by reason.";
    text.metric("stickler_moved_sessions", Kind::Counter, help);
    each_pool(snapshot, |labels, pool| {
        let moves = Reason::ALL.iter().zip(pool.pool.moves());
        for (reason, count) in moves.filter(|(_, count)| *count > 0) {
            text.sample(&[labels[0], ("reason", reason.as_str())], count);
        }
    });
}

fn headroom(text: &mut Text, costs: &[(&str, Vec<PoolCost>)]) {
    type Figure = fn(&Figures) -> Option<f64>;
    let figures: [(_, _, Figure); 2] = [
        (
            "stickler_cost_headroom_ratio",
            "Capacity that the busiest backend must have more because of stickiness: 0.34 is 34 %.",
            |figures| figures.headroom_cost(),
        ),
        (
            "stickler_cost_forced_ratio",
            "Share of the requests that affinity sent elsewhere than the balancer would have.",
            |figures| figures.forced_share,
        ),
    ];
    for (name, help, figure) in figures {
        text.metric(name, Kind::Gauge, help);
        for (pool, cost) in each_window(costs) {
            let labels = [("pool", pool), ("window", cost.window.as_str())];
            figure(&cost.figures).into_iter().for_each(|value| text.sample(&labels, value));
        }
    }
}

fn imbalances(text: &mut Text, costs: &[(&str, Vec<PoolCost>)]) {
    type Figure = fn(&Imbalance) -> Option<f64>;
    let figures: [(_, _, Figure); 3] = [
        (
            "stickler_cost_peak_to_mean_ratio",
            "The busiest backend's load over its fair share, really and under even distribution.",
            |load| load.peak_to_mean,
        ),
        (
            "stickler_cost_jain_index",
            "Jain's index of how evenly the load lies: 1 is even.",
            |load| load.jain,
        ),
        (
            "stickler_cost_variation_ratio",
            "Standard deviation of the backends' loads over their mean: 0 is even.",
            |load| load.variation,
        ),
    ];
    for (name, help, figure) in figures {
        text.metric(name, Kind::Gauge, help);
        for (pool, cost) in each_window(costs) {
            for (of, world, load) in LOADS {
                let window = ("window", cost.window.as_str());
                let labels = [("pool", pool), window, ("of", of), ("world", world)];
                let value = figure(load(&cost.figures));
                value.into_iter().for_each(|value| text.sample(&labels, value));
            }
        }
    }
}

fn spread(text: &mut Text, costs: &[(&str, Vec<PoolCost>)]) {
    let help = "How long answers of the busiest backend take over how long the pool's do.";
    text.metric("stickler_cost_spread_ratio", Kind::Gauge, help);
    for (pool, cost) in each_window(costs) {
        let Some(spread) = cost.spread else { continue };
        for (quantile, compared) in [("0.5", spread.p50), ("0.99", spread.p99)] {
            let window = ("window", cost.window.as_str());
            let labels = [("pool", pool), window, ("quantile", quantile)];
            compared.ratio().into_iter().for_each(|value| text.sample(&labels, value));
        }
    }
}

/// It is about now, so that any window does.
fn blast_radius(text: &mut Text, costs: &[(&str, Vec<PoolCost>)]) {
    let radii = costs.iter().filter_map(|(pool, costs)| {
        let radius = costs.first()?.figures.blast_radius;
        radius.backend.is_some().then_some((*pool, radius))
    });
    let radii: Vec<_> = radii.collect();
    let help = "Sessions that are lost if the backend with the most of them dies now.";
    text.metric("stickler_cost_blast_radius_sessions", Kind::Gauge, help);
    radii.iter().for_each(|(pool, radius)| text.sample(&[("pool", pool)], radius.sessions));
    let help = "Their share of the pool's sessions.";
    text.metric("stickler_cost_blast_radius_ratio", Kind::Gauge, help);
    radii.iter().for_each(|(pool, radius)| text.sample(&[("pool", pool)], radius.share));
}

fn each_window<'a>(
    costs: &'a [(&'a str, Vec<PoolCost>)],
) -> impl Iterator<Item = (&'a str, &'a PoolCost)> {
    costs.iter().flat_map(|(pool, costs)| costs.iter().map(|cost| (*pool, cost)))
}
