//! Drains: who stays, who moves when, when it is over, and what the report says.

use std::num::NonZeroU32;
use std::task::{Context, Waker};
use std::time::Duration;

use super::tests::{MINUTE, id, key_at, keyed, open_session, sessions, spec, start, try_place};
use super::*;
use crate::balance::affinity::{Mode, WhenUnavailable};
use crate::balance::balancer::tests::rng;
use crate::balance::drain::{DrainProgress, GRACE, Refused};
use crate::balance::hashing::Algorithm;
use crate::balance::{Binding, Cause, Grant, Hint, Rng, Tunnel};

const SECOND: Duration = Duration::from_secs(1);

const NONE: DrainPolicy =
    DrainPolicy { deadline: None, move_idle_after: None, moves_per_second: None };

fn deadline(after: Duration, per_second: u32) -> DrainPolicy {
    let moves_per_second = NonZeroU32::new(per_second);
    DrainPolicy { deadline: Some(after), moves_per_second, ..NONE }
}

/// A pool of two, and so many sessions on the first of them.
fn pool_with(many: usize) -> (Pool, Vec<Grant>) {
    let mut spec = spec(Mode::Cookie, &[1, 1]);
    spec.affinity.when_unavailable = WhenUnavailable::Reject; // a drain does not care
    let pool = Pool::new(&spec, 0);
    pool.set_weight(id("b1"), 0, false, start()).unwrap();
    let grants = (0..many).map(|n| open_session(&pool, &mut rng(n as u64))).collect();
    pool.set_weight(id("b1"), 1, false, start()).unwrap();
    (pool, grants)
}

/// A request of a session; its token is renewed.
#[track_caller]
fn visit(pool: &Pool, grant: &mut Grant, now: Timestamp) -> Cause {
    let hint = Hint::Bound(*grant);
    let placement = try_place(pool, hint, &[], now, &mut rng(9)).unwrap();
    if let Binding::Issue(new) = pool.bind(&hint, &placement, None, now, &mut rng(9)) {
        *grant = new;
    }
    placement.cause
}

fn begin(pool: &Pool, policy: DrainPolicy) {
    let change = pool.drain(id("b0"), policy, false, start()).unwrap().unwrap();
    assert_eq!(change.to, BackendState::Draining);
}

fn progress(pool: &Pool, now: Timestamp) -> DrainProgress {
    let progress = pool.drain_progress(id("b0"), now).unwrap();
    let gone = progress.left + progress.moved + progress.cut;
    assert_eq!(
        progress.sessions_at_start + progress.joined,
        u64::from(progress.sessions) + gone,
        "the books: {progress:?}"
    );
    progress
}

fn state(pool: &Pool) -> BackendState {
    pool.backend(id("b0")).unwrap().state()
}

const MOVED: Cause = Cause::Moved { from: BackendId::from_bits(0), reason: Reason::Draining };

/// Did it move away from b0 by its drain?
fn has_moved(cause: Cause) -> bool {
    let Cause::Moved { reason, .. } = MOVED else { return false };
    cause == Cause::Moved { from: id("b0"), reason }
}

#[test]
fn without_a_policy_sessions_stay_until_they_end_and_then_it_is_drained() {
    let (pool, mut grants) = pool_with(3);
    begin(&pool, NONE);
    let later = start() + 20 * MINUTE;
    assert_eq!(visit(&pool, &mut grants[0], later), Cause::Bound);
    assert!(pool.tick(start() + 29 * MINUTE).is_empty());
    assert!(pool.tick(start() + 31 * MINUTE).is_empty(), "one of them has come again");
    let now = progress(&pool, start() + 31 * MINUTE);
    assert_eq!((now.sessions_at_start, now.sessions, now.left), (3, 1, 2));
    let over = pool.tick(start() + 52 * MINUTE);
    assert_eq!((over[0].from, over[0].to), (BackendState::Draining, BackendState::Drained));
    let report = progress(&pool, start() + 60 * MINUTE);
    assert_eq!((report.sessions, report.left, report.moved, report.cut), (0, 3, 0, 0));
    assert_eq!((report.ended, report.was_cancelled), (Some(start() + 52 * MINUTE), false));
}

