use std::time::Duration;

use super::*;
use crate::balance::affinity::{Mode, WhenUnavailable};
use crate::balance::balancer::tests::rng;
use crate::balance::hashing::{self, Algorithm};
use crate::balance::{Binding, Cause, Grant, Hint, Rng, Unavailable};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn start() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

pub(super) fn spec(mode: Mode, weights: &[u32]) -> PoolSpec {
    let backend = |(i, &weight): (usize, &u32)| {
        let spec = BackendSpec::new(format!("b{i}"), "127.0.0.1:1".parse().unwrap());
        BackendSpec { weight, ..spec }
    };
    PoolSpec {
        balance: Balance::RoundRobin,
        affinity: AffinitySpec { mode, ..AffinitySpec::default() },
        ejection: Some(Ejection { failures: 2, duration: MINUTE }),
        ..PoolSpec::new("shop", weights.iter().enumerate().map(backend).collect())
    }
}

/// Asks for a place, and expects to get one without waiting. It is free again at once.
pub(super) fn try_place(
    pool: &Pool,
    hint: Hint,
    tried: &[BackendId],
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Placement, Unavailable> {
    match pool.place(&Ask { hint, tried, since: now, let_go: None }, now, rng)? {
        Decision::Place(placement, _) => Ok(placement),
        Decision::Wait(wait) => panic!("has to wait: {wait:?}"),
    }
}

pub(super) fn id(name: &str) -> BackendId {
    BackendId::new("shop", name)
}

/// Opens a session and gives its grant.
pub(super) fn open_session(pool: &Pool, rng: &mut dyn Rng) -> Grant {
    let placement = try_place(pool, Hint::Free, &[], start(), rng).unwrap();
    assert_eq!(placement.cause, Cause::New);
    match pool.bind(&Hint::Free, &placement, None, start(), rng) {
        Binding::Issue(grant) => grant,
        Binding::Keep | Binding::Revoke => panic!("a new session gets a token"),
    }
}

pub(super) fn sessions(pool: &Pool) -> Vec<u32> {
    pool.backends().iter().map(|backend| backend.sessions()).collect()
}

#[test]
fn without_affinity_every_request_is_free() {
    let pool = Pool::new(&spec(Mode::None, &[1, 1]), 0);
    let mut rng = rng(1);
    let mut place = || try_place(&pool, Hint::Free, &[], start(), &mut rng).unwrap();
    let (a, b) = (place(), place());
    assert_eq!((a.backend.name(), b.backend.name()), ("b0", "b1"));
    assert_eq!(a.cause, Cause::Free);
    assert_eq!(pool.bind(&Hint::Free, &a, None, start(), &mut rng), Binding::Keep);
    assert!(pool.ledger().is_empty());
}

#[test]
fn a_session_is_bound_from_its_first_answer_on() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1, 1]), 0);
    let mut rng = rng(1);
    let grant = open_session(&pool, &mut rng);
    for _ in 0..10 {
        let hint = Hint::Bound(grant);
        let placement = try_place(&pool, hint, &[], start(), &mut rng).unwrap();
        assert_eq!((placement.backend.id(), placement.cause), (grant.backend, Cause::Bound));
        assert_eq!(pool.bind(&hint, &placement, None, start(), &mut rng), Binding::Keep);
    }
    assert_eq!(sessions(&pool), [1, 0, 0]);
}

#[test]
fn a_token_is_refreshed_when_due_and_keeps_its_beginning() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1]), 0);
    let mut rng = rng(1);
    let hint = Hint::Bound(open_session(&pool, &mut rng));
    let later = start() + MINUTE;
    let placement = try_place(&pool, hint, &[], later, &mut rng).unwrap();
    match pool.bind(&hint, &placement, None, later, &mut rng) {
        Binding::Issue(grant) => assert_eq!((grant.issued, grant.refreshed), (start(), later)),
        Binding::Keep | Binding::Revoke => panic!("a minute is the refresh interval"),
    }
}

#[test]
fn an_expired_session_starts_anew_and_is_counted() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1]), 0);
    let mut rng = rng(1);
    let old = open_session(&pool, &mut rng);
    let hint = Hint::Bound(old);
    let much_later = start() + 40 * MINUTE;
    let placement = try_place(&pool, hint, &[], much_later, &mut rng).unwrap();
    assert_eq!(placement.cause, Cause::New);
    match pool.bind(&hint, &placement, None, much_later, &mut rng) {
        Binding::Issue(grant) => assert_ne!(grant.session, old.session),
        Binding::Keep | Binding::Revoke => panic!("a new session gets a token"),
    }
    assert_eq!(pool.count_of(Reason::Expired), 1);
    assert_eq!(sessions(&pool).iter().sum::<u32>(), 1, "the old one is not counted any more");
}

