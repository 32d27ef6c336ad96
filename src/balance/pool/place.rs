//! The decision: where does this request go? The one place where affinity meets balancing.

mod bound;
mod keyed;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::shadow::cast;
use super::{Placement, Pool};
use crate::balance::affinity::{
    Afterwards, Establish, First, Hint, Mode, SessionId, WhenUnavailable,
};
use crate::balance::members::Members;
use crate::balance::queue::{Claim, Wait};
use crate::balance::{
    Backend, BackendId, BackendState, Cause, InFlight, Reason, Rng, Timestamp, Unavailable,
};

/// Times that a choice is made again because somebody else took the last place meanwhile.
const RACES: usize = 4;

/// When a home could not be reached for a request that may wait, it is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// What a request asks for, and what has become of it so far.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What it asks for.
    pub hint: Hint,
    /// Backends that could not be reached for it: they are out of the question, as if they were
    /// ejected.
    pub tried: &'a [BackendId],
    /// When it asked first: waiting times count from here.
    pub since: Timestamp,
    /// Why another pool has let its session go to this one, if that is so.
    pub let_go: Option<Reason>,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Decision {
    /// There, and it counts as in flight from now on.
    Place(Placement, InFlight),
    /// Nowhere yet. At the wait's deadline it asks again, as if it had tried nothing.
    Wait(Wait),
}

impl Decision {
    fn in_session(self, session: SessionId) -> Self {
        match self {
            Decision::Place(placement, in_flight) => {
                Decision::Place(Placement { session: Some(session), ..placement }, in_flight)
            }
            wait => wait,
        }
    }
}

impl Pool {
    /// Decides where a request goes.
    pub fn place(
        &self,
        ask: &Ask<'_>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        self.place_among(&self.members.load(), ask, now, rng)
    }

    /// Decides where a request goes among these members, who are the latest.
    pub(super) fn place_among(
        &self,
        members: &Members,
        ask: &Ask<'_>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        let placing = Placing { pool: self, members, ask, now };
        let mut decision = match &ask.hint {
            Hint::Free => placing.anywhere(placing.unbound(), None, rng),
            Hint::First(client) => placing.first(*client, rng),
            Hint::Bound(grant) if members.policy().lifetimes.is_over(grant, now) => {
                placing.anywhere(placing.unbound(), None, rng)
            }
            Hint::Bound(grant) if placing.frees(grant.session) => {
                placing.anywhere(Cause::Unstuck, None, rng)
            }
            Hint::Bound(grant) => placing.bound(grant, rng),
            Hint::Key(key) if placing.frees(SessionId::from_bits(*key)) => {
                placing.anywhere(Cause::Unstuck, None, rng)
            }
            Hint::Key(key) => placing.keyed(*key),
        };
        match &mut decision {
            Ok(Decision::Place(placement, in_flight)) => {
                cast(members, placement, in_flight, now, rng);
            }
            Ok(Decision::Wait(_)) => {}
            Err(_) => {
                self.unavailable.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        decision
    }
}

/// One request on its way to a decision.
struct Placing<'a> {
    pool: &'a Pool,
    members: &'a Members,
    ask: &'a Ask<'a>,
    now: Timestamp,
}

impl Placing<'_> {
    /// What a request is that nothing binds.
    fn unbound(&self) -> Cause {
        let affinity = &self.members.policy().affinity;
        match (affinity.mode, affinity.establish) {
            (Mode::Cookie, Establish::Always) => Cause::New,
            _ => Cause::Free,
        }
    }

    /// Does the session go anywhere, for the sake of the unstick experiment?
    #[inline]
    fn frees(&self, session: SessionId) -> bool {
        self.members.policy().affinity.frees(session)
    }

    /// Among the first requests of a client: where the first of them went, as part of its session.
    fn first(&self, client: u64, rng: &mut dyn Rng) -> Result<Decision, Unavailable> {
        let cause = self.unbound();
        let window = self.members.policy().affinity.coalesce;
        let Some(window) = window.filter(|_| cause == Cause::New) else {
            return self.anywhere(cause, None, rng);
        };
        let join = |first: First| {
            let backend = self.members.get(first.backend)?;
            if !self.serves_new(backend) || backend.weight() == 0 || self.is_awaited(backend) {
                return None;
            }
            start(backend, cause).map(|decision| Ok(decision.in_session(first.session)))
        };
        let begin = || match self.anywhere(cause, None, rng) {
            Ok(Decision::Place(placement, in_flight)) => {
                let session = SessionId::random(rng);
                let first = (placement.backend.id(), session);
                let decision = Decision::Place(placement, in_flight).in_session(session);
                (Ok(decision), Some(first))
            }
            // Who has to wait goes where there is room.
            other => (other, None),
        };
        self.pool.first_burst.place(client, window, self.now, join, begin)
    }