#[test]
fn who_pauses_long_enough_moves_at_its_next_request() {
    let (pool, mut grants) = pool_with(2);
    begin(&pool, DrainPolicy { move_idle_after: Some(MINUTE), ..NONE });
    for second in (10..100).step_by(10) {
        let now = start() + second * SECOND;
        assert_eq!(visit(&pool, &mut grants[0], now), Cause::Bound, "busy, {second} s");
    }
    let now = start() + 100 * SECOND;
    assert!(has_moved(visit(&pool, &mut grants[1], now)));
    assert_eq!(grants[1].backend, id("b1"));
    assert_eq!(visit(&pool, &mut grants[1], now), Cause::Bound);
    assert_eq!(sessions(&pool), [1, 1]);
    assert_eq!(pool.count_of(Reason::Draining), 1);
    assert_eq!(visit(&pool, &mut grants[0], now + 49 * SECOND), Cause::Bound);
    let now = now + 111 * SECOND;
    assert!(has_moved(visit(&pool, &mut grants[0], now)));
    assert_eq!(pool.tick(now)[0].to, BackendState::Drained);
    let report = progress(&pool, now);
    assert_eq!((report.moved, report.moved_by_reason[Reason::Draining.index()]), (2, 2));
}

#[test]
fn a_pause_from_before_the_drain_is_known_to_the_ledgers_grain_and_never_overstated() {
    let (pool, mut grants) = pool_with(1);
    // The ledger keeps times to 28 s: this sight is not noted.
    assert_eq!(visit(&pool, &mut grants[0], start() + 20 * SECOND), Cause::Bound);
    let policy = DrainPolicy { move_idle_after: Some(10 * SECOND), ..NONE };
    pool.drain(id("b0"), policy, false, start() + 25 * SECOND).unwrap();
    assert_eq!(visit(&pool, &mut grants[0], start() + 29 * SECOND), Cause::Bound);
    assert_eq!(visit(&pool, &mut grants[0], start() + 38 * SECOND), Cause::Bound, "exact by now");
    assert!(has_moved(visit(&pool, &mut grants[0], start() + 48 * SECOND)));
}

#[test]
fn after_the_deadline_all_move_at_the_pace_and_no_session_is_lost_track_of() {
    let (pool, mut grants) = pool_with(100);
    begin(&pool, deadline(10 * SECOND, 10));
    let mut moves = 0;
    for tenth in 0..300u32 {
        let now = start() + tenth * SECOND / 10;
        for grant in &mut grants {
            moves += u32::from(has_moved(visit(&pool, grant, now)));
        }
        // Half a second's worth may have been saved up.
        let most = tenth.saturating_sub(100) + 6;
        assert!(moves <= most && (tenth >= 100 || moves == 0), "{moves} after {tenth} tenths");
        pool.tick(now);
    }
    assert_eq!((moves, state(&pool)), (100, BackendState::Drained));
    assert_eq!(sessions(&pool), [0, 100]);
    let report = progress(&pool, start() + MINUTE);
    assert_eq!((report.moved, report.left, report.cut), (100, 0, 0));
    let end = report.ended.unwrap().since(start());
    assert!(end > 19 * SECOND && end < 21 * SECOND, "{end:?}");
}

