//! Sessions that are pinned, released, evened out, or begin in a burst.

use std::num::NonZeroU32;
use std::time::Duration;

use super::tests::{MINUTE, id, open_session, sessions, spec, start, try_place};
use super::*;
use crate::balance::affinity::{Establish, Mode, Rebalance};
use crate::balance::balancer::tests::rng;
use crate::balance::hashing::Algorithm;
use crate::balance::{Binding, Cause, Grant, Hint, Rng, Wish};

const SECOND: Duration = Duration::from_secs(1);

/// A request and its answer.
fn ask(
    pool: &Pool,
    hint: Hint,
    wish: Option<Wish>,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> (Placement, Binding) {
    let placement = try_place(pool, hint, &[], now, rng).unwrap();
    let binding = pool.bind(&hint, &placement, wish, now, rng);
    (placement, binding)
}

#[track_caller]
fn issued(binding: Binding) -> Grant {
    match binding {
        Binding::Issue(grant) => grant,
        other => panic!("no token: {other:?}"),
    }
}

#[test]
fn on_demand_a_session_begins_when_the_app_says_so() {
    let mut spec = spec(Mode::Cookie, &[1, 1]);
    spec.affinity.establish = Establish::OnDemand;
    let (pool, mut rng) = (Pool::new(&spec, 0), rng(1));
    let mut ask = |hint, wish, now| ask(&pool, hint, wish, now, &mut rng);
    for name in ["b0", "b1", "b0"] {
        let (placement, binding) = ask(Hint::Free, None, start());
        assert_eq!((placement.backend.name(), placement.cause), (name, Cause::Free));
        assert_eq!(binding, Binding::Keep);
    }
    assert_eq!(sessions(&pool), [0, 0]);
    let (_, binding) = ask(Hint::Free, Some(Wish::Pin), start());
    let hint = Hint::Bound(issued(binding));
    assert_eq!(sessions(&pool), [0, 1]);
    let (placement, binding) = ask(hint, Some(Wish::Pin), start());
    assert_eq!((placement.cause, binding), (Cause::Bound, Binding::Keep), "it is already");
    let (placement, binding) = ask(hint, None, start() + 60 * MINUTE);
    assert_eq!((placement.cause, binding), (Cause::Free, Binding::Revoke), "over, and free again");
    assert_eq!(pool.count_of(Reason::Expired), 1);
}

#[test]
fn the_app_ends_a_session() {
    let (pool, mut rng) = (Pool::new(&spec(Mode::Cookie, &[1, 1]), 0), rng(1));
    let hint = Hint::Bound(open_session(&pool, &mut rng));
    let (_, binding) = ask(&pool, hint, Some(Wish::Release), start(), &mut rng);
    assert_eq!((binding, sessions(&pool)), (Binding::Revoke, vec![0, 0]));
    assert_eq!(pool.count_of(Reason::Released), 1);
    let (_, binding) = ask(&pool, Hint::Free, Some(Wish::Release), start(), &mut rng);
    assert_eq!((binding, pool.ledger().len()), (Binding::Keep, 0), "nothing begins with its end");

    let keyed = Pool::new(&spec_of_keys(), 0);
    ask(&keyed, Hint::Key(7), None, start(), &mut rng);
    ask(&keyed, Hint::Key(7), Some(Wish::Release), start(), &mut rng);
    assert_eq!((keyed.ledger().len(), keyed.count_of(Reason::Released)), (0, 1));
}

fn spec_of_keys() -> PoolSpec {
    spec(Mode::Hash(Algorithm::Rendezvous), &[1, 1])
}

#[test]
fn a_session_that_an_operator_releases_is_placed_anew_and_its_old_token_is_worth_nothing() {
    let (pool, mut rng) = (Pool::new(&spec(Mode::Cookie, &[1, 1]), 0), rng(1));
    let old = open_session(&pool, &mut rng);
    let now = start() + SECOND;
    assert_eq!(pool.release(old.session, start() + SECOND / 2), Some(id("b0")));
    assert_eq!(sessions(&pool), [0, 0]);
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Released };
    let (placement, binding) = ask(&pool, Hint::Bound(old), None, now, &mut rng);
    assert_eq!(placement.cause, moved);
    let new = issued(binding);
    assert_eq!((new.session, new.backend), (old.session, id("b1")));
    // Another request was on its way with the old one.
    let (placement, binding) = ask(&pool, Hint::Bound(old), None, now, &mut rng);
    assert_eq!((placement.backend.name(), placement.cause), ("b1", Cause::Bound));
    assert_eq!(issued(binding).backend, id("b1"));
    assert_eq!((sessions(&pool), pool.count_of(Reason::Released)), (vec![0, 1], 1));
    let later = now + SECOND;
    assert_eq!(ask(&pool, Hint::Bound(new), None, later, &mut rng).0.cause, Cause::Bound);
}

#[test]
fn all_sessions_of_a_backend_are_released_known_or_not_and_new_ones_are_not_meant() {
    let (pool, mut rng) = (Pool::new(&spec(Mode::Cookie, &[1, 1]), 0), rng(1));
    let grants = [(); 4].map(|()| open_session(&pool, &mut rng));
    pool.ledger().end(grants[0].session);
    assert_eq!(pool.release_all(id("b0"), start() + SECOND), 1);
    let now = start() + 2 * SECOND;
    let mut cause = |grant| ask(&pool, Hint::Bound(grant), None, now, &mut rng).0.cause;
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Released };
    assert_eq!(grants.map(&mut cause), [moved, Cause::Bound, moved, Cause::Bound]);
    assert_eq!(sessions(&pool), [0, 4]);
    let at_b0 = Grant { backend: id("b0"), refreshed: now, ..grants[0] };
    assert_eq!(cause(at_b0), Cause::Bound, "a token from after that");
}

