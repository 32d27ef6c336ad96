//! The simulator against theory and against published figures.
//!
//! Where there is a formula, a run with a fixed seed has to come near it, as near as chance lets
//! such a run come: each tolerance says why. Where others have published a figure, ours stands
//! next to it: `cargo test --test theory -- --nocapture --test-threads 1` prints them all.

#![allow(missing_docs, reason = "tests are read, not called")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are what this is for")]

mod hashing;
mod published;
mod queueing;
mod stickiness;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use stickler::lab::simulator::figures::Figures;
use stickler::lab::simulator::plan::{Clients, Fleet, Plan, Proxy, Rate};
use stickler::lab::simulator::simulate;

/// Requests without sessions for servers with an exponential service time of 1 ms: with it as the
/// unit of time, figures are milliseconds.
fn plan(backends: u32, concurrency: u32, utilization: f64, requests: f64) -> Plan {
    let mut plan = Plan {
        fleet: Fleet {
            backends,
            concurrency,
            backlog: u32::MAX,
            service_time: "exp:1ms".parse().unwrap(),
            slow: None,
        },
        proxy: Proxy::plain(Duration::from_secs(60)),
        clients: Clients::Requests,
        rate: Rate::Utilization(utilization),
        events: Vec::new(),
        warm_up: Duration::from_secs(2),
        duration: Duration::ZERO,
    };
    plan.duration = Duration::from_secs_f64(requests / plan.requests_per_second());
    plan
}

fn run(plan: &Plan, policy: &str, seed: u64) -> Figures {
    simulate(plan, &policy.parse().unwrap(), seed, &AtomicU64::new(0))
}

/// In service times.
fn units(seconds: f64) -> f64 {
    seconds * 1e3
}

/// `found` is within a share of `tolerance` of `expected`.
#[track_caller]
fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = found / expected - 1.0;
    println!("{what}: {found:.4}, predicted {expected:.4} ({:+.1} %)", error * 100.0);
    assert!(error.abs() <= tolerance, "{what}: {found} is not within {tolerance} of {expected}");
}
