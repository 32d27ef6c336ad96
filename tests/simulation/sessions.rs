//! What must be true of sessions that are released, evened out, or begin in a burst.

use std::time::Duration;

use stickler::balance::affinity::Mode;
use stickler::balance::{
    BackendId, BackendState, Binding, Grant, Hint, Placement, Pool, Reason, SessionId, Timestamp,
};

use crate::drains::Departure;
use crate::shadow::{Line, Shadow, equal};

/// Where a client's first request went.
#[derive(Clone, Copy, Debug)]
pub struct First {
    backend: BackendId,
    session: SessionId,
    at: Timestamp,
}

impl First {
    fn is_fresh(&self, window: Duration, now: Timestamp) -> bool {
        now.since(self.at).max(self.at.since(now)) < window
    }
}

impl Shadow {
    /// Is the token from before its session was released?
    pub fn is_released(&self, grant: &Grant) -> bool {
        let Some(home) = self.member(grant.backend) else { return false };
        let alone = self.released.get(&grant.session.to_bits()).copied();
        let last = alone.into_iter().chain(home.released).max();
        last.is_some_and(|released| grant.refreshed.as_millis() <= released)
    }

    /// An operator lets a session go.
    pub fn release(&mut self, session: SessionId, now: Timestamp) -> Option<BackendId> {
        if self.affinity().mode == Mode::Cookie {
            self.released.insert(session.to_bits(), now.as_millis());
        }
        let home = self.last(session);
        self.end(session, now);
        home
    }

    /// All of a backend.
    pub fn release_all(&mut self, id: BackendId, now: Timestamp) -> usize {
        if self.affinity().mode == Mode::Cookie {
            self.get_mut(id).released = Some(now.as_millis());
        }
        let sessions = self.sessions_of(id);
        for session in &sessions {
            self.stays.remove(session);
            self.went(id, Departure::Left, now);
        }
        sessions.len()
    }

    fn sessions_of(&self, id: BackendId) -> Vec<u64> {
        let there = self.stays.iter().filter(|(_, stay)| stay.home == id);
        there.map(|(session, _)| *session).collect()
    }

    /// A known session, whichever the number points at.
    pub fn any_session(&self, number: usize) -> Option<SessionId> {
        let at = number.checked_rem(self.stays.len())?;
        self.stays.keys().nth(at).map(|session| SessionId::from_bits(*session))
    }

    /// A session that is routed freely lives nowhere. It keeps its token, with the home that it
    /// would have, and the token is kept from growing old.
    pub fn unstuck(&self, hint: &Hint, now: Timestamp) -> Binding {
        match *hint {
            Hint::Bound(grant) if self.affinity().is_refresh_due(&grant, now) => {
                Binding::Issue(Grant { issued: grant.issued.min(now), refreshed: now, ..grant })
            }
            _ => Binding::Keep,
        }
    }

    /// Nobody who is routed freely has moved, or is somewhere to be lost: the ledger has only those
    /// that are bound.
    pub fn same_arms(&self, pool: &Pool) -> Result<(), String> {
        let Some(unstick) = self.affinity().unstick else { return Ok(()) };
        let freed = |session: &&u64| self.affinity().frees(SessionId::from_bits(**session));
        if let Some(session) = self.stays.keys().find(freed) {
            return Err(format!("session {session:x} is routed freely and lives somewhere"));
        }
        if unstick.percent() == 100.0 {
            equal("sessions, with all of them free", &pool.ledger().len(), &0)?;
            equal("moves, with all of them free", &pool.moves().iter().sum(), &0)?;
        }
        Ok(())
    }

    /// What is over, of releases and bursts.
    pub fn forget(&mut self, now: Timestamp) {
        let affinity = self.affinity();
        let lifetime = affinity.idle_timeout + affinity.refresh_interval();
        self.released.retain(|_, at| now.since(Timestamp::from_millis(*at)) <= lifetime);
        let window = self.affinity().coalesce.unwrap_or(Duration::ZERO);
        self.firsts.retain(|_, first| first.is_fresh(window, now));
    }

    /// May a session leave a home that is well, for evenness?
    pub fn may_even_out(&self, grant: &Grant, home: BackendId, now: Timestamp) -> bool {
        let Some(rebalance) = self.affinity().rebalance else { return false };
        let seen = self.seen(grant.session).map_or(grant.refreshed, |(seen, _)| seen);
        let sessions = self.stays.len() as f32;
        let has_many = self.share(home).is_none_or(|share| {
            self.sessions_of(home).len() as f32 > (1.0 + rebalance.margin) * share * sessions
        });
        self.known(home).state() == BackendState::Ready
            && now.since(seen) >= rebalance.idle_for
            && has_many
    }

    /// Has a backend fewer sessions than its share?
    pub fn has_few(&self, id: BackendId) -> bool {
        let sessions = self.sessions_of(id).len() as f32 + 1.0;
        self.share(id).is_none_or(|share| sessions <= share * self.stays.len() as f32 * 1.0001)
    }

    /// Moves for evenness keep to their pace.
    pub fn same_pace(&self, pool: &Pool, now: Timestamp) -> Result<(), String> {
        let Some(rebalance) = self.affinity().rebalance.filter(|_| !self.clock_has_stepped) else {
            return Ok(());
        };
        let time = now.since(self.begun).as_secs_f64() + 0.5;
        let most = (time * f64::from(rebalance.moves_per_second.get())).ceil() as u64 + 2;
        let moved = pool.count_of(Reason::Rebalanced);
        match moved <= most {
            true => Ok(()),
            false => Err(format!("{moved} were evened out, {most} may be")),
        }
    }

    /// One of the first requests of a client was placed at once: if another one was just before
    /// it, with that. Says whether it was.
    pub fn first(
        &mut self,
        client: u64,
        tried: &[BackendId],
        placement: &Placement,
        now: Timestamp,
    ) -> Result<bool, String> {
        let window = self.affinity().coalesce.unwrap_or(Duration::ZERO);
        let Some(session) = placement.session else {
            let may = self.affinity().establish == stickler::balance::affinity::Establish::OnDemand;
            return if may { Ok(false) } else { Err("a first request without a session".into()) };
        };
        let id = placement.backend.id();
        if let Some(first) = self.firsts.get(&client)
            && first.is_fresh(window, now)
            && self.member(first.backend).is_some_and(|b| b.takes_new() && b.has_room())
            && !tried.contains(&first.backend)
            && self.line(Line::Any) == 0
        {
            equal("where the first one went", &id, &first.backend)?;
            equal("the session of the first one", &session, &first.session)?;
            return Ok(true);
        }
        let is_known = self.firsts.get(&client).is_some_and(|first| first.session == session);
        if !is_known {
            self.firsts.insert(client, First { backend: id, session, at: now });
        }
        Ok(false)
    }

    /// Does a request that nothing binds go where its client's first one went?
    pub fn follows(&self, hint: &Hint, placement: &Placement) -> bool {
        let Hint::First(client) = hint else { return false };
        let first = self.firsts.get(client);
        first.is_some_and(|first| placement.session == Some(first.session))
    }
}
