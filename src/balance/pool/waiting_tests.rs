//! Limits, queues, waits, detours, overload: what happens when home, or everybody, is busy or away.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::tests::{id, spec, start};
use super::*;
use crate::balance::affinity::{Afterwards, Mode, Overload, OverloadAction, WhenUnavailable};
use crate::balance::balancer::tests::rng;
use crate::balance::hashing::Algorithm;
use crate::balance::queue::{Wait, Woken};
use crate::balance::{Binding, Cause, Hint, InFlight, Unavailable};

const SECOND: Duration = Duration::from_secs(1);

fn ask(pool: &Pool, hint: Hint, now: Timestamp) -> Result<Decision, Unavailable> {
    ask_since(pool, hint, now, now)
}

fn ask_since(
    pool: &Pool,
    hint: Hint,
    since: Timestamp,
    now: Timestamp,
) -> Result<Decision, Unavailable> {
    pool.place(&Ask { hint, tried: &[], since, let_go: None }, now, &mut rng(1))
}

#[track_caller]
fn placed(decision: Result<Decision, Unavailable>) -> (Placement, InFlight) {
    match decision {
        Ok(Decision::Place(placement, in_flight)) => (placement, in_flight),
        other => panic!("not placed: {other:?}"),
    }
}

#[track_caller]
fn waits(decision: Result<Decision, Unavailable>) -> Wait {
    match decision {
        Ok(Decision::Wait(wait)) => wait,
        other => panic!("does not wait: {other:?}"),
    }
}

fn poll(wait: &mut Wait) -> Option<Woken> {
    match wait.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(woken) => Some(woken),
        Poll::Pending => None,
    }
}

#[track_caller]
fn called(wait: &mut Wait) -> (Placement, InFlight) {
    match poll(wait) {
        Some(Woken::Placed(placement, in_flight)) => (placement, in_flight),
        other => panic!("not called: {other:?}"),
    }
}

/// A pool whose backends have these limits, and a session that is bound to the first of them.
fn pool_and_session(limits: &[Option<u32>], change: impl FnOnce(&mut PoolSpec)) -> (Pool, Hint) {
    let mut spec = spec(Mode::Cookie, &vec![1; limits.len()]);
    for (backend, limit) in spec.backends.iter_mut().zip(limits) {
        backend.max_connections = *limit;
    }
    spec.queue = QueueSpec { length: 2, timeout: 5 * SECOND };
    change(&mut spec);
    let pool = Pool::new(&spec, 0);
    let (placement, _) = placed(ask(&pool, Hint::Free, start()));
    assert_eq!(placement.backend.name(), "b0");
    match pool.bind(&Hint::Free, &placement, None, start(), &mut rng(1)) {
        Binding::Issue(grant) => (pool, Hint::Bound(grant)),
        Binding::Keep | Binding::Revoke => panic!("a new session gets a token"),
    }
}

fn down(pool: &Pool, name: &str, holds: bool) {
    pool.set(id(name), Condition::Down, holds, start());
}

#[test]
fn a_full_home_is_waited_for_in_order_and_nobody_overtakes() {
    let (pool, session) = pool_and_session(&[Some(1), None], |_| {});
    let (_, first) = placed(ask(&pool, session, start()));
    let mut second = waits(ask(&pool, session, start()));
    let mut third = waits(ask(&pool, session, start()));
    assert_eq!(pool.backend(id("b0")).unwrap().waiting(), 2);
    assert!(poll(&mut second).is_none());
    drop(first);
    assert!(poll(&mut third).is_none(), "one place, and it is the second's");
    let (placement, in_flight) = called(&mut second);
    assert_eq!((placement.backend.name(), placement.cause), ("b0", Cause::Bound));
    drop(in_flight);
    drop(called(&mut third));
    assert_eq!(pool.backend(id("b0")).unwrap().in_flight(), 0);
}

#[test]
fn a_full_queue_and_a_long_wait_are_as_if_home_were_unavailable() {
    let (pool, session) = pool_and_session(&[Some(1), None], |_| {});
    let _busy = placed(ask(&pool, session, start()));
    let late = ask_since(&pool, session, start(), start() + 5 * SECOND);
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Full };
    assert_eq!(placed(late).0.cause, moved);
    let _queue = [waits(ask(&pool, session, start())), waits(ask(&pool, session, start()))];
    assert_eq!(placed(ask(&pool, session, start())).0.cause, moved);
}

