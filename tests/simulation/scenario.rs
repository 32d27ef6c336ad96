//! A pool, its policy and its traffic, drawn from a seed.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use stickler::balance::affinity::{
    AffinitySpec, Afterwards, Establish, Mode, Overload, OverloadAction, Rebalance, WhenUnavailable,
};
use stickler::balance::balancer::Balance;
use stickler::balance::hashing::Algorithm;
use stickler::balance::outlier::Ejection;
use stickler::balance::queue::QueueSpec;
use stickler::balance::unstick::Unstick;
use stickler::balance::{BackendSpec, DrainPolicy, PoolSpec};

/// One seed's world, before it begins to turn.
#[derive(Debug)]
pub struct Scenario {
    pub spec: PoolSpec,
    pub clients: usize,
    /// Mean milliseconds between two arrivals.
    pub arrivals: u64,
    /// Mean milliseconds of an answer.
    pub service: u64,
    /// Mean milliseconds between two mishaps.
    pub mishaps: u64,
    /// How many connections fail where all is well, and at a backend that is sick.
    pub refusals: (f64, f64),
    /// Clients that leave before the end.
    pub leavers: f64,
    /// Backends that a request tries at most.
    pub attempts: usize,
}

impl Scenario {
    pub fn new(seed: u64) -> (Self, StdRng) {
        let mut rng = StdRng::seed_from_u64(seed);
        let r = &mut rng;
        let count = match r.random_range(0..40) {
            0 => 200,
            1..10 => r.random_range(1..3),
            _ => r.random_range(2..21),
        };
        let limited = *[0.0, 0.0, 0.3, 1.0, 1.0].choose(r).unwrap();
        let backends = (0..count).map(|i| backend(i, limited, r)).collect();
        let spec = PoolSpec {
            balance: *Balance::ALL.choose(r).unwrap(),
            affinity: affinity(r),
            ejection: r.random_bool(0.6).then(|| Ejection {
                failures: r.random_range(1..4),
                duration: millis(r, 50, 3_000),
            }),
            queue: QueueSpec {
                length: *[0, 1, 2, 5, 128].choose(r).unwrap(),
                timeout: millis(r, 20, 3_000),
            },
            slow_start: r.random_bool(0.2).then(|| millis(r, 100, 5_000)),
            drain: drain(r),
            ..PoolSpec::new("pool", backends)
        };
        let busy = r.random_range(1..60);
        let scenario = Scenario {
            spec,
            clients: r.random_range(1..60),
            arrivals: busy,
            service: r.random_range(5..(busy * 12).max(20)),
            mishaps: r.random_range(60..900),
            refusals: (*[0.0, 0.0, 0.02].choose(r).unwrap(), *[0.3, 1.0].choose(r).unwrap()),
            leavers: *[0.0, 0.05, 0.3].choose(r).unwrap(),
            attempts: r.random_range(1..5),
        };
        (scenario, rng)
    }
}

/// A backend that is named by its number. `limited` is the probability that it has a limit.
pub fn backend(number: usize, limited: f64, rng: &mut StdRng) -> BackendSpec {
    let address = format!("10.0.0.{}:80", number % 250 + 1).parse().unwrap();
    let mut spec = BackendSpec::new(format!("b{number}"), address);
    spec.weight = match rng.random_range(0..10) {
        0 => 0,
        1..7 => 1,
        _ => rng.random_range(1..6),
    };
    spec.priority = u32::from(rng.random_bool(0.15));
    spec.max_connections = rng.random_bool(limited).then(|| rng.random_range(1..5));
    spec
}

fn affinity(rng: &mut StdRng) -> AffinitySpec {
    let mode = match rng.random_range(0..20) {
        0 | 1 => Mode::None,
        2..12 => Mode::Cookie,
        12..16 => Mode::Hash(Algorithm::Rendezvous),
        16..19 => Mode::Hash(Algorithm::Ring),
        _ => Mode::Hash(Algorithm::Maglev),
    };
    let then =
        *[Afterwards::Rebalance, Afterwards::Detour, Afterwards::Reject].choose(rng).unwrap();
    let when_unavailable = match rng.random_range(0..6) {
        0 | 1 => WhenUnavailable::Rebalance,
        2 => WhenUnavailable::Detour,
        3 => WhenUnavailable::Reject,
        _ => WhenUnavailable::Wait { up_to: millis(rng, 10, 2_000), then },
    };
    let actions = [OverloadAction::Detour, OverloadAction::Rebalance, OverloadAction::Queue];
    let action = *actions.choose(rng).unwrap();
    let factor = *[1.05, 1.25, 2.0].choose(rng).unwrap();
    let overload =
        (mode == Mode::Cookie && rng.random_bool(0.4)).then_some(Overload { factor, action });
    let max_load = (matches!(mode, Mode::Hash(_)) && rng.random_bool(0.3)).then_some(factor);
    AffinitySpec {
        mode,
        when_unavailable,
        overload,
        max_load,
        rebalance: (mode == Mode::Cookie && rng.random_bool(0.3)).then(|| Rebalance {
            moves_per_second: NonZeroU32::new(rng.random_range(1..30)).unwrap(),
            margin: *[0.0, 0.1, 0.5].choose(rng).unwrap(),
            idle_for: millis(rng, 1, 1_000),
        }),
        unstick: (mode != Mode::None && rng.random_bool(0.25))
            .then(|| Unstick::new(*[5.0, 30.0, 100.0].choose(rng).unwrap(), "pool")),
        establish: *[Establish::Always, Establish::Always, Establish::OnDemand]
            .choose(rng)
            .unwrap(),
        coalesce: rng.random_bool(0.3).then(|| millis(rng, 1, 3_000)),
        idle_timeout: millis(rng, 500, 20_000),
        absolute_timeout: millis(rng, 2_000, 60_000),
        max_sessions: *[3, 1_000_000, 1_000_000, 1_000_000].choose(rng).unwrap(),
    }
}

/// How somebody wants a backend to drain.
pub fn drain(rng: &mut StdRng) -> DrainPolicy {
    DrainPolicy {
        deadline: rng.random_bool(0.6).then(|| millis(rng, 1, 6_000)),
        move_idle_after: rng.random_bool(0.5).then(|| millis(rng, 10, 3_000)),
        moves_per_second: rng
            .random_bool(0.5)
            .then(|| NonZeroU32::new(rng.random_range(1..60)).unwrap()),
    }
}

fn millis(rng: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.random_range(least..=most))
}
