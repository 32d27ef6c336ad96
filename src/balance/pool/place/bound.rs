//! A session with a token: home, if that can serve it.

use std::sync::Arc;

use super::{Decision, Lost, Placing, start};
use crate::balance::affinity::{Afterwards, Grant, OverloadAction};
use crate::balance::{Backend, BackendState, Cause, Reason, Rng, Unavailable};

impl Placing<'_> {
    /// A session goes home if it can.
    pub(super) fn bound(&self, grant: &Grant, rng: &mut dyn Rng) -> Result<Decision, Unavailable> {
        let (home, session) = (grant.backend, grant.session.to_bits());
        let lost = match self.members.get(home) {
            None => Lost { home, backend: None, reason: Reason::Removed },
            Some(backend) => {
                let state = backend.state();
                if state == BackendState::Draining
                    && let Some(decision) = self.leave(grant, backend, rng)
                {
                    return Ok(decision);
                }
                match self.refusal_in(backend, state).or(self.overload(backend)) {
                    Some(Reason::Overloaded) => return self.overloaded(backend, session, rng),
                    Some(reason) => Lost { home, backend: Some(backend), reason },
                    None => match self.at_home(backend, Cause::Bound) {
                        Some(decision) => return Ok(decision),
                        None => Lost { home, backend: Some(backend), reason: Reason::Full },
                    },
                }
            }
        };
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

    /// A session whose home drains: where it has gone already, or where it goes now if the drain
    /// wants it to and somebody takes it. Else it stays for another while.
    #[cold]
    fn leave(&self, grant: &Grant, home: &Arc<Backend>, rng: &mut dyn Rng) -> Option<Decision> {
        let stay = self.pool.ledger.last_seen(grant.session);
        if let Some((other, _)) = stay.filter(|(other, _)| *other != home.id()) {
            // It has moved, and this request does not know yet.
            let backend = self.members.get(other).filter(|b| self.refusal(b).is_none())?;
            return start(backend, Cause::Bound);
        }
        let drain = home.current_drain()?;
        if !drain.wants_to_move(self.now, || self.pool.seen(grant, stay)) {
            return None;
        }
        let picked = self.members.pick(self.ask.tried, self.now, rng)?;
        if self.is_awaited(picked) || !drain.may_move(self.now) {
            return None;
        }
        start(picked, Cause::Moved { from: home.id(), reason: Reason::Draining })
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
