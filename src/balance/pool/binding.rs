//! After the answer: which session was that, where does it live, and what is the client told?

use super::{Placement, Pool};
use crate::balance::affinity::{Binding, Grant, Hint, SessionId};
use crate::balance::drain::{Departure, Seen};
use crate::balance::{Backend, BackendId, Cause, Reason, Rng, Timestamp};

impl Pool {
    /// Records the session of a request that was served where `placement` says, and gives what to
    /// tell the client. Called when the response is about to go out: a session that never got an
    /// answer is none.
    pub fn bind(
        &self,
        hint: &Hint,
        placement: &Placement,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Binding {
        let Placement { backend, cause } = placement;
        if let Some(reason) = cause.reason() {
            self.count(reason);
        }
        let departure = match cause.reason() {
            Some(reason) => Departure::Moved(reason),
            None => Departure::Left,
        };
        match (*hint, cause) {
            (hint, Cause::New) => {
                if let Hint::Bound(former) = hint {
                    self.count(Reason::Expired);
                    self.ledger.end(former.session);
                }
                let session = SessionId::random(rng);
                self.ledger.settle(session, backend, now, departure);
                Binding::Issue(Grant {
                    backend: backend.id(),
                    session,
                    issued: now,
                    refreshed: now,
                })
            }
            (Hint::Free, _) | (Hint::Key(_), Cause::Detoured(_)) => Binding::Keep,
            (Hint::Key(key), _) => {
                self.ledger.settle(SessionId::from_bits(key), backend, now, departure);
                Binding::Keep
            }
            (Hint::Bound(grant), Cause::Moved { .. }) => {
                self.ledger.settle(grant.session, backend, now, departure);
                Binding::Issue(Grant { backend: backend.id(), refreshed: now, ..grant })
            }
            // It was served where it has moved to, on a token from before that.
            (Hint::Bound(grant), Cause::Bound) if backend.id() != grant.backend => {
                self.ledger.settle(grant.session, backend, now, departure);
                Binding::Issue(Grant { backend: backend.id(), refreshed: now, ..grant })
            }
            (Hint::Bound(grant), cause) => self.stay(&grant, *cause == Cause::Bound, backend, now),
        }
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
    fn stay(&self, grant: &Grant, is_at_home: bool, backend: &Backend, now: Timestamp) -> Binding {
        let members = self.members.load();
        if let Some(home) = members.get(grant.backend)
            && let Some(since) = self.ledger.see(grant.session, home, now)
        {
            // It has moved while its home was answering this, or this came with an old token:
            // nothing to keep any more.
            let is_stale = since.as_millis() > grant.refreshed.as_millis();
            if is_stale || is_at_home && !backend.state().accepts_bound() {
                return Binding::Keep;
            }
            self.ledger.settle(grant.session, home, now, Departure::Left);
        }
        match members.policy().affinity.is_refresh_due(grant, now) {
            true => {
                Binding::Issue(Grant { issued: grant.issued.min(now), refreshed: now, ..*grant })
            }
            false => Binding::Keep,
        }
    }
}
