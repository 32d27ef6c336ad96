//! What stickiness costs, next to a table that an independent simulator has measured: 10 servers of
//! 4 workers, Poisson sessions of 20 requests (geometric), think time 20 service times, latencies in
//! service times.
//!
//! That table says 0.76 for its realized utilization. Its row for requests that are placed by
//! chance has a formula, Erlang C for each of ten M/M/4, and a mean of 1.85 is what it gives at
//! 0.815: so that is where the comparison is made. What counts is each policy's distance from two
//! choices for each request, and the order of the policies.

use std::time::Duration;

use stickler::lab::simulator::plan::{Clients, Plan, Rate, Sessions};

use crate::{near, plan, run, units};

/// Policy, mean and p99 of the table.
const TABLE: [(&str, f64, f64); 8] = [
    ("two_choices", 1.13, 4.79),
    ("random", 1.85, 7.30),
    ("random+cookie", 1.86, 7.56),
    ("two_choices+hash", 1.77, 6.97),
    ("round_robin+cookie", 1.67, 6.31),
    ("least_connections+cookie", 1.62, 5.97),
    ("two_choices+cookie", 1.55, 5.84),
    ("two_choices+hash+max_load:1.25", 1.19, 4.89),
];

fn sessions(utilization: f64) -> Plan {
    let mut plan = plan(10, 4, utilization, 1.0);
    plan.clients = Clients::Sessions(Sessions {
        requests: "geometric:20".parse().unwrap(),
        think: "exp:20ms".parse().unwrap(),
        users: None,
        hot: None,
    });
    plan.rate = Rate::Utilization(utilization);
    plan.proxy.idle_timeout = Duration::from_millis(500);
    plan.warm_up = Duration::from_secs(1);
    plan.duration = Duration::from_secs(15);
    plan
}

#[test]
fn the_cost_of_stickiness() {
    let plan = sessions(0.815);
    let mut base = None;
    for (policy, mean, p99) in TABLE {
        let figures = run(&plan, policy, 1);
        let found = units(figures.latency.p99);
        // Sessions come in at most 40 lifetimes, so that runs differ by a few percent.
        near(&format!("{policy}, mean"), units(figures.latency.mean), mean, 0.1);
        near(&format!("{policy}, p99"), found, p99, 0.1);
        let (own, theirs) = *base.get_or_insert((found, p99));
        let more = |found: f64, base: f64| (found / base - 1.0) * 100.0;
        println!("  p99 is {:+.0} % of stateless; {:+.0} %", more(found, own), more(p99, theirs));
    }
}

/// The headline: by cookie, with a first placement that looks at load, at least a third of what
/// p99 costs by hash is saved; and a bound on load buys nearly all of the rest.
#[test]
fn placing_by_load_halves_the_cost_of_hashing() {
    let plan = sessions(0.815);
    let mean = |policy: &str| {
        let seeds = 1..=2;
        seeds.map(|seed| run(&plan, policy, seed).latency.p99).sum::<f64>() / 2.0
    };
    let even = mean("two_choices");
    let cost = |policy: &str| mean(policy) / even - 1.0;
    let hash = cost("two_choices+hash");
    let cookie = cost("two_choices+cookie");
    let bounded = cost("two_choices+cookie+overload:1.25:detour");
    println!("cost in p99: hash {hash:.2}, cookie {cookie:.2}, bounded {bounded:.2}");
    assert!(cookie < hash * 0.67 && bounded < 0.06, "{hash}, {cookie}, {bounded}");
}
