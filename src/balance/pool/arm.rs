//! A pool as one of several behind a route: see [`split`](crate::balance::split). Its sessions are
//! its own, until it can no longer keep them and says so here.

use super::Pool;
use crate::balance::affinity::{Afterwards, Grant, SessionId};
use crate::balance::{Reason, Timestamp};

impl Pool {
    /// Could a new session begin here, as far as the states of the backends go?
    pub fn takes_new(&self) -> bool {
        self.members.load().any_ready(&[])
    }

    /// Does this session live here, as far as anybody knows?
    pub fn knows(&self, session: SessionId) -> bool {
        self.ledger.home(session).is_some()
    }

    /// Is the session of this grant over?
    pub fn is_over(&self, grant: &Grant, now: Timestamp) -> bool {
        self.members.load().policy().lifetimes.is_over(grant, now)
    }

    /// Why a session is to leave for another pool with its present request, if it is: no backend of
    /// this one takes anybody, its home is out of service and the policy is to move, or drains and
    /// wants it to leave. It counts as one that has left then.
    pub fn lets_go(&self, grant: &Grant, now: Timestamp) -> Option<Reason> {
        let members = self.members.load();
        if members.any_ready(&[]) {
            return None; // if it moves, then within the pool
        }
        let stay = self.ledger.last_seen(grant.session);
        let home = members.get(stay.map_or(grant.backend, |(home, _)| home));
        let reason = match home.map(|home| (home, home.state().refusal())) {
            None => Reason::Removed,
            Some((_, Some(Reason::Drained))) => Reason::Drained,
            Some((_, Some(reason))) => {
                let policy = members.policy().affinity.when_unavailable;
                (policy.without_waiting() == Afterwards::Rebalance).then_some(reason)?
            }
            Some((home, None)) => {
                let drain = home.current_drain()?;
                let leaves = drain.wants_to_move(now, || self.seen(grant, stay));
                (leaves && drain.may_move(now)).then_some(Reason::Draining)?
            }
        };
        self.ledger.hand_over(grant.session, reason);
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::balance::affinity::{AffinitySpec, Binding, Hint, Mode};
    use crate::balance::{
        Ask, BackendSpec, Cause, Decision, DrainPolicy, Outcome, Placement, PoolSpec,
    };

    const START: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn pool(name: &str) -> Pool {
        let backend = |n| BackendSpec::new(format!("{name}-{n}"), "127.0.0.1:1".parse().unwrap());
        let affinity = AffinitySpec { mode: Mode::Cookie, ..AffinitySpec::default() };
        Pool::new(&PoolSpec { affinity, ..PoolSpec::new(name, vec![backend(1), backend(2)]) }, 0)
    }

    /// Serves one request, and gives what its client keeps.
    fn serve(
        pool: &Pool,
        hint: Hint,
        let_go: Option<Reason>,
        now: Timestamp,
    ) -> (Placement, Binding) {
        let mut rng = StdRng::seed_from_u64(1);
        let ask = Ask { hint, tried: &[], since: now, let_go };
        let Ok(Decision::Place(placement, in_flight)) = pool.place(&ask, now, &mut rng) else {
            panic!("it is placed")
        };
        let binding = pool.bind(&hint, &placement, None, now, &mut rng);
        in_flight.finish(Outcome::Success);
        (placement, binding)
    }

    fn begin(pool: &Pool) -> Grant {
        match serve(pool, Hint::Free, None, START) {
            (_, Binding::Issue(grant)) => grant,
            other => panic!("a session begins: {other:?}"),
        }
    }

    fn drain(pool: &Pool, policy: DrainPolicy) {
        for backend in pool.backends() {
            pool.drain(backend.id(), policy, true, START).unwrap();
        }
    }

    #[test]
    fn a_pool_that_takes_sessions_keeps_its_own() {
        let pool = pool("blue");
        let grant = begin(&pool);
        assert!(pool.takes_new() && pool.knows(grant.session));
        assert_eq!(pool.lets_go(&grant, START), None);
        let one = &pool.backends()[0];
        pool.drain(one.id(), DrainPolicy::default(), false, START).unwrap();
        assert_eq!(pool.lets_go(&grant, START), None, "there is another one");
    }

    #[test]
    fn a_pool_that_drains_lets_go_when_its_policy_does() {
        let (blue, green) = (pool("blue"), pool("green"));
        let grant = begin(&blue);
        let deadline = Some(Duration::from_secs(60));
        drain(&blue, DrainPolicy { deadline, ..DrainPolicy::default() });
        assert!(!blue.takes_new());
        assert_eq!(blue.lets_go(&grant, START), None, "it may stay until the deadline");
        let late = START + Duration::from_secs(61);
        let let_go = blue.lets_go(&grant, late);
        assert_eq!(let_go, Some(Reason::Draining));
        assert!(!blue.knows(grant.session));
        // The other pool takes it in as one that has moved, and knows it from then on.
        let (placement, binding) = serve(&green, Hint::Bound(grant), let_go, late);
        assert_eq!(
            placement.cause,
            Cause::Moved { from: grant.backend, reason: Reason::Draining },
            "the new pool says what the old one said"
        );
        let Binding::Issue(moved) = binding else { panic!("the client is told") };
        assert_eq!((moved.session, green.knows(grant.session)), (grant.session, true));
        // What the browser sent at the same time finds it there.
        let (again, _) = serve(&green, Hint::Bound(grant), None, late);
        assert_eq!(again.backend.id(), placement.backend.id());
    }
}