    /// Where the balancer says. `home` is where the session lives that cannot go there.
    fn anywhere(
        &self,
        cause: Cause,
        home: Option<BackendId>,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        // Nor at home, if it can be reached at all: it has sent this one away.
        let others = match home {
            None => Cow::Borrowed(self.ask.tried),
            Some(home) => [self.ask.tried, &[home]].concat().into(),
        };
        for _ in 0..RACES {
            let picked = self.members.pick(&others, self.now, rng);
            let Some(backend) = picked.filter(|b| !self.is_awaited(b)) else { break };
            if let Some(placed) = start(backend, cause) {
                return Ok(placed);
            }
        }
        if !self.members.any_ready(self.ask.tried) {
            return Err(Unavailable::NoBackend);
        }
        let deadline = self.ask.since + self.members.policy().queue.timeout;
        if self.now >= deadline {
            return Err(Unavailable::Full);
        }
        let claim = Claim { cause, home, tried: self.ask.tried, since: self.ask.since };
        let wait =
            self.pool.shared.queue().join(self.members.policy().queue.length, claim, deadline);
        let wait = wait.ok_or(Unavailable::Full)?;
        // A place may have become free before we were in the queue.
        let ready = self.members.all().iter().filter(|backend| backend.has_room());
        ready.for_each(Backend::call_waiters);
        Ok(Decision::Wait(wait))
    }

    /// Why a session that lives at `backend` cannot be served there now.
    fn refusal(&self, backend: &Backend) -> Option<Reason> {
        self.refusal_in(backend, backend.state())
    }

    #[inline]
    fn refusal_in(&self, backend: &Backend, state: BackendState) -> Option<Reason> {
        match self.ask.tried.contains(&backend.id()) {
            true => Some(Reason::Ejected),
            false => state.refusal(),
        }
    }

    /// What becomes of a session without a home.
    fn policy(&self, lost: &Lost<'_>) -> Afterwards {
        match lost.is_gone_for_good() {
            true => Afterwards::Rebalance,
            false => self.members.policy().affinity.when_unavailable.without_waiting(),
        }
    }

    /// Does anybody wait that may go there? Nobody overtakes those.
    #[inline]
    fn is_awaited(&self, backend: &Backend) -> bool {
        self.pool.shared.queue().first(backend.id()).is_some()
    }

    #[inline]
    fn overload(&self, backend: &Backend) -> Option<Reason> {
        let overload = self.members.policy().affinity.overload?;
        (backend.in_flight() >= backend.bound(overload.factor)).then_some(Reason::Overloaded)
    }

    /// May it be sent something that is not bound to it?
    fn serves_new(&self, backend: &Backend) -> bool {
        self.refusal(backend).is_none() && backend.state().accepts_new() && backend.has_room()
    }

    /// At home, or in the queue for it. `None` if it is full and so is its queue, or the time to
    /// wait is over.
    #[inline]
    fn at_home(&self, home: &Arc<Backend>, cause: Cause) -> Option<Decision> {
        // What they wait for may have come with the load of others.
        home.call_waiters();
        if home.queue().first(home.id()).is_none()
            && let Some(placed) = start(home, cause)
        {
            return Some(placed);
        }
        self.wait_for(home, cause, self.members.policy().queue.timeout).map(Decision::Wait)
    }

    fn wait_for(&self, home: &Arc<Backend>, cause: Cause, up_to: Duration) -> Option<Wait> {
        let deadline = self.ask.since + up_to;
        if self.now >= deadline {
            return None;
        }
        let claim = Claim { cause, home: None, tried: self.ask.tried, since: self.ask.since };
        let wait = home.queue().join(self.members.policy().queue.length, claim, deadline);
        // A place may have become free before we were in the queue.
        home.call_waiters();
        wait
    }

    /// Waits for a home that is out of service, if that is the policy.
    fn wait_for_return(&self, lost: &Lost<'_>, cause: Cause) -> Option<Wait> {
        let WhenUnavailable::Wait { up_to, .. } = self.members.policy().affinity.when_unavailable
        else {
            return None;
        };
        let is_away = lost.reason != Reason::Full && !lost.is_gone_for_good();
        let home = lost.backend.filter(|_| is_away)?;
        // Nobody says when a home comes back that only failed this request: look now and then.
        let up_to = match home.state().accepts_bound() {
            true => up_to.min(self.now.since(self.ask.since) + TRY_AGAIN),
            false => up_to,
        };
        self.wait_for(home, cause, up_to)
    }
}

/// A session without a home, for now or for good.
struct Lost<'a> {
    home: BackendId,
    /// The home, if it is still a member.
    backend: Option<&'a Arc<Backend>>,
    reason: Reason,
}

impl Lost<'_> {
    /// Is there nothing to wait for, or to come back to? An operator has emptied it on purpose, or
    /// it is no longer a member.
    fn is_gone_for_good(&self) -> bool {
        self.backend.is_none() || self.reason == Reason::Drained
    }

    fn unavailable(&self) -> Unavailable {
        Unavailable::Home { backend: self.home, reason: self.reason }
    }
}

#[inline]
fn start(backend: &Arc<Backend>, cause: Cause) -> Option<Decision> {
    let in_flight = backend.start(cause)?;
    let placement = Placement { backend: backend.clone(), cause, session: None };
    Some(Decision::Place(placement, in_flight))
}
