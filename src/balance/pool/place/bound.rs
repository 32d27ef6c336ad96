//! A session with a token: home, if that can serve it.

use std::sync::Arc;

use super::{Decision, Lost, Placing, start};
use crate::balance::affinity::{Afterwards, Grant, OverloadAction};
use crate::balance::{
    Backend, BackendId, BackendState, Cause, Reason, Rng, Timestamp, Unavailable,
};

impl Placing<'_> {
    /// A session goes home if it can.
    #[inline]
    pub(super) fn bound(&self, grant: &Grant, rng: &mut dyn Rng) -> Result<Decision, Unavailable> {
        let home = self.members.get(grant.backend);
        match home {
            Some(backend) if self.pool.is_released(grant, backend) => {
                self.anew(grant, backend, rng)
            }
            _ => self.goes_home(grant, home, rng),
        }
    }

    /// Nobody has released it from `backend`, the home of its token.
    #[inline]
    fn goes_home(
        &self,
        grant: &Grant,
        backend: Option<&Arc<Backend>>,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        let (home, session) = (grant.backend, grant.session.to_bits());
        let lost = match backend {
            None => {
                let reason = self.ask.let_go.unwrap_or(Reason::Removed);
                Lost { home, backend: None, reason }
            }
            Some(backend) => {
                let state = backend.state();
                if state == BackendState::Draining
                    && let Some(decision) = self.leave(grant, backend, rng)
                {
                    return decision;
                }
                match self.refusal_in(backend, state).or(self.overload(backend)) {
                    Some(Reason::Overloaded) => return self.overloaded(backend, session, rng),
                    Some(reason) => Lost { home, backend: Some(backend), reason },
                    None => {
                        let moved = self.evens_out(grant, backend);
                        match moved.or_else(|| self.at_home(backend, Cause::Bound)) {
                            Some(decision) => return Ok(decision),
                            None => Lost { home, backend: Some(backend), reason: Reason::Full },
                        }
                    }
                }
            }
        };
        if lost.reason != Reason::Full
            && let Some(other) = self.moved_to(grant, self.pool.ledger.last_seen(grant.session))
        {
            return self.follows(grant, other, rng);
        }
        if let Some(wait) = self.wait_for_return(&lost, Cause::Bound) {
            return Ok(Decision::Wait(wait));
        }
        match self.policy(&lost) {
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

    /// A session whose home drains goes where it has gone already, or where it goes now if the
    /// drain wants it to and somebody takes it. Else it stays for another while.
    #[cold]
    fn leave(
        &self,
        grant: &Grant,
        home: &Arc<Backend>,
        rng: &mut dyn Rng,
    ) -> Option<Result<Decision, Unavailable>> {
        let stay = self.pool.ledger.last_seen(grant.session);
        if let Some(other) = self.moved_to(grant, stay) {
            return Some(self.follows(grant, other, rng));
        }
        let drain = home.current_drain()?;
        if self.refusal(home).is_some()
            || !drain.wants_to_move(self.now, || self.pool.seen(grant, stay))
        {
            return None;
        }
        let picked = self.members.pick(self.ask.tried, self.now, rng)?;
        if self.is_awaited(picked) || !drain.may_move(self.now) {
            return None;
        }
        start(picked, Cause::Moved { from: home.id(), reason: Reason::Draining }).map(Ok)
    }

    /// A session that an operator has released: where it has gone since, or wherever the balancer
    /// says; at home only if there is nobody else.
    #[cold]
    fn anew(
        &self,
        grant: &Grant,
        home: &Arc<Backend>,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        let stay = self.pool.ledger.last_seen(grant.session);
        if let Some(other) = self.moved_to(grant, stay) {
            return self.follows(grant, other, rng);
        }
        let moved = Cause::Moved { from: home.id(), reason: Reason::Released };
        self.anywhere(moved, Some(home.id()), rng).or_else(|nowhere| {
            let at_home = || self.at_home(home, Cause::Bound);
            let stays = self.refusal(home).is_none().then(at_home).flatten();
            stays.ok_or(nowhere)
        })
    }

    /// A session that has paused, and whose home has more than its share of all sessions, moves to
    /// a backend that has less, if the policy wants that and its pace allows it.
    fn evens_out(&self, grant: &Grant, home: &Arc<Backend>) -> Option<Decision> {
        let rebalance = self.members.policy().affinity.rebalance?;
        let sessions = self.pool.ledger.len();
        let most = (1.0 + rebalance.margin) * home.share() * sessions as f32;
        if home.sessions() as f32 <= most || !home.state().accepts_new() {
            return None;
        }
        let stay = self.pool.ledger.last_seen(grant.session);
        let seen = self.pool.seen(grant, stay).at_the_latest(self.now);
        let is_elsewhere = stay.is_some_and(|(other, _)| other != home.id());
        if is_elsewhere || self.now.since(seen) < rebalance.idle_for {
            return None;
        }
        let is_free = |b: &Backend| self.serves_new(b) && !self.is_awaited(b);
        let target = self.members.fewest_sessions(sessions, is_free)?;
        if !self.pool.rebalancing.take(rebalance.moves_per_second, self.now) {
            return None;
        }
        start(target, Cause::Moved { from: home.id(), reason: Reason::Rebalanced })
    }

    /// As if the token already said where the session lives by now.
    fn follows(
        &self,
        grant: &Grant,
        backend: &Arc<Backend>,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        self.goes_home(&Grant { backend: backend.id(), ..*grant }, Some(backend), rng)
    }

    /// Where a session lives, if that is not where its token says and can serve it: a browser sends
    /// several requests at once, and one of them is the first to learn of a move.
    fn moved_to(
        &self,
        grant: &Grant,
        stay: Option<(BackendId, Timestamp)>,
    ) -> Option<&Arc<Backend>> {
        let (other, _) = stay.filter(|(other, _)| *other != grant.backend)?;
        self.members.get(other).filter(|backend| self.refusal(backend).is_none())
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
}
