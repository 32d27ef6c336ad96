//! A named group of backends with one policy, and the one place where affinity meets balancing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::affinity::{
    AffinitySpec, Binding, Grant, Hint, Ledger, Mode, SessionId, WhenUnavailable,
};
use super::backend::Condition;
use super::balancer::Balance;
use super::members::Members;
use super::outlier::Ejection;
use super::{
    Backend, BackendId, BackendSpec, BackendState, Cause, InFlight, Reason, Rng, Timestamp,
    Unavailable,
};

/// What a pool is configured to be.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Unique among the pools.
    pub name: String,
    /// How free requests are balanced.
    pub balance: Balance,
    /// How sessions stick.
    pub affinity: AffinitySpec,
    /// Passive removal, if any.
    pub ejection: Option<Ejection>,
    /// The members, with unique names.
    pub backends: Vec<BackendSpec>,
}

/// A pool at work, shared by all workers and the control tasks.
#[derive(Debug)]
pub struct Pool {
    name: Box<str>,
    affinity: AffinitySpec,
    balance: Balance,
    ejection: Option<Ejection>,
    /// What placements read, without a lock.
    members: ArcSwap<Members>,
    /// Held while a change of state is turned into new `members`.
    change: Mutex<()>,
    /// Whose turn it is, for round robin; outlives `members`.
    position: Arc<AtomicUsize>,
    ledger: Ledger,
    /// Moves, and tokens that were not honoured, by [`Reason::index`].
    reasons: [AtomicU64; Reason::ALL.len()],
    /// Requests that could not be placed.
    unavailable: AtomicU64,
}

/// Where a request goes, and why.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Where.
    pub backend: Arc<Backend>,
    /// Why.
    pub cause: Cause,
}

impl Placement {
    /// The request starts now. It is in flight until the guard ends.
    pub fn start(&self) -> InFlight {
        InFlight::start(self.backend.clone(), self.cause)
    }
}

/// A backend's visible change of state.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Which backend.
    pub backend: Arc<Backend>,
    /// What it was.
    pub from: BackendState,
    /// What it is.
    pub to: BackendState,
}

impl Pool {
    /// A pool of ready backends. `seed` is for its hash tables.
    pub fn new(spec: &PoolSpec, seed: u64) -> Self {
        let all = spec.backends.iter().map(|b| Arc::new(Backend::new(&spec.name, b))).collect();
        let position = Arc::default();
        let AffinitySpec { idle_timeout, max_sessions, .. } = spec.affinity;
        let algorithm = algorithm(spec.affinity.mode);
        Pool {
            name: spec.name.as_str().into(),
            affinity: spec.affinity,
            balance: spec.balance,
            ejection: spec.ejection,
            members: ArcSwap::from_pointee(Members::new(all, spec.balance, &position, algorithm)),
            change: Mutex::new(()),
            position,
            ledger: Ledger::new(idle_timeout, max_sessions, seed),
            reasons: Default::default(),
            unavailable: AtomicU64::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its affinity policy.
    pub fn affinity(&self) -> &AffinitySpec {
        &self.affinity
    }

    /// How its free requests are balanced.
    pub fn balance(&self) -> Balance {
        self.balance
    }

    /// Its members, in configured order.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        self.members.load().all().to_vec()
    }

    /// The member with this id.
    pub fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.members.load().get(id).cloned()
    }

    /// The sessions seen here.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How often a session moved, or a token was not honoured, for this reason.
    pub fn count_of(&self, reason: Reason) -> u64 {
        self.reasons[reason.index()].load(Ordering::Relaxed)
    }