#[test]
fn who_does_not_come_back_after_the_deadline_is_not_waited_for_and_moves_when_it_does() {
    let (pool, mut grants) = pool_with(30);
    begin(&pool, deadline(10 * SECOND, 10));
    let mut ended = None;
    for quarter in 0..200u32 {
        let now = start() + quarter * SECOND / 4;
        if !pool.tick(now).is_empty() {
            ended.get_or_insert(now);
        }
        let gone = progress(&pool, now).cut;
        let since = now.since(start() + 10 * SECOND).saturating_sub(GRACE).as_secs();
        assert!(gone <= 10 * (since + 1) + 5, "{gone} after {since} s");
    }
    let end = ended.unwrap().since(start() + 10 * SECOND + GRACE);
    assert!(end > 2 * SECOND && end < 4 * SECOND, "30 at 10 a second: {end:?}");
    let report = progress(&pool, start() + 50 * SECOND);
    assert_eq!((report.cut, report.moved, report.left), (30, 0, 0));
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Drained };
    assert_eq!(visit(&pool, &mut grants[0], start() + 50 * SECOND), moved);
}

#[test]
fn after_the_end_of_a_drain_the_backend_can_be_ready_again_and_the_report_stays() {
    let (pool, _) = pool_with(0);
    begin(&pool, NONE);
    assert_eq!(pool.tick(start())[0].to, BackendState::Drained);
    assert!(pool.drain(id("b0"), NONE, false, start()).unwrap().is_none(), "it is drained");
    let ready = pool.make_ready(id("b0"), start() + MINUTE).unwrap();
    assert_eq!((ready.from, ready.to), (BackendState::Drained, BackendState::Ready));
    assert_eq!(progress(&pool, start() + MINUTE).ended, Some(start()));
    begin(&pool, NONE);
    assert_eq!(progress(&pool, start() + MINUTE).ended, None, "another drain");
}

#[test]
fn a_drain_that_is_called_off_says_so() {
    let (pool, mut grants) = pool_with(2);
    begin(&pool, deadline(SECOND, 1));
    let now = start() + 2 * SECOND;
    assert!(has_moved(visit(&pool, &mut grants[0], now)));
    assert_eq!(pool.make_ready(id("b0"), now).unwrap().to, BackendState::Ready);
    open_session(&pool, &mut rng(77));
    let report = progress(&pool, now);
    assert_eq!((report.was_cancelled, report.ended), (true, Some(now)));
    assert_eq!((report.sessions, report.moved), (1, 1));
    assert_eq!(visit(&pool, &mut grants[1], now), Cause::Bound, "who is still there stays");
}

#[test]
fn the_last_ready_backend_is_not_taken_out_unless_forced() {
    let (pool, _) = pool_with(0);
    let drain = |name, force| pool.drain(id(name), NONE, force, start());
    assert_eq!(drain("nobody", true).unwrap_err(), Refused::UnknownBackend);
    assert!(drain("b0", false).unwrap().is_some());
    assert_eq!(drain("b1", false).unwrap_err(), Refused::LastReady);
    assert_eq!(pool.maintenance(id("b1"), false, start()).unwrap_err(), Refused::LastReady);
    assert!(drain("b0", false).is_ok(), "another policy for the one that is out anyway");
    assert!(pool.maintenance(id("b0"), false, start()).is_ok());
    assert!(drain("b1", true).unwrap().is_some());
}

#[test]
fn the_last_ready_backend_keeps_some_weight_unless_forced() {
    let (pool, _) = pool_with(0);
    let weigh = |name, weight, force| pool.set_weight(id(name), weight, force, start());
    assert_eq!(weigh("nobody", 1, true), Err(Refused::UnknownBackend));
    assert_eq!(weigh("b0", 0, false), Ok(()));
    assert_eq!(weigh("b0", 0, false), Ok(()), "it has none anyway");
    assert_eq!(weigh("b1", 0, false), Err(Refused::LastReady));
    assert_eq!(pool.backend(id("b1")).unwrap().weight(), 1, "nothing has changed");
    assert_eq!(weigh("b1", 5, false), Ok(()), "more is no matter");
    assert_eq!(pool.drain(id("b1"), NONE, false, start()).unwrap_err(), Refused::LastReady);
    assert_eq!(weigh("b1", 0, true), Ok(()));
    weigh("b1", 1, false).unwrap();
    pool.drain(id("b1"), NONE, true, start()).unwrap();
    assert_eq!(weigh("b1", 0, false), Ok(()), "it takes nobody anyway");
}

