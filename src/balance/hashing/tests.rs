//! The quality of the three algorithms, with figures.

use super::*;
use crate::balance::identity::name_hash;
use crate::balance::ready::WEIGHT_ONE;

fn members(weights: &[u32]) -> Vec<Member> {
    let name = |i| name_hash("pool", &format!("app-{i}"));
    let member = |(i, &weight)| Member { name: name(i), weight: weight * WEIGHT_ONE };
    weights.iter().enumerate().map(member).collect()
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|i| key(format!("user-{i}").as_bytes()))
}

/// The owners' names of so many keys.
fn owners(
    algorithm: Algorithm,
    members: &[Member],
    count: u64,
    accepts: &dyn Fn(usize) -> bool,
) -> Vec<u64> {
    let hashing = algorithm.prepare(members);
    keys(count).map(|key| members[hashing.owner(key, accepts).unwrap()].name).collect()
}

/// Keys per member, in the order of members.
fn shares(owners: &[u64], members: &[Member]) -> Vec<f64> {
    let mut counts: std::collections::HashMap<u64, f64> = std::collections::HashMap::new();
    owners.iter().for_each(|&owner| *counts.entry(owner).or_default() += 1.0);
    members.iter().map(|member| counts.get(&member.name).copied().unwrap_or(0.0)).collect()
}

fn peak_to_mean(algorithm: Algorithm, n: usize) -> f64 {
    let members = members(&vec![1; n]);
    let count = (2_000 * n as u64).clamp(100_000, 500_000);
    let shares = shares(&owners(algorithm, &members, count, &|_| true), &members);
    shares.into_iter().fold(0.0, f64::max) * n as f64 / count as f64
}

/// Chance alone makes the busiest of `n` with a mean of `m` keys exceed it by about
/// `sqrt(2 ln(n) / m)` (Raab and Steger 1998): 2 % with ten members here, 17 % with a thousand.
#[test]
fn maglev_is_even_within_a_few_percent_and_the_others_as_published() {
    for (n, rendezvous, ring, maglev) in
        [(10, 1.03, 1.15, 1.03), (100, 1.08, 1.22, 1.09), (1_000, 1.18, 1.40, 1.18)]
    {
        let found = Algorithm::ALL.map(|algorithm| peak_to_mean(algorithm, n));
        println!("{n} members: peak to mean of rendezvous, ring, maglev {found:.3?}");
        let [a, b, c] = found;
        assert!(a < rendezvous && b < ring && c < maglev, "{n} members: {found:?}");
    }
}

/// The table itself, without the chance in the keys: the paper's claim is within 1 % for a hundred
/// places a member or more.
#[test]
fn maglevs_table_is_even_within_one_percent() {
    for n in [10, 100, 600] {
        let members = members(&vec![1; n]);
        let table = Algorithm::Maglev.prepare(&members);
        let size = 65_537u64;
        let mut counts = vec![0u64; n];
        for place in 0..size {
            // The middle of the hashes that fall into this place.
            let hash = ((u128::from(place) << 64) / u128::from(size)) as u64 + (1 << 40);
            counts[table.owner(hash, &|_| true).unwrap()] += 1;
        }
        let peak = *counts.iter().max().unwrap() as f64 * n as f64 / size as f64;
        println!("{n} members: peak to mean of the table {peak:.4}");
        assert!(peak < 1.01, "{n} members: {peak}");
    }
}

#[test]
fn weights_are_respected() {
    for algorithm in Algorithm::ALL {
        let members = members(&[1, 2, 5, 0]);
        let shares = shares(&owners(algorithm, &members, 80_000, &|_| true), &members);
        let tolerance = if algorithm == Algorithm::Ring { 0.15 } else { 0.04 };
        for (share, fair) in shares.iter().zip([10_000.0, 20_000.0, 50_000.0]) {
            assert!((share / fair - 1.0).abs() < tolerance, "{algorithm:?}: {shares:?}");
        }
        assert_eq!(shares[3], 0.0);
    }
}