#[test]
fn a_session_moves_when_its_home_is_down_with_a_counted_reason() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1]), 0);
    let mut rng = rng(1);
    let grant = open_session(&pool, &mut rng);
    assert_eq!(grant.backend, id("b0"));
    let transition = pool.set(id("b0"), Condition::Down, true, start()).unwrap();
    assert_eq!((transition.from, transition.to), (BackendState::Ready, BackendState::Down));
    let hint = Hint::Bound(grant);
    let placement = try_place(&pool, hint, &[], start(), &mut rng).unwrap();
    let moved = Cause::Moved { from: id("b0"), reason: Reason::Down };
    assert_eq!((placement.backend.id(), placement.cause), (id("b1"), moved));
    match pool.bind(&hint, &placement, None, start(), &mut rng) {
        Binding::Issue(new) => {
            assert_eq!((new.session, new.backend), (grant.session, id("b1")));
        }
        Binding::Keep | Binding::Revoke => panic!("a moved session gets a token"),
    }
    assert_eq!(pool.count_of(Reason::Down), 1);
    assert_eq!(sessions(&pool), [0, 1]);
}

#[test]
fn reject_refuses_a_bound_session_and_nobody_else() {
    let mut spec = spec(Mode::Cookie, &[1, 1]);
    spec.affinity.when_unavailable = WhenUnavailable::Reject;
    let pool = Pool::new(&spec, 0);
    let mut rng = rng(1);
    let hint = Hint::Bound(open_session(&pool, &mut rng));
    pool.set(id("b0"), Condition::Down, true, start());
    let refused = try_place(&pool, hint, &[], start(), &mut rng).unwrap_err();
    assert_eq!(refused, Unavailable::Home { backend: id("b0"), reason: Reason::Down });
    assert_eq!(pool.unavailable(), 1);
    assert!(try_place(&pool, Hint::Free, &[], start(), &mut rng).is_ok());
    pool.set(id("b0"), Condition::Down, false, start());
    let back = try_place(&pool, hint, &[], start(), &mut rng).unwrap();
    assert_eq!((back.backend.id(), back.cause), (id("b0"), Cause::Bound));
}

#[test]
fn a_home_that_was_tried_in_vain_counts_as_ejected() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1]), 0);
    let mut rng = rng(1);
    let hint = Hint::Bound(open_session(&pool, &mut rng));
    let placement = try_place(&pool, hint, &[id("b0")], start(), &mut rng).unwrap();
    assert_eq!(placement.cause, Cause::Moved { from: id("b0"), reason: Reason::Ejected });
    let nothing_left = try_place(&pool, hint, &[id("b0"), id("b1")], start(), &mut rng);
    assert_eq!(nothing_left.unwrap_err(), Unavailable::NoBackend);
}

#[test]
fn a_home_that_is_no_longer_configured_is_removed() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1]), 0);
    let mut rng = rng(1);
    let session = SessionId::from_bits(7);
    let grant = Grant { backend: id("gone"), session, ..open_session(&pool, &mut rng) };
    let placement = try_place(&pool, Hint::Bound(grant), &[], start(), &mut rng).unwrap();
    assert_eq!(placement.cause, Cause::Moved { from: id("gone"), reason: Reason::Removed });
}

#[test]
fn draining_takes_bound_sessions_and_no_new_ones() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1]), 0);
    let mut rng = rng(1);
    let hint = Hint::Bound(open_session(&pool, &mut rng));
    pool.set(id("b0"), Condition::AskedToDrain, true, start());
    for _ in 0..10 {
        assert_eq!(try_place(&pool, hint, &[], start(), &mut rng).unwrap().cause, Cause::Bound);
        let free = try_place(&pool, Hint::Free, &[], start(), &mut rng).unwrap();
        assert_eq!(free.backend.name(), "b1");
    }
}

#[test]
fn weight_zero_takes_bound_sessions_only() {
    let pool = Pool::new(&spec(Mode::Cookie, &[0, 1]), 0);
    let mut rng = rng(1);
    let grant = Grant { backend: id("b0"), ..open_session(&pool, &mut rng) };
    let placement = try_place(&pool, Hint::Bound(grant), &[], start(), &mut rng).unwrap();
    assert_eq!((placement.backend.name(), placement.cause), ("b0", Cause::Bound));
    for _ in 0..10 {
        assert_eq!(open_session(&pool, &mut rng).backend, id("b1"));
    }
}