#[test]
fn who_has_nowhere_else_to_go_stays_when_released() {
    let (pool, mut rng) = (Pool::new(&spec(Mode::Cookie, &[1, 1]), 0), rng(1));
    let old = open_session(&pool, &mut rng);
    pool.set(id("b1"), Condition::Down, true, start());
    pool.drain(id("b0"), DrainPolicy::default(), true, start()).unwrap();
    pool.release(old.session, start());
    let now = start() + SECOND;
    let (placement, binding) = ask(&pool, Hint::Bound(old), None, now, &mut rng);
    assert_eq!((placement.backend.name(), placement.cause), ("b0", Cause::Bound));
    assert_eq!(issued(binding).refreshed, now);
}

fn rebalancing() -> Pool {
    let mut spec = spec(Mode::Cookie, &[1]);
    spec.affinity.rebalance = Some(Rebalance {
        moves_per_second: NonZeroU32::new(2).unwrap(),
        margin: 0.1,
        idle_for: 30 * SECOND,
    });
    Pool::new(&spec, 0)
}

#[test]
fn after_a_scale_out_idle_sessions_even_out_at_a_pace_and_no_further() {
    let (pool, mut rng) = (rebalancing(), rng(1));
    let mut grants: Vec<_> = (0..100).map(|_| open_session(&pool, &mut rng)).collect();
    let more = spec(Mode::Cookie, &[1, 1]).backends;
    pool.set_backends(&more, start());
    let mut moves = Vec::new();
    for second in 0..600u32 {
        let now = start() + second * SECOND;
        // Each comes once in 100 seconds, but for ten that are never idle.
        for (n, grant) in grants.iter_mut().enumerate() {
            if n >= 10 && (n as u32) != second % 100 {
                continue;
            }
            let (placement, binding) = ask(&pool, Hint::Bound(*grant), None, now, &mut rng);
            if let Cause::Moved { reason, .. } = placement.cause {
                assert_eq!(reason, Reason::Rebalanced);
                assert!(n >= 10, "it has not paused");
                moves.push(second);
            }
            if let Binding::Issue(new) = binding {
                *grant = new;
            }
        }
    }
    // 45 moves bring it to 55 and 45: that is 1.1 times the fair share.
    assert_eq!((moves.len(), sessions(&pool)), (45, vec![55, 45]));
    assert!(moves.windows(3).all(|three| three[2] > three[0]), "two a second: {moves:?}");
    assert_eq!(pool.count_of(Reason::Rebalanced), 45);
}

#[test]
fn nobody_is_evened_out_by_default() {
    let (pool, mut rng) = (Pool::new(&spec(Mode::Cookie, &[1]), 0), rng(1));
    let grants: Vec<_> = (0..20).map(|_| open_session(&pool, &mut rng)).collect();
    pool.set_backends(&spec(Mode::Cookie, &[1, 1]).backends, start());
    for grant in grants {
        let now = start() + 10 * MINUTE;
        assert_eq!(ask(&pool, Hint::Bound(grant), None, now, &mut rng).0.cause, Cause::Bound);
    }
}

#[test]
fn the_first_requests_of_a_client_are_one_session() {
    let mut spec = spec(Mode::Cookie, &[1, 1, 1]);
    spec.affinity.coalesce = Some(2 * SECOND);
    let (pool, mut rng) = (Pool::new(&spec, 0), rng(1));
    let mut ask = |client, now| {
        let (placement, binding) = ask(&pool, Hint::First(client), None, now, &mut rng);
        assert_eq!(placement.cause, Cause::New);
        issued(binding)
    };
    let first = ask(1, start());
    for _ in 0..5 {
        assert_eq!(
            ask(1, start() + SECOND),
            Grant { issued: start() + SECOND, refreshed: start() + SECOND, ..first }
        );
    }
    let other = ask(2, start() + SECOND);
    assert_ne!((other.session, other.backend), (first.session, first.backend));
    assert_eq!(pool.ledger().len(), 2);
    pool.set(first.backend, Condition::Down, true, start() + SECOND);
    let elsewhere = ask(1, start() + SECOND);
    assert_ne!((elsewhere.session, elsewhere.backend), (first.session, first.backend));
    assert_eq!(ask(1, start() + SECOND).session, elsewhere.session, "and from then on there");
    pool.tick(start() + 4 * SECOND);
    assert_ne!(ask(1, start() + 4 * SECOND).session, elsewhere.session, "long ago");
}

#[test]
fn requests_sent_together_follow_the_first_that_moves_away_from_a_dead_home() {
    let (pool, mut rng) = (Pool::new(&spec(Mode::Cookie, &[1, 1, 1, 1]), 0), rng(1));
    let old = open_session(&pool, &mut rng);
    pool.set(id("b0"), Condition::Down, true, start());
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Down };
    let (first, _) = ask(&pool, Hint::Bound(old), None, start() + SECOND, &mut rng);
    assert_eq!(first.cause, moved);
    for _ in 0..4 {
        let (next, binding) = ask(&pool, Hint::Bound(old), None, start() + SECOND, &mut rng);
        assert_eq!((next.cause, next.backend.id()), (Cause::Bound, first.backend.id()));
        assert_eq!(issued(binding).backend, first.backend.id(), "it has the old token");
    }
    assert_eq!((pool.count_of(Reason::Down), pool.ledger().len()), (1, 1));
}
