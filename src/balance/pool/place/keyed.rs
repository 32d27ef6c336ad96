//! A request with a key: where hashing says, as far as that can serve it.

use super::{Decision, Lost, Placing, start};
use crate::balance::affinity::{Afterwards, SessionId};
use crate::balance::drain::Seen;
use crate::balance::{Backend, BackendId, BackendState, Cause, Reason, Timestamp, Unavailable};

impl Placing<'_> {
    /// The key's owner is its home; while that cannot serve, the next in the key's order of
    /// preference, and if its whole priority cannot, of the next one. The ledger remembers where
    /// the key was last, which makes two things possible that hashing alone cannot do: a draining
    /// backend keeps the keys that it has and gets no new ones, and every move is counted.
    pub(super) fn keyed(&self, key: u64) -> Result<Decision, Unavailable> {
        let stay = self.pool.ledger.last_seen(SessionId::from_bits(key));
        let last = stay.map(|(last, _)| last);
        let tier = self.tier(last);
        let accept = |_: &Backend| true;
        let home = self.members.owner(key, tier, accept).ok_or(Unavailable::NoBackend)?;
        let is_open = |b: &Backend| b.state().accepts_new() || last == Some(b.id());
        let serves = |b: &Backend| self.refusal(b).is_none() && is_open(b);
        let mut detour = None;
        let mut target = home;
        if let Some(reason) = self.refusal(home) {
            let lost = Lost { home: home.id(), backend: Some(home), reason };
            if let Some(wait) = self.wait_for_return(&lost, self.kept_or_moved(last, home)) {
                return Ok(Decision::Wait(wait));
            }
            match self.policy(&lost) {
                Afterwards::Reject => return Err(lost.unavailable()),
                Afterwards::Detour => detour = Some(reason),
                Afterwards::Rebalance => {}
            }
            target = self.members.owner(key, None, serves).ok_or(Unavailable::NoBackend)?;
        } else if !is_open(home) {
            target = self.members.owner(key, None, serves).ok_or(Unavailable::NoBackend)?;
        }
        if detour.is_none()
            && target.state() == BackendState::Draining
            && let Some(decision) = self.key_leaves(key, target, stay)
        {
            return Ok(decision);
        }
        if let Some(factor) = self.members.policy().affinity.max_load
            && target.in_flight() >= target.bound(factor)
        {
            let has_time = |b: &Backend| serves(b) && b.in_flight() < b.bound(factor);
            if let Some(other) = self.members.owner(key, Some(target.priority()), has_time) {
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
        let other = self.members.owner(key, None, |b| serves(b) && b.has_room());
        other.and_then(|b| start(b, Cause::Detoured(Reason::Full))).ok_or(Unavailable::Full)
    }

    /// The priority among whose backends keys have their homes: the first that has a backend that
    /// takes new ones. What drains keeps its keys even if its priority has none left.
    fn tier(&self, last: Option<BackendId>) -> Option<u32> {
        let first = self.members.priority();
        let last = last.and_then(|last| self.members.get(last));
        let keeps = last.filter(|b| {
            b.state() == BackendState::Draining && b.weight() > 0 && self.refusal(b).is_none()
        });
        match (keeps.map(|backend| backend.priority()), first) {
            (Some(kept), Some(first)) => Some(kept.min(first)),
            (kept, first) => kept.or(first),
        }
    }

    /// A key whose home drains goes where it would go without that home, if the drain wants it to
    /// and somebody takes it.
    #[cold]
    fn key_leaves(
        &self,
        key: u64,
        home: &Backend,
        stay: Option<(BackendId, Timestamp)>,
    ) -> Option<Decision> {
        let drain = home.current_drain()?;
        let (_, at) = stay.filter(|(last, _)| *last == home.id())?;
        let seen = || Seen::Here { at, grain: self.pool.ledger.grain() };
        if !drain.wants_to_move(self.now, seen) {
            return None;
        }
        let takes_it = |b: &Backend| self.serves_new(b);
        let other = self.members.owner(key, None, takes_it)?;
        if self.is_awaited(other) || !drain.may_move(self.now) {
            return None;
        }
        start(other, Cause::Moved { from: home.id(), reason: Reason::Draining })
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
}