pub(super) fn keyed(pool: &Pool, key: u64, rng: &mut dyn Rng) -> Placement {
    let hint = Hint::Key(key);
    let placement = try_place(pool, hint, &[], start(), rng).unwrap();
    assert_eq!(pool.bind(&hint, &placement, None, start(), rng), Binding::Keep);
    placement
}

pub(super) fn key_at(pool: &Pool, home: BackendId, rng: &mut dyn Rng) -> u64 {
    let at_home = |key: &u64| {
        try_place(pool, Hint::Key(*key), &[], start(), rng).unwrap().backend.id() == home
    };
    (0..1000u64).map(|n| hashing::key(&n.to_le_bytes())).find(at_home).unwrap()
}

#[test]
fn a_key_goes_home_and_its_moves_away_and_back_are_counted() {
    let pool = Pool::new(&spec(Mode::Hash(Algorithm::Rendezvous), &[1, 1, 1]), 0);
    let mut rng = rng(1);
    let key = key_at(&pool, id("b1"), &mut rng);
    assert_eq!(keyed(&pool, key, &mut rng).cause, Cause::Keyed);
    pool.set(id("b1"), Condition::Down, true, start());
    let away = keyed(&pool, key, &mut rng);
    assert_eq!(away.cause, Cause::Moved { from: id("b1"), reason: Reason::Down });
    assert_eq!(keyed(&pool, key, &mut rng).cause, Cause::Keyed, "settled");
    pool.set(id("b1"), Condition::Down, false, start());
    let back = keyed(&pool, key, &mut rng);
    assert_eq!(back.backend.id(), id("b1"));
    let reason = Reason::Rebalanced;
    assert_eq!(back.cause, Cause::Moved { from: away.backend.id(), reason });
    assert_eq!(sessions(&pool).iter().sum::<u32>(), 1);
}

#[test]
fn a_draining_backend_keeps_the_keys_it_has_and_gets_no_new_ones() {
    let pool = Pool::new(&spec(Mode::Hash(Algorithm::Rendezvous), &[1, 1, 1]), 0);
    let mut rng = rng(1);
    let known = key_at(&pool, id("b1"), &mut rng);
    keyed(&pool, known, &mut rng);
    let unknown = key_at(&pool, id("b1"), &mut rng) ^ 1;
    pool.set(id("b1"), Condition::Draining, true, start());
    let stays = keyed(&pool, known, &mut rng);
    assert_eq!((stays.backend.id(), stays.cause), (id("b1"), Cause::Keyed));
    for key in 0..100 {
        assert_ne!(keyed(&pool, unknown ^ (key << 8), &mut rng).backend.id(), id("b1"));
    }
}

#[test]
fn a_key_whose_priority_cannot_take_it_goes_to_the_next_one() {
    let mut spec = spec(Mode::Hash(Algorithm::Rendezvous), &[1, 1, 1]);
    spec.backends[2].priority = 1;
    let pool = Pool::new(&spec, 0);
    let mut rng = rng(1);
    let key = key_at(&pool, id("b0"), &mut rng);
    let tried = try_place(&pool, Hint::Key(key), &[id("b0"), id("b1")], start(), &mut rng);
    assert_eq!(tried.unwrap().backend.name(), "b2", "both of the first priority failed");
    keyed(&pool, key, &mut rng);
    pool.set(id("b0"), Condition::Draining, true, start());
    let tried = try_place(&pool, Hint::Key(key ^ 1), &[id("b1")], start(), &mut rng).unwrap();
    assert_eq!(tried.backend.name(), "b2", "one drains, the other failed");
    pool.set(id("b1"), Condition::Down, true, start());
    assert_eq!(keyed(&pool, key, &mut rng).backend.name(), "b0", "what drains keeps its keys");
    assert_eq!(keyed(&pool, key ^ 1, &mut rng).backend.name(), "b2");
    pool.set(id("b2"), Condition::Down, true, start());
    let nowhere = try_place(&pool, Hint::Key(key ^ 2), &[], start(), &mut rng);
    assert_eq!(nowhere.unwrap_err(), Unavailable::NoBackend, "new ones do not go there at all");
}

#[test]
fn reject_refuses_a_key_whose_owner_is_away() {
    let mut spec = spec(Mode::Hash(Algorithm::Rendezvous), &[1, 1, 1]);
    spec.affinity.when_unavailable = WhenUnavailable::Reject;
    let pool = Pool::new(&spec, 0);
    let mut rng = rng(1);
    let key = key_at(&pool, id("b1"), &mut rng);
    pool.set(id("b1"), Condition::Maintenance, true, start());
    let refused = try_place(&pool, Hint::Key(key), &[], start(), &mut rng).unwrap_err();
    assert_eq!(refused, Unavailable::Home { backend: id("b1"), reason: Reason::Down });
}

