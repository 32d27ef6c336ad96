//! Queues with a formula: M/M/1, M/M/c, M/D/1, M/G/1, and the limit of many queues with two
//! choices.

use stickler::lab::simulator::distribution::Times;

use crate::{near, plan, run, units};

/// The probability that a request of M/M/c waits (Erlang 1917), by the recursion of Erlang B.
fn erlang_c(servers: u32, utilization: f64) -> f64 {
    let load = f64::from(servers) * utilization;
    let blocked = (1..=servers).fold(1.0, |b, n| load * b / (f64::from(n) + load * b));
    blocked / (1.0 - utilization * (1.0 - blocked))
}

/// The mean waiting time of M/M/c, in service times.
fn wait(servers: u32, utilization: f64) -> f64 {
    erlang_c(servers, utilization) / (f64::from(servers) * (1.0 - utilization))
}

#[test]
fn the_formula_knows_the_textbook_values() {
    assert!((wait(1, 0.5) - 1.0).abs() < 1e-12, "M/M/1: rho / (1 - rho)");
    assert!((wait(2, 0.5) - 1.0 / 3.0).abs() < 1e-12, "M/M/2: rho^2 / (1 - rho^2)");
}

/// Waiting times are correlated over some `1 / (1 - rho)^2` service times: of a million requests
/// at 0.9 about as many as 5,000 are independent, so that 6 % are three standard errors and more.
#[test]
fn waiting_times_are_those_of_erlang() {
    for (servers, utilization, tolerance) in [
        (1, 0.5, 0.02),
        (1, 0.8, 0.03),
        (1, 0.9, 0.06),
        (2, 0.8, 0.03),
        (4, 0.9, 0.06),
        (32, 0.9, 0.06),
    ] {
        let plan = plan(1, servers, utilization, 1e6);
        let figures = run(&plan, "two_choices", 1);
        let what = format!("M/M/{servers} at {utilization}, mean wait");
        near(&what, units(figures.mean_wait), wait(servers, utilization), tolerance);
        near("  utilization", figures.utilization, utilization, 0.01);
    }
}

/// M/M/1 answers after an exponential time of mean `1 / (1 - rho)`. Quantiles beyond the mean are
/// a little less certain than that.
#[test]
fn latencies_of_one_server_are_exponential() {
    let figures = run(&plan(1, 1, 0.8, 1e6), "two_choices", 2);
    for (q, found) in
        [(0.5, figures.latency.p50), (0.9, figures.latency.p90), (0.99, figures.latency.p99)]
    {
        let expected = -(1.0f64 - q).ln() / (1.0 - 0.8);
        near(&format!("M/M/1 at 0.8, p{}", q * 100.0), units(found), expected, 0.05);
    }
}

/// Pollaczek and Khinchine: the wait is that of M/M/1 times half of one plus the squared
/// coefficient of variation.
#[test]
fn other_service_times_wait_as_pollaczek_and_khinchine_say() {
    let sigma = 0.8f64;
    for (service, squared_variation) in [
        (Times::Constant(std::time::Duration::from_millis(1)), 0.0),
        ("uniform:0ms-2ms".parse().unwrap(), 1.0 / 3.0),
        ("lognormal:1ms,0.8".parse().unwrap(), (sigma * sigma).exp() - 1.0),
    ] {
        let mut plan = plan(1, 1, 0.7, 1e6);
        plan.fleet.service_time = service;
        let figures = run(&plan, "two_choices", 3);
        let unit = service.mean();
        let expected = 0.7 / 0.3 * (1.0 + squared_variation) / 2.0;
        near(&format!("M/G/1 with {service}, mean wait"), figures.mean_wait / unit, expected, 0.04);
    }
}

/// Two choices come to the sum of `rho^(2^i - 2)` with many servers, while one makes each of them
/// an M/M/1, with `1 / (1 - rho)`: 10 against 2.61 at 0.9 (Mitzenmacher 2001; Vvedenskaya, Dobrushin, Karpelevich 1996).
/// Our rule is better than theirs by a little: the two that are drawn are never the same.
#[test]
fn two_choices_have_their_limit() {
    let two = |rho: f64| (1..12).map(|i| rho.powf(2f64.powi(i) - 2.0)).sum::<f64>();
    for (rho, tolerance) in [(0.5, 0.02), (0.7, 0.02), (0.9, 0.03)] {
        let mut plan = plan(500, 1, rho, 6e5);
        plan.warm_up = std::time::Duration::from_millis(500);
        let found = run(&plan, "two_choices", 4);
        near(&format!("two choices at {rho}"), units(found.latency.mean), two(rho), tolerance);
    }
}