#[test]
fn another_policy_counts_from_now_and_keeps_the_books() {
    let (pool, mut grants) = pool_with(2);
    begin(&pool, deadline(SECOND, 1));
    assert!(has_moved(visit(&pool, &mut grants[0], start() + SECOND)));
    pool.drain(id("b0"), deadline(MINUTE, 1), false, start() + 2 * SECOND).unwrap();
    let now = progress(&pool, start() + 2 * SECOND);
    assert_eq!((now.since, now.deadline), (start(), Some(start() + 62 * SECOND)));
    assert_eq!((now.sessions_at_start, now.moved), (2, 1));
    assert_eq!(visit(&pool, &mut grants[1], start() + 61 * SECOND), Cause::Bound);
    assert!(has_moved(visit(&pool, &mut grants[1], start() + 62 * SECOND)));
}

#[test]
fn an_app_that_asks_to_be_drained_is_by_the_pools_policy_and_is_ready_when_it_is_back() {
    let mut spec = spec(Mode::Cookie, &[1, 1]);
    spec.drain = deadline(SECOND, 100);
    let pool = Pool::new(&spec, 0);
    let mut grant = open_session(&pool, &mut rng(1));
    pool.set(id("b0"), Condition::AskedToDrain, true, start());
    assert_eq!(visit(&pool, &mut grant, start()), Cause::Bound);
    assert!(has_moved(visit(&pool, &mut grant, start() + SECOND)));
    assert_eq!(pool.tick(start() + SECOND)[0].to, BackendState::Drained);
    let back = pool.set(id("b0"), Condition::AskedToDrain, false, start() + MINUTE).unwrap();
    assert_eq!((back.from, back.to), (BackendState::Drained, BackendState::Ready));
}

#[test]
fn requests_and_tunnels_hold_it_and_tunnels_are_closed_at_a_pace_after_the_deadline() {
    let (pool, _) = pool_with(0);
    let backend = pool.backend(id("b0")).unwrap();
    let open = || backend.start(Cause::Free).unwrap().into_tunnel();
    let mut tunnels: Vec<Tunnel> = (0..5).map(|_| open()).collect();
    let request = backend.start(Cause::Free).unwrap();
    begin(&pool, deadline(10 * SECOND, 2));
    let now = progress(&pool, start());
    assert_eq!((now.in_flight, now.tunnels), (1, 5));
    assert_eq!(now.estimated_end, Some(start() + 12 * SECOND + SECOND / 2));
    let asked =
        |tunnel: &&Tunnel| tunnel.poll_closing(&mut Context::from_waker(Waker::noop())).is_ready();
    for (tenth, closing) in [(99, 0), (100, 1), (104, 1), (105, 2), (110, 3), (119, 4)] {
        assert!(pool.tick(start() + tenth * SECOND / 10).is_empty());
        assert_eq!(tunnels.iter().filter(asked).count(), closing, "after {tenth} tenths");
    }
    tunnels.clear();
    assert!(pool.tick(start() + 13 * SECOND).is_empty(), "a request is still there");
    drop(request);
    assert_eq!(pool.tick(start() + 13 * SECOND)[0].to, BackendState::Drained);
    assert_eq!(progress(&pool, start() + MINUTE).tunnels_closed, 4);
}

#[test]
fn requests_sent_together_follow_the_first_that_moves() {
    let (pool, grants) = pool_with(1);
    begin(&pool, deadline(SECOND, 1));
    let now = start() + 2 * SECOND;
    let (mut first, mut second) = (grants[0], grants[0]);
    assert!(has_moved(visit(&pool, &mut first, now)));
    // It has the old token, and there is no move to be had for another second.
    assert_eq!(visit(&pool, &mut second, now), Cause::Bound);
    assert_eq!((second.backend, pool.count_of(Reason::Draining)), (id("b1"), 1));
    assert_eq!(sessions(&pool), [0, 1]);
}

