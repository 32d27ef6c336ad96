use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::balance::load::{Blocks, Shared, World};
use crate::balance::ready::WEIGHT_ONE;
use crate::balance::{Backend, BackendId, BackendSpec, Cause, InFlight, Timestamp};

pub(in crate::balance) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Backends of the given weights, with names in order.
pub(in crate::balance) fn backends(weights: &[u32]) -> Vec<Arc<Backend>> {
    limited(&weights.iter().map(|&weight| (weight, None)).collect::<Vec<_>>())
}

/// Backends of the given weights and limits.
pub(in crate::balance) fn limited(specs: &[(u32, Option<u32>)]) -> Vec<Arc<Backend>> {
    let mut blocks = Blocks::default();
    let shared = Shared::new(false, None);
    let mut backend = |(i, &(weight, max_connections)): (usize, &(u32, Option<u32>))| {
        let spec = BackendSpec::new(format!("b{i:04}"), "127.0.0.1:1".parse().unwrap());
        let spec = BackendSpec { weight, max_connections, ..spec };
        Arc::new(Backend::new("p", &spec, blocks.take(), &shared))
    };
    specs.iter().enumerate().map(&mut backend).collect()
}

/// All of these backends, ready, with their configured weights.
pub(in crate::balance) fn ready(backends: &[Arc<Backend>]) -> Ready {
    let weighted = backends.iter().map(|b| (b.clone(), b.weight() * WEIGHT_ONE));
    Ready::new(weighted.collect(), World::Real)
}

pub(in crate::balance) fn candidates<'a>(
    ready: &'a Ready,
    tried: &'a [BackendId],
) -> Candidates<'a> {
    Candidates { ready, tried, now: Timestamp::ZERO }
}

/// Holds `n` requests in flight on a backend.
pub(in crate::balance) fn occupy(backend: &Arc<Backend>, n: usize) -> Vec<InFlight> {
    (0..n).map(|_| backend.start(Cause::Free).unwrap()).collect()
}

/// How often each backend is picked in `picks` picks.
pub(in crate::balance) fn histogram(balance: Balance, ready: &Ready, picks: usize) -> Vec<usize> {
    let balancer = balance.prepare(ready, &Arc::default());
    let mut rng = rng(7);
    let mut counts = vec![0; ready.len()];
    for _ in 0..picks {
        counts[balancer.pick(&candidates(ready, &[]), &mut rng).unwrap()] += 1;
    }
    counts
}

#[test]
fn every_balancer_respects_what_was_tried_and_says_when_nothing_is_left() {
    let backends = backends(&[1, 2, 3]);
    let ready = ready(&backends);
    for balance in Balance::ALL {
        let balancer = balance.prepare(&ready, &Arc::default());
        let mut rng = rng(1);
        let mut tried = vec![backends[2].id()];
        let mut seen = [false; 3];
        for _ in 0..100 {
            let pick = balancer.pick(&candidates(&ready, &tried), &mut rng).unwrap();
            seen[pick] = true;
        }
        assert_eq!(seen, [true, true, false], "{balance:?}");
        tried.extend([backends[0].id(), backends[1].id()]);
        let all_tried = candidates(&ready, &tried);
        assert_eq!(balancer.pick(&all_tried, &mut rng), None, "{balance:?}");
        let nobody = Ready::new(Vec::new(), World::Real);
        let empty = balance.prepare(&nobody, &Arc::default());
        assert_eq!(empty.pick(&candidates(&nobody, &[]), &mut rng), None, "{balance:?}");
    }
}

#[test]
fn every_balancer_respects_limits() {
    let backends = limited(&[(1, Some(1)), (1, Some(3)), (5, None)]);
    let ready = ready(&backends);
    for balance in Balance::ALL {
        let balancer = balance.prepare(&ready, &Arc::default());
        let mut rng = rng(1);
        let mut guards = occupy(&backends[0], 1);
        for _ in 0..100 {
            let pick = balancer.pick(&candidates(&ready, &[]), &mut rng);
            assert!(matches!(pick, Some(1 | 2)), "{balance:?}: {pick:?}");
        }
        guards.extend(occupy(&backends[1], 3));
        for _ in 0..100 {
            assert_eq!(balancer.pick(&candidates(&ready, &[]), &mut rng), Some(2), "{balance:?}");
        }
    }
}

#[test]
fn below_covers_its_range_evenly() {
    let mut rng = rng(3);
    let mut counts = [0u32; 7];
    for _ in 0..70_000 {
        counts[below(&mut rng, 7) as usize] += 1;
    }
    assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
}