/// When one of `n` leaves, at least its keys must move, `1/n` of all. Rendezvous and ring move no
/// others; Maglev does, and the paper finds that acceptable for a table of this size.
#[test]
fn few_keys_move_when_a_member_leaves_or_joins() {
    for n in [10, 100, 1_000] {
        let count = (200 * n as u64).clamp(50_000, 200_000);
        let all = members(&vec![1; n]);
        let rest: Vec<Member> = all.iter().copied().filter(|m| *m != all[n / 2]).collect();
        for algorithm in Algorithm::ALL {
            let before = owners(algorithm, &all, count, &|_| true);
            let after = owners(algorithm, &rest, count, &|_| true);
            let pairs = before.iter().zip(&after);
            let moved = pairs.clone().filter(|(b, a)| b != a).count() as f64;
            let lost = before.iter().filter(|&&owner| owner == all[n / 2].name).count() as f64;
            let needless = (moved - lost) / count as f64;
            println!(
                "{n} members, {algorithm:?}: lost 1/{:.1}, needless {needless:.4}",
                count as f64 / lost
            );
            match algorithm {
                Algorithm::Maglev => assert!(needless < 0.03, "{n}: {needless}"),
                _ => assert_eq!(needless, 0.0, "{algorithm:?}, {n}"),
            }
        }
    }
}

/// Out of service is not gone: only the keys of that member move, whatever the algorithm.
#[test]
fn who_is_out_of_service_keeps_its_keys_for_later() {
    for algorithm in Algorithm::ALL {
        for weights in [vec![1; 10], vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            let members = members(&weights);
            let before = owners(algorithm, &members, 20_000, &|_| true);
            let after = owners(algorithm, &members, 20_000, &|i| i != 3);
            let mut heirs = std::collections::HashSet::new();
            for (b, a) in before.iter().zip(&after) {
                assert_ne!(*a, members[3].name);
                if *b == members[3].name {
                    heirs.insert(*a);
                } else {
                    assert_eq!(b, a, "{algorithm:?}");
                }
            }
            assert_eq!(heirs.len(), 9, "{algorithm:?}: all others share what it leaves");
        }
    }
}

#[test]
fn the_order_of_members_does_not_matter() {
    for algorithm in Algorithm::ALL {
        let mut members = members(&[1, 2, 3, 4, 4, 1, 9]);
        let before = owners(algorithm, &members, 10_000, &|_| true);
        members.reverse();
        members.rotate_left(2);
        assert_eq!(before, owners(algorithm, &members, 10_000, &|_| true), "{algorithm:?}");
    }
}

/// Other processes, other machines and later versions must agree: a change of these figures moves
/// everybody's sessions.
#[test]
fn every_process_gives_the_same_answer() {
    let expected = [EXPECTED_RENDEZVOUS, EXPECTED_RING, EXPECTED_MAGLEV];
    for (algorithm, expected) in Algorithm::ALL.into_iter().zip(expected) {
        let members = members(&[1, 1, 2, 1]);
        let hashing = algorithm.prepare(&members);
        let found: Vec<usize> =
            keys(16).map(|key| hashing.owner(key, &|_| true).unwrap()).collect();
        assert_eq!(found, expected, "{algorithm:?}");
    }
}

const EXPECTED_RENDEZVOUS: [usize; 16] = [2, 0, 1, 2, 2, 2, 3, 3, 2, 0, 2, 2, 0, 0, 2, 2];
const EXPECTED_RING: [usize; 16] = [1, 3, 2, 3, 0, 2, 2, 3, 3, 2, 2, 2, 3, 0, 2, 2];
const EXPECTED_MAGLEV: [usize; 16] = [2, 1, 0, 3, 3, 2, 1, 0, 2, 0, 0, 2, 0, 2, 3, 1];

#[test]
fn the_last_one_that_accepts_is_found() {
    for algorithm in Algorithm::ALL {
        let hashing = algorithm.prepare(&members(&[1; 50]));
        for key in keys(50) {
            assert_eq!(hashing.owner(key, &|index| index == 7), Some(7), "{algorithm:?}");
            assert_eq!(hashing.owner(key, &|_| false), None, "{algorithm:?}");
        }
        for none in [&members(&[])[..], &members(&[0, 0])] {
            assert_eq!(algorithm.prepare(none).owner(1, &|_| true), None, "{algorithm:?}");
        }
    }
}
