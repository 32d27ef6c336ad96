//! What a decision costs: placing a request, sealing and opening a token, finding our cookie,
//! matching a route.
//!
//! `cargo bench --bench place`, or with a filter: `cargo bench --bench place -- place`.
//! Budgets (DESIGN, section 8): 150 ns a placement at 10 backends, 1 us at 1,000, by any policy.

#![allow(missing_docs, reason = "benches are run, not called")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use http::Method;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stickler::balance::affinity::{AffinitySpec, Key, Keyring, Mode, Overload, OverloadAction};
use stickler::balance::balancer::Balance;
use stickler::balance::hashing::{self, Algorithm};
use stickler::balance::{
    Ask, BackendSpec, Binding, Decision, Grant, Hint, InFlight, Placement, Pool, PoolSpec,
    Timestamp,
};
use stickler::http::cookies::CookieName;
use stickler::routing::{PathMatch, Rule, Table};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const SIZES: [usize; 3] = [10, 100, 1_000];
const THREADS: [usize; 2] = [1, 2];

/// What the pools of a bench differ in.
#[derive(Clone, Copy)]
struct Policy {
    balance: Balance,
    mode: Mode,
    limit: Option<u32>,
    weights: fn(usize) -> u32,
    overload: Option<Overload>,
    max_load: Option<f32>,
    measures_cost: bool,
}

const PLAIN: Policy = Policy {
    balance: Balance::TwoChoices,
    mode: Mode::None,
    limit: None,
    weights: |_| 1,
    overload: None,
    max_load: None,
    measures_cost: false,
};

/// A pool with some load: as many requests in flight as backends, placed by its own policy, which
/// go on for ever.
fn pool(size: usize, policy: Policy) -> Arc<Pool> {
    let backend = |i: usize| {
        let spec = BackendSpec::new(format!("app-{i}"), "127.0.0.1:1".parse().unwrap());
        BackendSpec { weight: (policy.weights)(i), max_connections: policy.limit, ..spec }
    };
    let spec = PoolSpec {
        balance: policy.balance,
        affinity: AffinitySpec {
            mode: policy.mode,
            overload: policy.overload,
            max_load: policy.max_load,
            ..AffinitySpec::default()
        },
        measures_cost: policy.measures_cost,
        ..PoolSpec::new("bench", (0..size).map(backend).collect())
    };
    let pool = Arc::new(Pool::new(&spec, 1));
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..size {
        std::mem::forget(place(&pool, Hint::Free, &mut rng));
    }
    pool
}

fn place(pool: &Pool, hint: Hint, rng: &mut StdRng) -> (Placement, InFlight) {
    match pool.place(&Ask { hint, tried: &[], since: NOW, let_go: None }, NOW, rng).unwrap() {
        Decision::Place(placement, in_flight) => (placement, in_flight),
        Decision::Wait(_) => panic!("there is room"),
    }
}

thread_local! {
    /// The generator of the proxy's workers.
    static RNG: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(2));
}

/// Places a request with one hint after the other; each ends at once.
fn bench_place(bencher: Bencher<'_, '_>, pool: &Pool, hints: &[Hint]) {
    let turn = AtomicUsize::new(0);
    bencher.counter(ItemsCount::new(1usize)).bench(|| {
        let hint = hints[turn.load(Ordering::Relaxed) % hints.len()];
        if hints.len() > 1 {
            turn.fetch_add(1, Ordering::Relaxed);
        }
        RNG.with_borrow_mut(|rng| drop(black_box(place(pool, hint, rng))))
    });
}

/// So many hash keys.
fn keys() -> Vec<Hint> {
    (0u64..1_024).map(|i| Hint::Key(hashing::key(&i.to_le_bytes()))).collect()
}

/// A pool with cookie affinity, and a session bound somewhere in it.
fn session(size: usize, policy: Policy) -> (Arc<Pool>, Hint) {
    let pool = pool(size, Policy { mode: Mode::Cookie, ..policy });
    let mut rng = StdRng::seed_from_u64(3);
    let (placement, _) = place(&pool, Hint::Free, &mut rng);
    match pool.bind(&Hint::Free, &placement, None, NOW, &mut rng) {
        Binding::Issue(grant) => (pool, Hint::Bound(grant)),
        Binding::Keep | Binding::Revoke => panic!("a new session gets a token"),
    }
}

/// A request that is free to go anywhere, placed by each balancer.
mod balancers {
    use super::*;