#[test]
fn nobody_ready_is_said_so() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1]), 0);
    let mut rng = rng(1);
    pool.set(id("b0"), Condition::Maintenance, true, start());
    pool.set(id("b1"), Condition::Down, true, start());
    let refused = try_place(&pool, Hint::Free, &[], start(), &mut rng).unwrap_err();
    assert_eq!(refused, Unavailable::NoBackend);
}

#[test]
fn repeated_failures_to_connect_eject_for_a_while() {
    let pool = Pool::new(&spec(Mode::Cookie, &[1, 1]), 0);
    let b0 = pool.backend(id("b0")).unwrap();
    assert!(pool.connect_failed(&b0, start()).is_none());
    pool.connect_succeeded(&b0);
    assert!(pool.connect_failed(&b0, start()).is_none(), "not consecutive");
    let ejected = pool.connect_failed(&b0, start()).unwrap();
    assert_eq!(ejected.to, BackendState::Ejected);
    let b1 = pool.backend(id("b1")).unwrap();
    for _ in 0..5 {
        assert!(pool.connect_failed(&b1, start()).is_none(), "not the last one");
    }
    assert!(pool.tick(start() + MINUTE / 2).is_empty());
    let back = pool.tick(start() + MINUTE);
    assert_eq!((back.len(), back[0].to), (1, BackendState::Ready));
    assert!(pool.connect_failed(&b0, start()).is_some(), "still failing: out again at once");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed: u64| {
        let mut spec = spec(Mode::Cookie, &[1, 2, 3]);
        spec.balance = Balance::Random;
        let pool = Pool::new(&spec, seed);
        let mut rng = rng(seed);
        let mut log = Vec::new();
        let mut grants: Vec<Grant> = Vec::new();
        for step in 0..2_000u64 {
            let now = start() + Duration::from_secs(step);
            let reuse = !rng.next_u64().is_multiple_of(4) && !grants.is_empty();
            let hint = match reuse {
                true => Hint::Bound(grants[rng.next_u64() as usize % grants.len()]),
                false => Hint::Free,
            };
            if step % 100 == 0 {
                pool.set(id("b1"), Condition::Down, step % 200 == 0, start());
            }
            let placement = try_place(&pool, hint, &[], now, &mut rng).unwrap();
            if let Binding::Issue(grant) = pool.bind(&hint, &placement, None, now, &mut rng) {
                grants.push(grant);
            }
            pool.tick(now);
            log.push(format!(
                "{} {:?} {:?}",
                placement.backend.name(),
                placement.cause,
                sessions(&pool)
            ));
        }
        log
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn another_policy_keeps_who_is_there_and_what_they_carry() {
    let mut spec = spec(Mode::Cookie, &[1, 1]);
    let pool = Pool::new(&spec, 0);
    let mut rng = rng(1);
    let grant = open_session(&pool, &mut rng);
    let place = |hint, rng: &mut dyn Rng| {
        let ask = Ask { hint, tried: &[], since: start(), let_go: None };
        match pool.place(&ask, start(), rng).unwrap() {
            Decision::Place(_, in_flight) => in_flight,
            Decision::Wait(wait) => panic!("has to wait: {wait:?}"),
        }
    };
    let before = place(Hint::Bound(grant), &mut rng);
    pool.set(grant.backend, Condition::Draining, true, start());

    spec.affinity.max_load = Some(1.5);
    spec.affinity.mode = Mode::Hash(Algorithm::Ring);
    spec.affinity.idle_timeout = Duration::from_secs(10);
    pool.reconfigure(&spec, start());
    assert_eq!(pool.affinity(), spec.affinity);
    let home = pool.backend(grant.backend).unwrap();
    assert_eq!((home.state(), home.in_flight()), (BackendState::Draining, 1));
    assert_eq!((home.sessions(), pool.ledger().len()), (1, 1));
    let during = place(Hint::Key(7), &mut rng);
    drop(before); // it was not counted in the total, and does not leave it
    assert_eq!(pool.shared.in_flight(), 1);
    drop(during);
    assert_eq!(pool.shared.in_flight(), 0);
    pool.tick(start() + Duration::from_secs(11));
    pool.tick(start() + Duration::from_secs(12));
    assert_eq!(pool.ledger().len(), 0, "the new idle timeout counts for the old session, too");
}