    /// How many requests could not be placed.
    pub fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::Relaxed)
    }

    /// Counts a reason that shows outside of a placement: a token that did not open.
    pub fn count(&self, reason: Reason) {
        self.reasons[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Decides where a request goes. `tried` are the backends that could not be reached for this
    /// very request: they are out of the question, as if they were ejected.
    pub fn place(
        &self,
        hint: &Hint,
        tried: &[BackendId],
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Result<Placement, Unavailable> {
        let members = self.members.load();
        let placed = match *hint {
            Hint::Free => {
                let bound_from_now_on = matches!(self.affinity.mode, Mode::Cookie);
                let cause = if bound_from_now_on { Cause::New } else { Cause::Free };
                pick(&members, tried, cause, rng)
            }
            Hint::Bound(grant) if self.affinity.is_over(&grant, now) => {
                pick(&members, tried, Cause::New, rng)
            }
            Hint::Bound(grant) => self.place_bound(&members, grant.backend, tried, rng),
            Hint::Key(key) => self.place_keyed(&members, key, tried),
        };
        if placed.is_err() {
            self.unavailable.fetch_add(1, Ordering::Relaxed);
        }
        placed
    }

    fn place_bound(
        &self,
        members: &Members,
        home: BackendId,
        tried: &[BackendId],
        rng: &mut dyn Rng,
    ) -> Result<Placement, Unavailable> {
        let reason = match members.get(home) {
            Some(backend) => match refusal(backend, tried) {
                None => return Ok(Placement { backend: backend.clone(), cause: Cause::Bound }),
                Some(reason) => reason,
            },
            None => Reason::Removed,
        };
        match self.affinity.when_unavailable {
            WhenUnavailable::Rebalance => {
                pick(members, tried, Cause::Moved { from: home, reason }, rng)
            }
            WhenUnavailable::Reject => Err(Unavailable::Home { backend: home, reason }),
        }
    }

    /// The key's owner is its home; while that is out of service, the next in the key's order of
    /// preference. The ledger remembers where the key was last, which makes two things possible
    /// that hashing alone cannot do: a draining backend keeps the keys that it has and gets no
    /// new ones, and every move is counted.
    fn place_keyed(
        &self,
        members: &Members,
        key: u64,
        tried: &[BackendId],
    ) -> Result<Placement, Unavailable> {
        let serves = |backend: &Backend| refusal(backend, tried).is_none();
        if self.affinity.when_unavailable == WhenUnavailable::Reject
            && let Some(home) = members.owner(key, |_| true)
            && let Some(reason) = refusal(home, tried)
        {
            return Err(Unavailable::Home { backend: home.id(), reason });
        }
        let last = self.ledger.home(SessionId::from_bits(key));
        let owner = members.owner(key, serves).ok_or(Unavailable::NoBackend)?;
        let stays = owner.state().accepts_new() || last == Some(owner.id());
        let backend = if stays {
            owner
        } else {
            let next =
                members.owner(key, |backend| serves(backend) && backend.state().accepts_new());
            next.ok_or(Unavailable::NoBackend)?
        };
        let cause = match last {
            Some(from) if from != backend.id() => {
                let reason = match members.get(from) {
                    None => Reason::Removed,
                    // It could still serve, so the key has found a home that it prefers.
                    Some(former) => refusal(former, tried).unwrap_or(Reason::Rebalanced),
                };
                Cause::Moved { from, reason }
            }
            _ => Cause::Keyed,
        };
        Ok(Placement { backend: backend.clone(), cause })
    }

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
        if let Cause::Moved { reason, .. } = cause {
            self.count(*reason);
        }
        match (*hint, cause) {
            (hint, Cause::New) => {
                if let Hint::Bound(former) = hint {
                    self.count(Reason::Expired);
                    self.ledger.end(former.session);
                }
                let session = SessionId::random(rng);
                self.ledger.see(session, backend, now);
                Binding::Issue(Grant {
                    backend: backend.id(),
                    session,
                    issued: now,
                    refreshed: now,
                })
            }
            (Hint::Free, _) => Binding::Keep,
            (Hint::Key(key), _) => {
                self.ledger.see(SessionId::from_bits(key), backend, now);
                Binding::Keep
            }
            (Hint::Bound(grant), Cause::Moved { .. }) => {
                self.ledger.see(grant.session, backend, now);
                Binding::Issue(Grant { backend: backend.id(), refreshed: now, ..grant })
            }
            (Hint::Bound(grant), _) => {
                self.ledger.see(grant.session, backend, now);
                if now.since(grant.refreshed) >= self.affinity.refresh_interval() {
                    Binding::Issue(Grant { refreshed: now, ..grant })
                } else {
                    Binding::Keep
                }
            }
        }
    }

    /// Makes a condition of a backend hold or not, and renews the candidates. Gives the change of
    /// state, if one is to be seen.
    pub fn set(&self, id: BackendId, condition: Condition, holds: bool) -> Option<Transition> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_locked(id, condition, holds)
    }

    fn set_locked(&self, id: BackendId, condition: Condition, holds: bool) -> Option<Transition> {
        let members = self.members.load();
        let backend = members.get(id)?.clone();
        let from = backend.state();
        backend.set(condition, holds);
        let to = backend.state();
        if from == to {
            return None;
        }
        let all = members.all().to_vec();
        let algorithm = algorithm(self.affinity.mode);
        self.members.store(Arc::new(Members::new(all, self.balance, &self.position, algorithm)));
        Some(Transition { backend, from, to })
    }

    /// A backend could not be connected to. Ejects it if that was once too often.
    pub fn connect_failed(&self, backend: &Backend, now: Timestamp) -> Option<Transition> {
        let consecutive = backend.count_failure();
        let ejection = self.ejection?;
        if consecutive < ejection.failures {
            return None;
        }
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members.load();
        let out = members.all().iter().filter(|b| !b.state().accepts_bound()).count();
        if !backend.state().accepts_bound()
            || !ejection.applies(consecutive, out, members.all().len())
        {
            return None;
        }
        backend.set_ejected_until(now + ejection.duration);
        self.set_locked(backend.id(), Condition::Ejected, true)
    }

    /// A backend was connected to.
    pub fn connect_succeeded(&self, backend: &Backend) {
        backend.clear_failures();
    }

    /// What time alone brings about: ejections end, idle sessions end. To be called every second
    /// or so.
    pub fn tick(&self, now: Timestamp) -> Vec<Transition> {
        self.ledger.expire(now);
        let members = self.members.load();
        let ejected = members.all().iter().filter(|b| b.state() == BackendState::Ejected);
        let over = ejected.filter(|backend| backend.ejected_until() <= now);
        over.filter_map(|backend| {
            // One more failure is enough to eject it again; a connection clears the count.
            self.set(backend.id(), Condition::Ejected, false)
        })
        .collect()
    }
}

fn algorithm(mode: Mode) -> Option<super::hashing::Algorithm> {
    match mode {
        Mode::Hash(algorithm) => Some(algorithm),
        Mode::None | Mode::Cookie => None,
    }
}

fn pick(
    members: &Members,
    tried: &[BackendId],
    cause: Cause,
    rng: &mut dyn Rng,
) -> Result<Placement, Unavailable> {
    let backend = members.pick(tried, rng).ok_or(Unavailable::NoBackend)?.clone();
    Ok(Placement { backend, cause })
}

/// Why a session that lives at `backend` cannot be served there now.
fn refusal(backend: &Backend, tried: &[BackendId]) -> Option<Reason> {
    if tried.contains(&backend.id()) { Some(Reason::Ejected) } else { backend.state().refusal() }
}

#[cfg(test)]
mod tests;
