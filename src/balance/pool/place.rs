//! The decision: where does this request go? The one place where affinity meets balancing.

use std::sync::Arc;
use std::time::Duration;

use super::{Placement, Pool};
use crate::balance::affinity::{
    Afterwards, Hint, Mode, OverloadAction, SessionId, WhenUnavailable,
};
use crate::balance::members::Members;
use crate::balance::queue::{Claim, Wait};
use crate::balance::{Backend, BackendId, Cause, InFlight, Reason, Rng, Timestamp, Unavailable};

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
}

/// Where a request goes.
#[derive(Debug)]
pub enum Decision {
    /// There, and it counts as in flight from now on.
    Place(Placement, InFlight),
    /// Nowhere yet. At the wait's deadline it asks again, as if it had tried nothing.
    Wait(Wait),
}

impl Pool {
    /// Decides where a request goes.
    pub fn place(
        &self,
        ask: &Ask<'_>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        let members = self.members.load();
        let placing = Placing { pool: self, members: &members, ask, now };
        let decision = match ask.hint {
            Hint::Free => {
                let bound_from_now_on = members.policy().affinity.mode == Mode::Cookie;
                let cause = if bound_from_now_on { Cause::New } else { Cause::Free };
                placing.anywhere(cause, None, rng)
            }
            Hint::Bound(grant) if members.policy().affinity.is_over(&grant, now) => {
                placing.anywhere(Cause::New, None, rng)
            }
            Hint::Bound(grant) => placing.bound(grant.backend, grant.session, rng),
            Hint::Key(key) => placing.keyed(key),
        };
        if decision.is_err() {
            self.unavailable.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
    /// Where the balancer says. `home` is where the session lives that cannot go there.
    fn anywhere(
        &self,
        cause: Cause,
        home: Option<BackendId>,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        // Nobody overtakes those who wait already, unless they may not go there.
        let is_awaited = |b: &Backend| self.pool.shared.queue().first(b.id()).is_some();
        // Nor at home, if it can be reached at all: it has sent this one away.
        let others: Vec<_> = self.ask.tried.iter().copied().chain(home).collect();
        for _ in 0..RACES {
            let picked = self.members.pick(&others, self.now, rng);
            let Some(backend) = picked.filter(|b| !is_awaited(b)) else { break };
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

    /// A session goes home if it can.
    fn bound(
        &self,
        home: BackendId,
        session: SessionId,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        let session = session.to_bits();
        let lost = match self.members.get(home) {
            None => Lost { home, backend: None, reason: Reason::Removed },
            Some(backend) => match self.refusal(backend).or(self.overload(backend)) {
                Some(Reason::Overloaded) => return self.overloaded(backend, session, rng),
                Some(reason) => Lost { home, backend: Some(backend), reason },
                None => match self.at_home(backend, Cause::Bound) {
                    Some(decision) => return Ok(decision),
                    None => Lost { home, backend: Some(backend), reason: Reason::Full },
                },
            },
        };
        if let Some(wait) = self.wait_for_return(&lost, Cause::Bound) {
            return Ok(Decision::Wait(wait));
        }
        let policy = match lost.backend {
            Some(_) => self.members.policy().affinity.when_unavailable.without_waiting(),
            None => Afterwards::Rebalance, // it will not come back
        };
        match policy {
            Afterwards::Rebalance => {
                self.anywhere(Cause::Moved { from: home, reason: lost.reason }, Some(home), rng)
            }
            Afterwards::Detour => {
                let is_other = |b: &Backend| b.id() != home && self.serves_new(b);
                let stand_in = self.members.stand_in(session, is_other);
                let cause = Cause::Detoured(lost.reason);
                let decision = stand_in.and_then(|backend| start(backend, cause));
                decision.map_or_else(|| self.anywhere(cause, Some(home), rng), Ok)
            }
            Afterwards::Reject => Err(lost.unavailable()),
        }
    }

    /// Why a session that lives at `backend` cannot be served there now.
    fn refusal(&self, backend: &Backend) -> Option<Reason> {
        match self.ask.tried.contains(&backend.id()) {
            true => Some(Reason::Ejected),
            false => backend.state().refusal(),
        }
    }

    fn overload(&self, backend: &Backend) -> Option<Reason> {
        let overload = self.members.policy().affinity.overload?;
        (backend.in_flight() >= backend.bound(overload.factor)).then_some(Reason::Overloaded)
    }

    /// May it be sent something that is not bound to it?
    fn serves_new(&self, backend: &Backend) -> bool {
        self.refusal(backend).is_none() && backend.state().accepts_new() && backend.has_room()
    }

    /// What the policy says of a home that has more to do than its share. A session leaves only
    /// for a backend that has not.
    fn overloaded(
        &self,
        home: &Arc<Backend>,
        session: u64,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        let stays = || {
            let full = Unavailable::Home { backend: home.id(), reason: Reason::Full };
            self.at_home(home, Cause::Bound).ok_or(full)
        };
        match self.members.policy().affinity.overload.map(|overload| overload.action) {
            Some(OverloadAction::Queue) => {
                let wait = self.wait_for(home, Cause::Bound, self.members.policy().queue.timeout);
                let overloaded =
                    Unavailable::Home { backend: home.id(), reason: Reason::Overloaded };
                wait.map(Decision::Wait).ok_or(overloaded)
            }
            Some(OverloadAction::Detour) => {
                let has_time = |b: &Backend| self.serves_new(b) && self.overload(b).is_none();
                let stand_in = self.members.stand_in(session, has_time);
                let detour = stand_in.and_then(|b| start(b, Cause::Detoured(Reason::Overloaded)));
                detour.map_or_else(stays, Ok)
            }
            Some(OverloadAction::Rebalance) => {
                let picked = self.members.pick(self.ask.tried, self.now, rng);
                let cause = Cause::Moved { from: home.id(), reason: Reason::Overloaded };
                let relieved = picked.filter(|backend| self.overload(backend).is_none());
                relieved.and_then(|backend| start(backend, cause)).map_or_else(stays, Ok)
            }
            None => stays(),
        }
    }

    /// The key's owner is its home; while that cannot serve, the next in the key's order of
    /// preference. The ledger remembers where the key was last, which makes two things possible
    /// that hashing alone cannot do: a draining backend keeps the keys that it has and gets no
    /// new ones, and every move is counted.
    fn keyed(&self, key: u64) -> Result<Decision, Unavailable> {
        let last = self.pool.ledger.home(SessionId::from_bits(key));
        let priority = self.members.priority();
        let takes_part = |b: &Backend| priority.is_none_or(|p| b.priority() == p);
        let home = self.members.owner(key, takes_part).ok_or(Unavailable::NoBackend)?;
        let is_open = |b: &Backend| b.state().accepts_new() || last == Some(b.id());
        let serves = |b: &Backend| takes_part(b) && self.refusal(b).is_none() && is_open(b);
        let mut detour = None;
        let mut target = home;
        if let Some(reason) = self.refusal(home) {
            let lost = Lost { home: home.id(), backend: Some(home), reason };
            if let Some(wait) = self.wait_for_return(&lost, self.kept_or_moved(last, home)) {
                return Ok(Decision::Wait(wait));
            }
            match self.members.policy().affinity.when_unavailable.without_waiting() {
                Afterwards::Reject => return Err(lost.unavailable()),
                Afterwards::Detour => detour = Some(reason),
                Afterwards::Rebalance => {}
            }
            target = self.members.owner(key, serves).ok_or(Unavailable::NoBackend)?;
        } else if !is_open(home) {
            target = self.members.owner(key, serves).unwrap_or(home);
        }
        if let Some(factor) = self.members.policy().affinity.max_load
            && target.in_flight() >= target.bound(factor)
        {
            let has_time = |b: &Backend| serves(b) && b.in_flight() < b.bound(factor);
            if let Some(other) = self.members.owner(key, has_time) {
                (target, detour) = (other, Some(Reason::Overloaded));
            }
        }
        let cause = detour.map_or_else(|| self.kept_or_moved(last, target), Cause::Detoured);
        if let Some(decision) = self.at_home(target, cause) {
            return Ok(decision);
        }
        let full = Lost { home: target.id(), backend: None, reason: Reason::Full };
        if self.members.policy().affinity.when_unavailable.without_waiting() == Afterwards::Reject {
            return Err(full.unavailable());
        }
        let other = self.members.owner(key, |b| serves(b) && b.has_room());
        other.and_then(|b| start(b, Cause::Detoured(Reason::Full))).ok_or(Unavailable::Full)
    }

    fn kept_or_moved(&self, last: Option<BackendId>, target: &Backend) -> Cause {
        match last {
            Some(from) if from != target.id() => {
                let reason = match self.members.get(from) {
                    None => Reason::Removed,
                    // It could still serve, so the key has found a home that it prefers.
                    Some(former) => self.refusal(former).unwrap_or(Reason::Rebalanced),
                };
                Cause::Moved { from, reason }
            }
            _ => Cause::Keyed,
        }
    }

    /// At home, or in the queue for it. `None` if it is full and so is its queue, or the time to
    /// wait is over.
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
        let home = lost.backend.filter(|_| lost.reason != Reason::Full)?;
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
    fn unavailable(&self) -> Unavailable {
        Unavailable::Home { backend: self.home, reason: self.reason }
    }
}

fn start(backend: &Arc<Backend>, cause: Cause) -> Option<Decision> {
    let in_flight = backend.start(cause)?;
    Some(Decision::Place(Placement { backend: backend.clone(), cause }, in_flight))
}
