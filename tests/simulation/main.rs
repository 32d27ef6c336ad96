//! The whole core, simulated: random traffic and random trouble on virtual time.
//!
//! Every seed is another pool with another policy, other clients and other mishaps. The
//! [`world`] drives the pool through its public functions and keeps a [`shadow`] of what must be
//! true; after every step the two are compared, and every decision is held against the
//! [`rules`]. The same seed gives the same run, to the letter of its log.
//!
//! `STICKLER_SEED=7 cargo test --test simulation` replays one seed and prints its log;
//! `STICKLER_SEEDS=20000` runs as many.

#![allow(missing_docs, reason = "tests are read, not called")]
#![allow(unreachable_pub, reason = "modules are public to every file of this binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a replay shows its log")]

mod drains;
mod events;
mod journal;
mod mishaps;
mod request;
mod rules;
mod scenario;
mod sessions;
mod shadow;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use journal::Journal;
use world::World;

/// Seeds that a plain `cargo test` runs.
const SEEDS: u64 = 300;

/// Events of a run, before the world becomes quiet.
const STEPS: usize = 400;

/// Failing seeds to tell about; more say little more.
const ENOUGH: usize = 8;

/// Runs one seed. The error is a whole story: what, how it came to that, how to see it again.
fn run(seed: u64, steps: usize, journal: &mut Journal) -> Result<(), String> {
    let run = AssertUnwindSafe(|| World::new(seed, journal).run(steps, journal));
    let result = catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    });
    result.map_err(|what| {
        format!(
            "seed {seed}: {what}\n  replay: STICKLER_SEED={seed} cargo test --test simulation\n{}",
            journal.tail()
        )
    })
}

#[expect(clippy::disallowed_methods, reason = "a test is told by its environment what to replay")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn whatever_happens_the_counts_are_right_and_nobody_moves_without_a_reason() {
    let one = number("STICKLER_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("STICKLER_SEEDS").unwrap_or(SEEDS),
    };
    let mut stories = Vec::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds {
        let mut journal = Journal::new(one.is_some());
        let result = run(seed, STEPS, &mut journal);
        for (what, count) in journal.seen() {
            *seen.entry(what.clone()).or_default() += count;
        }
        stories.extend(result.err());
        if stories.len() >= ENOUGH {
            break;
        }
    }
    println!("seen: {seen:#?}");
    assert!(stories.is_empty(), "\n{}", stories.join("\n"));
    if one.is_none() {
        // A sweep that never sees a queue or an ejection proves nothing about them.
        for what in journal::NOTABLE {
            assert!(seen.contains_key(what), "no seed ever saw {what:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let log = |seed| {
        let mut journal = Journal::new(false);
        run(seed, STEPS, &mut journal).unwrap_or_else(|story| panic!("{story}"));
        (journal.lines(), journal.hash())
    };
    for seed in 0..20 {
        let (first, again) = (log(seed), log(seed));
        assert_eq!(first, again, "seed {seed}: two runs, two logs");
        assert!(first.0 >= STEPS, "seed {seed}: only {} lines", first.0);
    }
    assert_ne!(log(1).1, log(2).1);
}
