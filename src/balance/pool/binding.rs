//! After the answer: which session was that, where does it live, and what is the client told?

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Placement, Pool};
use crate::balance::affinity::{
    AffinitySpec, Binding, Establish, Grant, Hint, Mode, SessionId, Wish,
};
use crate::balance::drain::Seen;
use crate::balance::members::Members;
use crate::balance::{Backend, BackendId, Cause, Reason, Rng, Timestamp};

impl Pool {
    /// Records the session of a request that was served where `placement` says, and gives what to
    /// tell the client. Called when the response is about to go out: a session that never got an
    /// answer is none. `wish` is what the app wants done with the session.
    pub fn bind(
        &self,
        hint: &Hint,
        placement: &Placement,
        wish: Option<Wish>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Binding {
        self.bind_among(|| self.members.load(), hint, placement, wish, now, rng)
    }

    /// The same; `members` gives the latest, which most of those who are free do without.
    pub(super) fn bind_among<M: Deref<Target = Arc<Members>>>(
        &self,
        members: impl FnOnce() -> M,
        hint: &Hint,
        placement: &Placement,
        wish: Option<Wish>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Binding {
        let Placement { backend, cause, session } = placement;
        if let Some(reason) = cause.reason() {
            self.count(reason);
        }
        if wish == Some(Wish::Release) {
            return self.log_out(hint, *cause);
        }
        match (*hint, cause) {
            (hint, Cause::New | Cause::Free) => {
                let former = self.expired(&hint);
                let nothing = if former { Binding::Revoke } else { Binding::Keep };
                if *cause == Cause::Free && wish != Some(Wish::Pin) {
                    return nothing;
                }
                let members = members();
                let affinity = &members.policy().affinity;
                if *cause == Cause::Free && !may_pin(affinity) {
                    return nothing;
                }
                let session = session.unwrap_or_else(|| SessionId::random(rng));
                // One that will be routed freely lives nowhere.
                if !affinity.frees(session) {
                    self.ledger.settle(session, backend, now, *cause);
                }
                Binding::Issue(Grant {
                    backend: backend.id(),
                    session,
                    issued: now,
                    refreshed: now,
                })
            }
            (hint, Cause::Unstuck) => self.unstuck(&members(), &hint, now),
            (Hint::Free | Hint::First(_), _) | (Hint::Key(_), Cause::Detoured(_)) => Binding::Keep,
            (Hint::Key(key), cause) => {
                let session = SessionId::from_bits(key);
                self.count_move(session, backend, *cause);
                self.ledger.settle(session, backend, now, *cause);
                Binding::Keep
            }
            (Hint::Bound(grant), Cause::Moved { .. }) => {
                self.count_move(grant.session, backend, *cause);
                self.ledger.settle(grant.session, backend, now, *cause);
                Binding::Issue(Grant { backend: backend.id(), refreshed: now, ..grant })
            }
            // It was served where it has moved to, on a token from before that.
            (Hint::Bound(grant), Cause::Bound) if backend.id() != grant.backend => {
                self.ledger.settle(grant.session, backend, now, *cause);
                Binding::Issue(Grant { backend: backend.id(), refreshed: now, ..grant })
            }
            (Hint::Bound(grant), cause) => {
                let is_at_home = *cause == Cause::Bound;
                self.stay(&members(), &grant, is_at_home, backend, now)
            }
        }
    }

    /// Counts a move, unless another request of the session was there before.
    fn count_move(&self, session: SessionId, backend: &Backend, cause: Cause) {
        if let Cause::Moved { reason, .. } = cause
            && self.ledger.home(session) != Some(backend.id())
        {
            self.moves[reason.index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A session that is routed freely: it lives nowhere, and nobody waits for it or loses it. Its
    /// token stays as it is, and is kept from growing old.
    fn unstuck(&self, members: &Members, hint: &Hint, now: Timestamp) -> Binding {
        match *hint {
            Hint::Bound(grant) => {
                self.ledger.end(grant.session);
                match members.policy().lifetimes.is_refresh_due(&grant, now) {
                    true => Binding::Issue(grant.refreshed_at(now)),
                    false => Binding::Keep,
                }
            }
            Hint::Key(key) => {
                self.ledger.end(SessionId::from_bits(key));
                Binding::Keep
            }
            Hint::Free | Hint::First(_) => Binding::Keep,
        }
    }

    /// The app says that the user has logged out: the session is over, wherever it was served.
    fn log_out(&self, hint: &Hint, cause: Cause) -> Binding {
        match *hint {
            Hint::Free | Hint::First(_) => Binding::Keep,
            Hint::Bound(_) if matches!(cause, Cause::New | Cause::Free) => {
                self.expired(hint);
                Binding::Revoke
            }
            Hint::Bound(grant) => {
                self.ledger.end(grant.session);
                self.count(Reason::Released);
                Binding::Revoke
            }
            Hint::Key(key) => {
                if self.ledger.end(SessionId::from_bits(key)).is_some() {
                    self.count(Reason::Released);
                }
                Binding::Keep
            }
        }
    }

    /// A token that is over, if there is one, ends the session that it was for.
    fn expired(&self, hint: &Hint) -> bool {
        let Hint::Bound(former) = hint else { return false };
        self.count(Reason::Expired);
        self.ledger.end(former.session);
        true
    }

    /// When the session of a token was seen last, as well as anybody knows. `stay` is what the
    /// ledger says of it.
    pub(super) fn seen(&self, grant: &Grant, stay: Option<(BackendId, Timestamp)>) -> Seen {
        match stay {
            Some((_, at)) => Seen::Here { at, grain: self.ledger.grain() },
            None => Seen::Elsewhere {
                refreshed: grant.refreshed,
                interval: self.affinity().refresh_interval(),
            },
        }
    }

    /// A session that keeps its home, whether it was served there or not.
    fn stay(
        &self,
        members: &Members,
        grant: &Grant,
        is_at_home: bool,
        backend: &Backend,
        now: Timestamp,
    ) -> Binding {
        let home = members.get(grant.backend);
        if let Some(home) = home
            && let Some(since) = self.ledger.see(grant.session, home, now)
        {
            // It has moved while its home was answering this, or this came with an old token:
            // nothing to keep any more.
            let is_stale = since.as_millis() > grant.refreshed.as_millis();
            if is_stale || is_at_home && !backend.state().accepts_bound() {
                return Binding::Keep;
            }
            self.ledger.settle(grant.session, home, now, Cause::Bound);
        }
        let is_due = members.policy().lifetimes.is_refresh_due(grant, now)
            // It was to leave, and nobody else took it.
            || home.is_some_and(|home| self.is_released(grant, home));
        match is_due {
            true => Binding::Issue(grant.refreshed_at(now)),
            false => Binding::Keep,
        }
    }

    /// Lets a session go: it ends here and now, and its next request is placed anew, away from
    /// where it was if it can be. Tokens from before are not honoured any more, by this proxy.
    /// Gives where the session was, if that was known.
    ///
    /// A key (hash affinity) is forgotten, and goes on to where hashing says.
    pub fn release(&self, session: SessionId, now: Timestamp) -> Option<BackendId> {
        if self.affinity().mode == Mode::Cookie {
            self.released.add(session, now);
        }
        self.ledger.end(session)
    }

    /// [Releases](Pool::release) all sessions of a backend, also those that this proxy does not
    /// know of. Gives how many it knew of.
    pub fn release_all(&self, id: BackendId, now: Timestamp) -> usize {
        let Some(backend) = self.backend(id) else { return 0 };
        if self.affinity().mode == Mode::Cookie {
            backend.release_sessions(now);
        }
        self.ledger.end_all(id)
    }

    /// Has an operator released this session since its token was made?
    #[inline]
    pub(super) fn is_released(&self, grant: &Grant, home: &Backend) -> bool {
        home.has_released(grant.refreshed) || self.released.has(grant)
    }
}

/// May a session begin with an answer to a request that was free?
fn may_pin(affinity: &AffinitySpec) -> bool {
    affinity.mode == Mode::Cookie && affinity.establish == Establish::OnDemand
}
