//! How many requests a second of real time the simulator gets through on one core.
//!
//! `cargo bench --bench simulate`. The budget (DESIGN, section 8) is 3 million a second at 100
//! backends. Each bench runs a whole simulation; the item counter is its requests.

#![allow(missing_docs, reason = "benches are run, not called")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use stickler::lab::simulator::plan::{Clients, Fleet, Plan, Proxy, Rate, Sessions};
use stickler::lab::simulator::simulate;

/// The allocator of the real thing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests of a run.
const REQUESTS: f64 = 1_000_000.0;

fn plan(backends: u32, clients: Clients) -> Plan {
    let mut plan = Plan {
        fleet: Fleet {
            backends,
            concurrency: 4,
            backlog: u32::MAX,
            service_time: "exp:20ms".parse().unwrap(),
            slow: None,
        },
        proxy: Proxy::plain(Duration::from_secs(60)),
        clients,
        rate: Rate::Utilization(0.75),
        events: Vec::new(),
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
    };
    plan.duration = Duration::from_secs_f64(REQUESTS / plan.requests_per_second());
    plan
}

fn bench(bencher: Bencher<'_, '_>, plan: &Plan, policy: &str) {
    let policy = policy.parse().unwrap();
    let requests = simulate(plan, &policy, 1, &AtomicU64::new(0)).requests.offered;
    bencher
        .counter(ItemsCount::new(requests))
        .bench_local(|| simulate(plan, &policy, 1, &AtomicU64::new(0)));
}

fn sessions() -> Clients {
    Clients::Sessions(Sessions {
        requests: "geometric:20".parse().unwrap(),
        think: "exp:400ms".parse().unwrap(),
        users: None,
        hot: None,
    })
}

const POLICIES: [&str; 6] = [
    "two_choices",
    "two_choices+cookie",
    "least_connections+cookie",
    "two_choices+cookie+overload:1.25:detour",
    "two_choices+hash:maglev",
    "two_choices+hash",
];

/// Sessions of 20 requests.
#[divan::bench(args = POLICIES, sample_count = 5)]
fn sessions_at_100(bencher: Bencher<'_, '_>, policy: &str) {
    bench(bencher, &plan(100, sessions()), policy);
}

/// The same by cookie, in front of more and fewer backends.
#[divan::bench(args = [3, 10, 1_000, 10_000], sample_count = 5)]
fn sessions_by_cookie(bencher: Bencher<'_, '_>, backends: u32) {
    bench(bencher, &plan(backends, sessions()), "two_choices+cookie");
}

/// Requests that have nothing to do with each other.
#[divan::bench(args = ["random", "two_choices", "least_connections"], sample_count = 5)]
fn requests_at_100(bencher: Bencher<'_, '_>, policy: &str) {
    bench(bencher, &plan(100, Clients::Requests), policy);
}

fn main() {
    divan::main();
}