#[test]
fn free_requests_wait_for_any_backend() {
    let (pool, _) = pool_and_session(&[Some(1), Some(1)], |_| {});
    let mut busy: Vec<_> = (0..2).map(|_| placed(ask(&pool, Hint::Free, start())).1).collect();
    let mut wait = waits(ask(&pool, Hint::Free, start()));
    let _second = waits(ask(&pool, Hint::Free, start()));
    assert_eq!(ask(&pool, Hint::Free, start()).unwrap_err(), Unavailable::Full);
    let late = ask_since(&pool, Hint::Free, start(), start() + 5 * SECOND);
    assert_eq!(late.unwrap_err(), Unavailable::Full);
    let free = busy.pop().unwrap();
    let name = free.backend().name().to_owned();
    drop(free);
    assert_eq!(called(&mut wait).0.backend.name(), name);
}

#[test]
fn who_leaves_a_queue_gives_its_place_to_the_next() {
    let (pool, session) = pool_and_session(&[Some(1), None], |_| {});
    let (_, busy) = placed(ask(&pool, session, start()));
    let leaver = waits(ask(&pool, session, start()));
    let mut next = waits(ask(&pool, session, start()));
    drop(busy); // hands the place to the leaver, which has not looked yet
    drop(leaver);
    drop(called(&mut next));
    assert_eq!(pool.backend(id("b0")).unwrap().in_flight(), 0);
}

#[test]
fn a_home_that_goes_down_sends_those_who_wait_to_ask_again() {
    let (pool, session) = pool_and_session(&[Some(1), None], |_| {});
    let _busy = placed(ask(&pool, session, start()));
    let mut wait = waits(ask(&pool, session, start()));
    down(&pool, "b0", true);
    assert!(matches!(poll(&mut wait), Some(Woken::Changed)));
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Down };
    assert_eq!(placed(ask(&pool, session, start())).0.cause, moved);
}

#[test]
fn a_session_can_wait_for_its_home_to_come_back() {
    let policy = WhenUnavailable::Wait { up_to: 10 * SECOND, then: Afterwards::Reject };
    let (pool, session) =
        pool_and_session(&[None, None], |spec| spec.affinity.when_unavailable = policy);
    down(&pool, "b0", true);
    let mut wait = waits(ask(&pool, session, start()));
    assert_eq!(wait.deadline(), start() + 10 * SECOND);
    assert!(poll(&mut wait).is_none());
    down(&pool, "b0", false);
    assert_eq!(called(&mut wait).0.cause, Cause::Bound);
    down(&pool, "b0", true);
    let too_late = ask_since(&pool, session, start(), start() + 10 * SECOND);
    let away = Unavailable::Home { backend: id("b0"), reason: Reason::Down };
    assert_eq!(too_late.unwrap_err(), away);
}

#[test]
fn a_detour_always_leads_to_the_same_place_and_ends_when_home_is_back() {
    let (pool, session) = pool_and_session(&[None; 5], |spec| {
        spec.affinity.when_unavailable = WhenUnavailable::Detour;
    });
    down(&pool, "b0", true);
    let detour = |hint| {
        let (placement, _) = placed(ask(&pool, hint, start()));
        assert_eq!(placement.cause, Cause::Detoured(Reason::Down));
        assert_eq!(pool.bind(&hint, &placement, None, start(), &mut rng(1)), Binding::Keep);
        placement.backend.id()
    };
    let first = detour(session);
    assert!((0..10).all(|_| detour(session) == first));
    assert_eq!(pool.count_of(Reason::Down), 11);
    assert_eq!(pool.backend(id("b0")).unwrap().sessions(), 1, "it still lives there");
    down(&pool, "b0", false);
    assert_eq!(placed(ask(&pool, session, start())).0.cause, Cause::Bound);
}