#[test]
fn a_drain_that_goes_on_after_a_restart_waits_for_those_that_it_does_not_know() {
    let (pool, _) = pool_with(0);
    let since = start();
    let now = start() + 5 * MINUTE;
    // A health check may have been quicker.
    pool.set(id("b0"), Condition::AskedToDrain, true, now);
    assert!(pool.resume_drain(id("b0"), deadline(10 * MINUTE, 1), since, now).is_none());
    assert!(pool.tick(now).is_empty());
    assert_eq!(progress(&pool, now).estimated_end, Some(since + 10 * MINUTE), "the deadline");
    let token = |session| Grant {
        backend: id("b0"),
        session: SessionId::from_bits(session),
        issued: start(),
        refreshed: start(),
    };
    assert_eq!(visit(&pool, &mut token(1), now), Cause::Bound);
    assert!(has_moved(visit(&pool, &mut token(1), start() + 10 * MINUTE)));
    let report = progress(&pool, start() + 10 * MINUTE);
    assert_eq!((report.sessions_at_start, report.joined, report.moved), (0, 1, 1));
    assert_eq!(pool.tick(start() + 10 * MINUTE)[0].to, BackendState::Drained);
}

#[test]
fn the_end_is_estimated_from_the_rate_the_policy_and_the_idle_timeout() {
    let (pool, mut grants) = pool_with(100);
    begin(&pool, NONE);
    pool.tick(start());
    let asleep = Some(start() + 30 * MINUTE);
    for minutes in [0, 10, 29] {
        assert_eq!(progress(&pool, start() + minutes * MINUTE).estimated_end, asleep);
    }
    assert_eq!(progress(&pool, start() + 31 * MINUTE).estimated_end, None, "they came again");
    for (second, grant) in grants.iter_mut().take(20).enumerate() {
        let now = start() + second as u32 * SECOND;
        pool.ledger().end(grant.session);
        pool.tick(now);
    }
    let now = start() + 20 * SECOND;
    let end = progress(&pool, now).estimated_end.unwrap().since(now);
    assert!(end > 78 * SECOND && end < 82 * SECOND, "80 left, one a second: {end:?}");
    pool.drain(id("b0"), deadline(20 * SECOND, 10), false, now).unwrap();
    let end = progress(&pool, now).estimated_end.unwrap().since(now);
    assert!(end >= 25 * SECOND && end < 27 * SECOND, "the rest by force: {end:?}");
}

#[test]
fn a_key_leaves_as_a_session_does() {
    let pool = Pool::new(&spec(Mode::Hash(Algorithm::Rendezvous), &[1, 1, 1]), 0);
    let mut rng = rng(1);
    let key = key_at(&pool, id("b0"), &mut rng);
    assert_eq!(keyed(&pool, key, &mut rng).cause, Cause::Keyed);
    begin(&pool, deadline(SECOND, 10));
    let mut visit = |now| {
        let hint = Hint::Key(key);
        let placement = try_place(&pool, hint, &[], now, &mut rng as &mut dyn Rng).unwrap();
        pool.bind(&hint, &placement, None, now, &mut rng);
        placement
    };
    assert_eq!(visit(start()).backend.name(), "b0");
    let moved = visit(start() + SECOND);
    assert!(has_moved(moved.cause));
    let again = visit(start() + SECOND);
    assert_eq!((again.cause, again.backend.id()), (Cause::Keyed, moved.backend.id()), "settled");
    assert_eq!(pool.tick(start() + SECOND)[0].to, BackendState::Drained);
    assert_eq!(progress(&pool, start() + SECOND).moved, 1);
}
