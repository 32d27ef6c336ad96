//! Conditions that begin and end, and what follows: drains above all.

use std::sync::{Arc, MutexGuard};

use super::{Keeping, Pool, Transition};
use crate::balance::drain::{Drain, DrainPolicy, DrainProgress, Refused};
use crate::balance::{Backend, BackendId, BackendState, Condition, Timestamp};

/// Conditions of a backend that begin or end together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// Those that begin to hold, as a set of bits.
    begin: u8,
    /// Those that end.
    end: u8,
    /// How it drains, if it does and the pool's own policy is not meant.
    policy: Option<DrainPolicy>,
    /// When the drain began, if that was in another life of this proxy.
    since: Option<Timestamp>,
}

impl Change {
    pub(super) fn begin(condition: Condition) -> Self {
        Change { begin: condition as u8, ..Change::default() }
    }

    fn end(conditions: u8) -> Self {
        Change { end: conditions, ..Change::default() }
    }
}

impl Pool {
    /// How its backends drain, unless somebody says otherwise.
    pub fn drain_policy(&self) -> DrainPolicy {
        self.members.load().policy().drain
    }

    /// Begins to drain a backend, or gives another policy to its drain, whose deadline counts from
    /// `now` then. Nothing changes if it is drained already. Gives the change of state, if one is
    /// to be seen.
    ///
    /// Refused when no other backend is ready, unless `force`d.
    pub fn drain(
        &self,
        id: BackendId,
        policy: DrainPolicy,
        force: bool,
        now: Timestamp,
    ) -> Result<Option<Transition>, Refused> {
        let change = Change { policy: Some(policy), ..Change::begin(Condition::Draining) };
        self.take_out(id, change, force, now)
    }

    /// Takes a backend out of service at once. Its sessions move at their next request.
    ///
    /// Refused when no other backend is ready, unless `force`d.
    pub fn maintenance(
        &self,
        id: BackendId,
        force: bool,
        now: Timestamp,
    ) -> Result<Option<Transition>, Refused> {
        self.take_out(id, Change::begin(Condition::Maintenance), force, now)
    }

    /// Goes on with a drain that began before this proxy did, at `since`. Its sessions are not
    /// known yet, so it is not over before the deadline, or before all of them would have idled
    /// out.
    pub fn resume_drain(
        &self,
        id: BackendId,
        policy: DrainPolicy,
        since: Timestamp,
        now: Timestamp,
    ) -> Option<Transition> {
        let change = Change {
            policy: Some(policy),
            since: Some(since),
            ..Change::begin(Condition::Draining)
        };
        self.change_and_settle(id, change, now)
    }

    /// Gives a backend back what an operator has taken: ends drain, drained and maintenance.
    pub fn make_ready(&self, id: BackendId, now: Timestamp) -> Option<Transition> {
        self.change_and_settle(id, Change::end(Condition::BY_OPERATOR), now)
    }

    /// How far the drain of a backend is, or how its last one went.
    pub fn drain_progress(&self, id: BackendId, now: Timestamp) -> Option<DrainProgress> {
        let backend = self.backend(id)?;
        let drain = backend.last_drain()?;
        Some(drain.progress(backend.left(), self.affinity().idle_timeout, now))
    }

    /// How many tunnels have not been asked to end, those to former members among them.
    pub fn tunnels_to_close(&self) -> usize {
        self.with_departed().iter().map(|backend| backend.open_tunnels().count()).sum()
    }

    /// Asks so many tunnels to end, whatever their backends, the oldest of each first. Gives how
    /// many there were to ask. For a proxy that stops: how fast is the caller's business.
    pub fn close_tunnels(&self, at_most: usize) -> usize {
        let backends = self.with_departed();
        let mut open: Vec<_> = backends.iter().map(|backend| backend.open_tunnels()).collect();
        let mut asked = 0;
        while asked < at_most && !open.is_empty() {
            open.retain(|tunnels| {
                asked < at_most && tunnels.close_one() && {
                    asked += 1;
                    true
                }
            });
        }
        asked
    }