#[test]
fn an_overloaded_home_is_relieved_as_the_policy_says() {
    for (action, expected) in [
        (OverloadAction::Detour, Cause::Detoured(Reason::Overloaded)),
        (OverloadAction::Rebalance, Cause::Moved { from: id("b0"), reason: Reason::Overloaded }),
    ] {
        let (pool, session) = pool_and_session(&[None, None], |spec| {
            spec.affinity.overload = Some(Overload { factor: 1.5, action });
        });
        // Of n in flight home may have 3/4: 1 of 1, 2 of 2, 3 of 3, then 3 of 4.
        let busy: Vec<_> = (0..3).map(|_| placed(ask(&pool, session, start()))).collect();
        assert!(busy.iter().all(|(placement, _)| placement.cause == Cause::Bound), "{action:?}");
        let (placement, _) = placed(ask(&pool, session, start()));
        assert_eq!((placement.cause, placement.backend.name()), (expected, "b1"), "{action:?}");
        drop(busy);
        assert_eq!(placed(ask(&pool, session, start())).0.cause, Cause::Bound);
    }
}

#[test]
fn the_bound_on_sessions_does_not_hold_back_those_who_wait_for_any() {
    let (pool, session) = pool_and_session(&[Some(4), Some(1)], |spec| {
        let action = OverloadAction::Queue;
        spec.affinity.overload = Some(Overload { factor: 1.05, action });
    });
    let busy: Vec<_> = (0..5).map(|_| placed(ask(&pool, Hint::Free, start()))).collect();
    let mut at_home = waits(ask(&pool, session, start()));
    let mut anybody = waits(ask(&pool, Hint::Free, start()));
    let (mut at_b0, _at_b1): (Vec<_>, Vec<_>) =
        busy.into_iter().partition(|(placement, _)| placement.backend.name() == "b0");
    drop(at_b0.pop());
    // Home has 3 of 4 in flight, and its sessions may not bring more than that. Others may.
    assert!(poll(&mut at_home).is_none());
    assert_eq!(called(&mut anybody).0.backend.name(), "b0");
}

#[test]
fn an_overloaded_home_can_be_waited_for() {
    let (pool, session) = pool_and_session(&[None, None], |spec| {
        let action = OverloadAction::Queue;
        spec.affinity.overload = Some(Overload { factor: 1.5, action });
    });
    let mut busy: Vec<_> = (0..3).map(|_| placed(ask(&pool, session, start()))).collect();
    let mut wait = waits(ask(&pool, session, start()));
    assert!(poll(&mut wait).is_none());
    busy.pop();
    assert_eq!(called(&mut wait).0.cause, Cause::Bound);
}

#[test]
fn a_key_passes_over_a_home_that_has_more_than_its_share() {
    let mut spec = spec(Mode::Hash(Algorithm::Rendezvous), &[1; 4]);
    spec.affinity.max_load = Some(1.25);
    let pool = Pool::new(&spec, 0);
    let mut busy = Vec::new();
    for _ in 0..100 {
        busy.push(placed(ask(&pool, Hint::Key(7), start())));
    }
    // ceil(1.25 * 100 / 4): no backend above it, although all requests have the same key.
    assert!(pool.backends().iter().all(|backend| backend.in_flight() <= 32));
    let detours = busy.iter().filter(|(p, _)| p.cause == Cause::Detoured(Reason::Overloaded));
    assert!(detours.count() >= 68);
}

#[test]
fn backups_take_new_sessions_only_while_nobody_else_can() {
    let (pool, _) = pool_and_session(&[None; 3], |spec| spec.backends[2].priority = 1);
    let names = |pool: &Pool| -> Vec<String> {
        let name = |_| placed(ask(pool, Hint::Free, start())).0.backend.name().to_owned();
        (0..8).map(name).collect()
    };
    assert!(names(&pool).iter().all(|name| name != "b2"));
    down(&pool, "b0", true);
    assert!(names(&pool).iter().all(|name| name == "b1"));
    down(&pool, "b1", true);
    assert!(names(&pool).iter().all(|name| name == "b2"));
    let (placement, _) = placed(ask(&pool, Hint::Free, start()));
    let binding = pool.bind(&Hint::Free, &placement, None, start(), &mut rng(1));
    down(&pool, "b0", false);
    let Binding::Issue(grant) = binding else { panic!("{binding:?}") };
    let (placement, _) = placed(ask(&pool, Hint::Bound(grant), start()));
    assert_eq!(placement.backend.name(), "b2", "who is bound to a backup stays");
}

