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
    plan.warm_up = Duration::from_secs(2);
    plan.duration = Duration::from_secs(40);
    plan
}

#[test]
fn the_cost_of_stickiness() {
    let plan = sessions(0.815);
    for (policy, mean, p99) in TABLE {
        let figures = run(&plan, policy, 1);
        println!("{policy:42} mean {:.2} ({mean}), p99 {:.2} ({p99}), peak {:.3}, util {:.3}", units(figures.latency.mean), units(figures.latency.p99), figures.imbalance.requests, figures.utilization);
    }
    near("", 1.0, 1.0, 1.0);
}