    fn bench(bencher: Bencher<'_, '_>, size: usize, policy: Policy) {
        bench_place(bencher, &pool(size, policy), &[Hint::Free]);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn two_choices(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, PLAIN);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn two_choices_weighted_and_limited(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Policy { weights: |i| 1 + i as u32 % 7, limit: Some(1_000), ..PLAIN });
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn least_connections(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Policy { balance: Balance::LeastConnections, ..PLAIN });
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn least_connections_weighted(bencher: Bencher<'_, '_>, size: usize) {
        let weights = |i| 1 + i as u32 % 7;
        bench(bencher, size, Policy { balance: Balance::LeastConnections, weights, ..PLAIN });
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn round_robin(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Policy { balance: Balance::RoundRobin, ..PLAIN });
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn random(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Policy { balance: Balance::Random, ..PLAIN });
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn peak_ewma(bencher: Bencher<'_, '_>, size: usize) {
        let pool = pool(size, Policy { balance: Balance::PeakEwma, ..PLAIN });
        let mut rng = StdRng::seed_from_u64(4);
        for _ in 0..4 * size {
            let (_, in_flight) = place(&pool, Hint::Free, &mut rng);
            in_flight.answered(Duration::from_millis(5), NOW);
        }
        bench_place(bencher, &pool, &[Hint::Free]);
    }
}

/// What measuring the cost of stickiness costs: the same placement with and without the
/// even-distribution shadow. Budget (issue 5): 100 ns a request.
mod shadow {
    use super::*;

    const SHADOWED: Policy = Policy { measures_cost: true, ..PLAIN };

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn free_without(bencher: Bencher<'_, '_>, size: usize) {
        bench_place(bencher, &pool(size, PLAIN), &[Hint::Free]);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn free_with(bencher: Bencher<'_, '_>, size: usize) {
        bench_place(bencher, &pool(size, SHADOWED), &[Hint::Free]);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn bound_without(bencher: Bencher<'_, '_>, size: usize) {
        let (pool, hint) = session(size, PLAIN);
        bench_place(bencher, &pool, &[hint]);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn bound_with(bencher: Bencher<'_, '_>, size: usize) {
        let (pool, hint) = session(size, SHADOWED);
        bench_place(bencher, &pool, &[hint]);
    }

    /// Once a second, for all of a pool.
    #[divan::bench(args = SIZES)]
    fn read(bencher: Bencher<'_, '_>, size: usize) {
        let pool = pool(size, SHADOWED);
        let mut meter = stickler::balance::cost::Meter::default();
        let mut now = NOW;
        bencher.bench_local(|| {
            now = now + Duration::from_secs(1);
            meter.read(pool.readings(), now);
        });
    }
}

/// A request that carries a token.
mod cookie {
    use super::*;

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn bound(bencher: Bencher<'_, '_>, size: usize) {
        let (pool, hint) = session(size, PLAIN);
        bench_place(bencher, &pool, &[hint]);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn bound_with_overload_bound(bencher: Bencher<'_, '_>, size: usize) {
        let overload = Some(Overload { factor: 100.0, action: OverloadAction::Detour });
        let (pool, hint) = session(size, Policy { overload, ..PLAIN });
        bench_place(bencher, &pool, &[hint]);
    }

    #[divan::bench(args = SIZES)]
    fn bind(bencher: Bencher<'_, '_>, size: usize) {
        let (pool, hint) = session(size, PLAIN);
        let mut rng = StdRng::seed_from_u64(5);
        let (placement, _) = place(&pool, hint, &mut rng);
        bencher.bench_local(|| pool.bind(&hint, black_box(&placement), None, NOW, &mut rng));
    }
}

/// A request that carries a key, by each algorithm.
mod hash {
    use super::*;

    fn bench(bencher: Bencher<'_, '_>, size: usize, algorithm: Algorithm, max_load: Option<f32>) {
        let policy = Policy { mode: Mode::Hash(algorithm), max_load, ..PLAIN };
        bench_place(bencher, &pool(size, policy), &keys());
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn rendezvous(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Algorithm::Rendezvous, None);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn ring(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Algorithm::Ring, None);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn maglev(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Algorithm::Maglev, None);
    }

    #[divan::bench(args = SIZES, threads = THREADS)]
    fn maglev_with_bounded_load(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, size, Algorithm::Maglev, Some(1.25));
    }

    /// Building the tables: what a change of membership costs.
    #[divan::bench(args = SIZES, consts = [0, 1, 2])]
    fn build<const ALGORITHM: usize>(bencher: Bencher<'_, '_>, size: usize) {
        let names = (0..size).map(|i| hashing::key(&i.to_le_bytes()));
        let members: Vec<_> = names.map(|name| hashing::Member { name, weight: 1_000 }).collect();
        bencher.bench(|| Algorithm::ALL[ALGORITHM].prepare(black_box(&members)));
    }
}

/// The token.
mod token {
    use super::*;

    fn grant() -> Grant {
        match session(10, PLAIN).1 {
            Hint::Bound(grant) => grant,
            hint => panic!("{hint:?}"),
        }
    }

    #[divan::bench]
    fn seal(bencher: Bencher<'_, '_>) {
        let mut rng = StdRng::seed_from_u64(6);
        let keyring = Keyring::new(&[Key::random(&mut rng)]);
        let grant = grant();
        bencher.bench_local(|| keyring.seal("shop", black_box(&grant), &mut rng));
    }

    #[divan::bench]
    fn open(bencher: Bencher<'_, '_>) {
        let mut rng = StdRng::seed_from_u64(6);
        let keyring = Keyring::new(&[Key::random(&mut rng)]);
        let token = keyring.seal("shop", &grant(), &mut rng);
        bencher.bench_local(|| keyring.open("shop", black_box(&token)));
    }
}

/// Finding our cookie among ten others.
#[divan::bench]
fn cookie_scan(bencher: Bencher<'_, '_>) {
    let others: String = (0..10).map(|i| format!("cookie-{i}=some-value-{i}; ")).collect();
    let line = format!("{others}stickler={}", "A".repeat(98));
    let name = CookieName::new("stickler");
    bencher.bench_local(|| {
        let lines = [black_box(line.as_bytes())].into_iter();
        name.values(lines).next().map(<[u8]>::len)
    });
}

/// Finding the route among so many hosts, each with two paths.
#[divan::bench(args = [1, 100, 1_000])]
fn route_match(bencher: Bencher<'_, '_>, routes: usize) {
    let rule = |i: usize| {
        let host = format!("shop-{}.example.com", i / 2).parse().unwrap();
        let path = PathMatch::prefix(if i.is_multiple_of(2) { "/" } else { "/api" }).unwrap();
        (Rule { host, path, ..Rule::default() }, i)
    };
    let table = Table::new((0..routes).map(rule));
    let host = format!("shop-{}.example.com", (routes - 1) / 2);
    bencher.bench_local(|| {
        let (host, path) = (black_box(&host), black_box("/cart/items"));
        table.find(host, path, &Method::GET, |_, _| false).copied()
    });
}

fn main() {
    divan::main();
}
