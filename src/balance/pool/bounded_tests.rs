//! Bounded load, the bound of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded
//! Loads", SODA 2018: with `m` requests in flight, no key brings a backend of fair share `w` above
//! `ceil(c w m)`, however uneven the keys are.

use super::tests::{spec, start};
use super::*;
use crate::balance::affinity::Mode;
use crate::balance::balancer::tests::rng;
use crate::balance::hashing::Algorithm;
use crate::balance::{Cause, Hint, InFlight, Rng};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ring, Algorithm::Maglev, Algorithm::Rendezvous];

fn place(pool: &Pool, key: u64) -> (Placement, InFlight) {
    let ask = Ask { hint: Hint::Key(key), tried: &[], since: start(), let_go: None };
    match pool.place(&ask, start(), &mut rng(1)) {
        Ok(Decision::Place(placement, in_flight)) => (placement, in_flight),
        other => panic!("not placed: {other:?}"),
    }
}

/// Keeps some 20 requests a backend in flight, half of them of a few heavy keys. Gives how many did
/// not get their home for its load.
fn detours(algorithm: Algorithm, percent: u32, seed: u64) -> u32 {
    let mut rng = rng(seed);
    let size = 2 + rng.next_u64() % 30;
    let weights: Vec<u32> = (0..size).map(|_| 1 + (rng.next_u64() % 4) as u32).collect();
    let mut spec = spec(Mode::Hash(algorithm), &weights);
    spec.affinity.max_load = Some(percent as f32 / 100.0);
    let pool = Pool::new(&spec, 0);
    let whole: u32 = weights.iter().sum();
    let mut busy: Vec<InFlight> = Vec::new();
    let mut detours = 0;
    for _ in 0..100 * size {
        if busy.len() as u64 >= 20 * size || rng.next_u64().is_multiple_of(3) && !busy.is_empty() {
            let done = rng.next_u64() as usize % busy.len();
            busy.swap_remove(done);
        }
        let heavy = rng.next_u64() % 8;
        let key = if rng.next_u64().is_multiple_of(2) { heavy } else { rng.next_u64() };
        let (placement, in_flight) = place(&pool, key);
        busy.push(in_flight);
        let backend = &placement.backend;
        let bound = (percent * backend.weight() * busy.len() as u32).div_ceil(100 * whole).max(1);
        let load = backend.in_flight();
        assert!(
            load <= bound,
            "{algorithm:?}, c = {percent} %, seed {seed}: {load} of {} in flight at {}, weight {} of {whole}",
            busy.len(),
            backend.name(),
            backend.weight(),
        );
        detours += u32::from(placement.cause == Cause::Detoured(Reason::Overloaded));
    }
    detours
}

#[test]
fn no_key_brings_a_backend_above_its_bound() {
    for algorithm in ALGORITHMS {
        for percent in [110, 125, 200] {
            let detours: u32 = (0..10).map(|seed| detours(algorithm, percent, seed)).sum();
            assert!(detours > 0, "the heavy keys never met the bound, so nothing was tried");
        }
    }
}

#[test]
fn a_bound_that_is_a_whole_number_is_not_rounded_up() {
    let mut spec = spec(Mode::Hash(Algorithm::Rendezvous), &[1; 20]);
    spec.affinity.max_load = Some(1.5);
    let pool = Pool::new(&spec, 0);
    let busy: Vec<_> = (0..199).map(|_| place(&pool, 7)).collect();
    // With the next one 1.5 * 200 / 20, which is 15, and 15.000000223 in 32 bits.
    assert_eq!(busy[0].0.backend.bound(1.5), 15);
}