#[test]
fn who_comes_back_starts_slowly() {
    let (pool, _) = pool_and_session(&[None, None], |spec| {
        spec.slow_start = Some(40 * SECOND);
        spec.balance = Balance::RoundRobin;
    });
    let share = |now: Timestamp| {
        let at_b0 = |_: &usize| placed(ask(&pool, Hint::Free, now)).0.backend.name() == "b0";
        (0..1_050).filter(at_b0).count()
    };
    assert_eq!(share(start()), 525, "at the beginning everybody is equal");
    down(&pool, "b0", true);
    down(&pool, "b0", false);
    assert_eq!(share(start()), 50, "a twentieth of its weight");
    pool.tick(start() + 20 * SECOND);
    assert!((350..400).contains(&share(start() + 20 * SECOND)), "11 of 31 twentieths");
    pool.tick(start() + 40 * SECOND);
    assert_eq!(share(start() + 40 * SECOND), 525);
}

#[test]
fn weights_and_members_change_at_run_time_and_load_goes_on() {
    let (pool, session) = pool_and_session(&[None, None], |_| {});
    let busy = placed(ask(&pool, session, start()));
    pool.set_weight(id("b0"), 0, false, start()).unwrap();
    let name = |hint| placed(ask(&pool, hint, start())).0.backend.name().to_owned();
    assert!((0..4).all(|_| name(Hint::Free) == "b1"));
    assert_eq!(name(session), "b0", "weight 0 takes who is bound");
    let mut specs = spec(Mode::Cookie, &[1, 1]).backends;
    specs[0].address = "10.0.0.1:80".parse().unwrap();
    pool.set_backends(&specs, start());
    let b0 = pool.backend(id("b0")).unwrap();
    assert_eq!((b0.in_flight(), b0.sessions(), b0.weight()), (1, 1, 1));
    assert_eq!(b0.address().to_string(), "10.0.0.1:80");
    pool.set_backends(&specs[1..], start());
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Removed };
    assert_eq!(placed(ask(&pool, session, start())).0.cause, moved);
    pool.set_backends(&specs, start());
    let b0 = pool.backend(id("b0")).unwrap();
    assert_eq!((b0.in_flight(), b0.sessions()), (1, 1), "it has come back");
    drop(busy);
    assert_eq!(b0.in_flight(), 0);
}

#[test]
fn another_incarnation_is_another_home() {
    let (pool, session) = pool_and_session(&[None, None], |_| {});
    let mut specs = spec(Mode::Cookie, &[1, 1]).backends;
    specs[0].incarnation = Some("second".into());
    pool.set_backends(&specs, start());
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Removed };
    assert_eq!(placed(ask(&pool, session, start())).0.cause, moved);
}

#[test]
fn a_late_answer_does_not_bring_a_moved_session_back() {
    let (pool, session) = pool_and_session(&[None, None], |_| {});
    let (late, _in_flight) = placed(ask(&pool, session, start()));
    down(&pool, "b0", true);
    let (moved, _) = placed(ask(&pool, session, start()));
    let binding = pool.bind(&session, &moved, None, start(), &mut rng(1));
    assert!(matches!(binding, Binding::Issue(grant) if grant.backend == id("b1")));
    assert_eq!(pool.bind(&session, &late, None, start() + 60 * SECOND, &mut rng(1)), Binding::Keep);
    assert_eq!(pool.backend(id("b1")).unwrap().sessions(), 1);
}

#[test]
fn the_last_one_that_takes_new_sessions_is_not_ejected() {
    let (pool, _) = pool_and_session(&[None; 4], |_| {});
    for name in ["b1", "b2", "b3"] {
        pool.set(id(name), Condition::Draining, true, start());
    }
    let last = pool.backend(id("b0")).unwrap();
    assert!((0..5).all(|_| pool.connect_failed(&last, start()).is_none()));
}

#[test]
fn a_clock_that_steps_back_ends_an_ejection() {
    let (pool, _) = pool_and_session(&[None; 4], |_| {});
    let b0 = pool.backend(id("b0")).unwrap();
    pool.connect_failed(&b0, start());
    assert!(pool.connect_failed(&b0, start()).is_some());
    assert_eq!(pool.tick(start() + SECOND).len(), 0);
    assert_eq!(pool.tick(Timestamp::from_millis(5)).len(), 1);
}