    /// The members, and those that were and are remembered.
    fn with_departed(&self) -> Vec<Arc<Backend>> {
        let mut backends = self.backends();
        backends.extend(self.lock().departed.iter().cloned());
        backends
    }

    /// Makes a condition of a backend hold or not, and renews the candidates. Gives the change of
    /// state, if one is to be seen.
    pub fn set(
        &self,
        id: BackendId,
        condition: Condition,
        holds: bool,
        now: Timestamp,
    ) -> Option<Transition> {
        let change = match holds {
            true => Change::begin(condition),
            false => Change::end(condition as u8),
        };
        self.change_and_settle(id, change, now)
    }

    fn take_out(
        &self,
        id: BackendId,
        change: Change,
        force: bool,
        now: Timestamp,
    ) -> Result<Option<Transition>, Refused> {
        let transition = {
            let lock = self.lock();
            let members = self.members.load();
            let backend = members.get(id).ok_or(Refused::UnknownBackend)?;
            if !backend.is_taken_out() {
                members.check_dispensable(id, force)?;
            }
            self.change(&lock, id, change, now)
        };
        self.settle(transition.as_ref());
        Ok(transition)
    }

    fn change_and_settle(
        &self,
        id: BackendId,
        change: Change,
        now: Timestamp,
    ) -> Option<Transition> {
        let transition = self.change(&self.lock(), id, change, now);
        self.settle(transition.as_ref());
        transition
    }

    /// Under the change lock.
    pub(super) fn change(
        &self,
        _lock: &MutexGuard<'_, Keeping>,
        id: BackendId,
        change: Change,
        now: Timestamp,
    ) -> Option<Transition> {
        let members = self.members.load();
        let backend = members.get(id)?.clone();
        let from = backend.state();
        self.apply(&backend, change, now);
        let to = backend.state();
        if from == to {
            return None;
        }
        if to == BackendState::Ready && from != BackendState::Draining {
            backend.set_ready_since(now);
        }
        self.renew(members.all().to_vec(), now);
        Some(Transition { backend, from, to })
    }

    /// The conditions, and the drain that goes with them.
    fn apply(&self, backend: &Backend, change: Change, now: Timestamp) {
        const DRAINED: u8 = Condition::Drained as u8;
        let before = backend.conditions();
        let mut after = before & !change.end | change.begin;
        let (was_leaving, is_leaving) =
            (before & Condition::LEAVING != 0, after & Condition::LEAVING != 0);
        // Who is asked back is not drained any more.
        if was_leaving && !is_leaving && change.begin & DRAINED == 0 {
            after &= !DRAINED;
        }
        let drain = backend.last_drain().filter(|drain| was_leaving && drain.is_open());
        let begins = is_leaving && after & DRAINED == 0;
        match drain {
            Some(drain) if !begins => {
                drain.end(backend.left(), now, after & DRAINED == 0);
            }
            Some(drain) if change.since.is_none() => {
                if let Some(policy) = change.policy {
                    backend.begin_drain(drain.under(policy, now));
                }
            }
            // What the app had asked for is the drain that goes on.
            _ if begins => {
                let policy = change.policy.unwrap_or(self.drain_policy());
                let patience = change.since.map_or(now, |_| now + self.affinity().idle_timeout);
                let since = change.since.unwrap_or(now);
                backend.begin_drain(Drain::new(policy, since, patience));
            }
            _ => {}
        }
        backend.set_conditions(after);
    }

    /// Lets overdue sessions go, closes overdue tunnels, and ends the drains of backends that are empty.
    pub(super) fn go_on_draining(&self, now: Timestamp) -> Vec<Transition> {
        let members = self.members.load();
        let leaving = members.all().iter().filter(|backend| backend.is_leaving());
        let drained = leaving.filter_map(|backend| {
            let drain = backend.current_drain().filter(|drain| drain.is_open())?;
            drain.let_go(backend.id(), &self.ledger, now);
            while backend.open_tunnels().any() && drain.may_close_tunnel(now) {
                backend.open_tunnels().close_one();
            }
            drain.sample(now);
            drain.is_over(backend.left(), now).then_some(())?;
            self.set(backend.id(), Condition::Drained, true, now)
        });
        drained.collect()
    }
}
