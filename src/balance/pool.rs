//! A named group of backends with one policy: its members, its policy, its counts.

mod arm;
mod binding;
#[cfg(test)]
mod bounded_tests;
#[cfg(test)]
mod drain_tests;
mod draining;
mod place;
mod policy;
#[cfg(test)]
mod session_tests;
mod shadow;
#[cfg(test)]
mod shadow_tests;
#[cfg(test)]
mod tests;
mod view;
#[cfg(test)]
mod waiting_tests;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use self::draining::Change;
pub use self::place::{Ask, Decision};
pub(super) use self::policy::Policy;
pub use self::view::View;
use super::affinity::{AffinitySpec, FirstBurst, Ledger, Released, SessionId};
use super::balancer::Balance;
use super::cost::Moves;
use super::drain::{DrainPolicy, Refused};
use super::load::{Blocks, Shared};
use super::members::{Members, Recipe};
use super::outlier::Ejection;
use super::pace::Pace;
use super::queue::QueueSpec;
use super::state::Condition;
use super::{Backend, BackendId, BackendSpec, BackendState, Cause, Reason, Timestamp};

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
    /// How requests wait for a backend.
    pub queue: QueueSpec,
    /// How long a backend that has come up takes to get its full share, if not at once.
    pub slow_start: Option<Duration>,
    /// Is the cost of stickiness measured, see [`cost`](super::cost)?
    pub measures_cost: bool,
    /// How backends drain, unless somebody says otherwise.
    pub drain: DrainPolicy,
    /// The members, with unique names.
    pub backends: Vec<BackendSpec>,
}

impl PoolSpec {
    /// A pool of these backends with the default policy.
    pub fn new(name: impl Into<String>, backends: Vec<BackendSpec>) -> Self {
        PoolSpec {
            name: name.into(),
            balance: Balance::default(),
            affinity: AffinitySpec::default(),
            ejection: None,
            queue: QueueSpec::default(),
            slow_start: None,
            measures_cost: false,
            drain: DrainPolicy::default(),
            backends,
        }
    }
}

/// A pool at work, shared by all workers and the control tasks.
#[derive(Debug)]
pub struct Pool {
    name: Box<str>,
    /// What placements read, without a lock: the policy and who it is for.
    members: ArcSwap<Members>,
    /// How often `members` have changed, for those who keep a [`View`] of them.
    edition: AtomicU64,
    /// Held while a change is turned into new `members`.
    change: Mutex<Keeping>,
    /// Whose turn it is, for round robin, in either world; outlives `members`.
    positions: [Arc<AtomicUsize>; 2],
    shared: Arc<Shared>,
    ledger: Ledger,
    /// Sessions whose old tokens do not count.
    released: Released,
    /// Clients that have just come.
    first_burst: FirstBurst,
    /// Of moves toward evenness.
    rebalancing: Pace,
    /// Moves, detours, and tokens that were not honoured, by [`Reason::index`].
    reasons: [AtomicU64; Reason::ALL.len()],
    /// Sessions that have got another home, by [`Reason::index`].
    moves: [AtomicU64; Reason::ALL.len()],
    /// Requests that could not be placed.
    unavailable: AtomicU64,
}

/// What changes of the membership need.
#[derive(Debug, Default)]
struct Keeping {
    blocks: Blocks,
    /// Former members that still have sessions, or requests in flight. Who returns finds its own.
    departed: Vec<Arc<Backend>>,
}

impl Keeping {
    fn departed(&self, id: BackendId) -> Option<&Arc<Backend>> {
        self.departed.iter().find(|backend| backend.id() == id)
    }
}

/// Where a request goes, and why.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Where.
    pub backend: Arc<Backend>,
    /// Why.
    pub cause: Cause,
    /// The session that begins with it, if others of the same client have begun it already.
    pub session: Option<SessionId>,
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
        let policy = Policy::from(spec);
        let AffinitySpec { idle_timeout, max_sessions, .. } = policy.affinity;
        let pool = Pool {
            name: spec.name.as_str().into(),
            members: ArcSwap::from_pointee(Members::none(policy)),
            edition: AtomicU64::new(0),
            change: Mutex::default(),
            positions: Default::default(),
            shared: Shared::new(policy.counts_total(), policy.queues_above()),
            ledger: Ledger::new(idle_timeout, max_sessions, seed),
            released: Released::new(seed),
            first_burst: FirstBurst::new(seed),
            rebalancing: Pace::default(),
            reasons: Default::default(),
            moves: Default::default(),
            unavailable: AtomicU64::new(0),
        };
        pool.replace_backends(policy, &spec.backends, None, Timestamp::ZERO);
        pool
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its affinity policy.
    pub fn affinity(&self) -> AffinitySpec {
        self.members.load().policy().affinity
    }

    /// How its free requests are balanced.
    pub fn balance(&self) -> Balance {
        self.members.load().policy().balance
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

    /// Requests that wait for any backend.
    pub fn waiting(&self) -> u32 {
        self.shared.queue().len()
    }

    /// How often a session moved or was detoured, or a token was not honoured, for this reason.
    pub fn count_of(&self, reason: Reason) -> u64 {
        self.reasons[reason.index()].load(Ordering::Relaxed)
    }

    /// How many sessions have got another home, by [`Reason::index`].
    pub fn moves(&self) -> Moves {
        self.moves.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many requests could not be placed.
    pub fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::Relaxed)
    }

    /// Counts a reason that shows outside of a placement: a token that did not open.
    pub fn count(&self, reason: Reason) {
        self.reasons[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Keeping> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New members from the current state of these backends. Under the change lock.
    fn renew(&self, all: Vec<Arc<Backend>>, now: Timestamp) {
        let policy = *self.members.load().policy();
        self.renew_as(policy, all, now);
    }

    fn renew_as(&self, policy: Policy, all: Vec<Arc<Backend>>, now: Timestamp) {
        let weight = |backend: &Backend| policy.effective_weight(backend, now);
        let recipe = Recipe { policy, positions: &self.positions, weight: &weight };
        let former = self.members.load();
        self.members.store(Arc::new(Members::new(all, &recipe, Some(&former))));
        self.edition.fetch_add(1, Ordering::Release);
    }

    /// Tells those who wait what a change of state means for them. Not under the change lock.
    fn settle(&self, transition: Option<&Transition>) {
        let Some(Transition { backend, to, .. }) = transition else { return };
        // Of those who wait for a backend that drains only the bound may go there: let them ask.
        if !to.accepts_new() {
            backend.queue().send_away();
        }
        self.call_waiters();
    }

    /// Calls whoever can go somewhere now, and sends away those who wait for nobody.
    fn call_waiters(&self) {
        let members = self.members.load();
        members.all().iter().for_each(Backend::call_waiters);
        if !members.any_ready(&[]) {
            self.shared.queue().send_away();
        }
    }

    /// Gives a backend another weight.
    ///
    /// To take all weight from a backend is refused when no other one is ready, unless `force`d.
    pub fn set_weight(
        &self,
        id: BackendId,
        weight: u32,
        force: bool,
        now: Timestamp,
    ) -> Result<(), Refused> {
        {
            let _change = self.lock();
            let members = self.members.load();
            let backend = members.get(id).ok_or(Refused::UnknownBackend)?;
            if weight == 0 && backend.weight() > 0 && !backend.is_taken_out() {
                members.check_dispensable(id, force)?;
            }
            backend.set_weight(weight);
            self.renew(members.all().to_vec(), now);
            if weight == 0 {
                backend.queue().send_away(); // only the bound may stay: let them ask
            }
        }
        self.call_waiters();
        Ok(())
    }

    /// Replaces the members. Who keeps the name (and incarnation) keeps load, state and sessions;
    /// who is new starts slowly, if the pool has a slow start.
    pub fn set_backends(&self, specs: &[BackendSpec], now: Timestamp) {
        let policy = *self.members.load().policy();
        self.replace_backends(policy, specs, Some(now), now);
        self.call_waiters();
    }

    /// Another policy and other members, at once. What [`set_backends`](Pool::set_backends) keeps
    /// is kept, and so are the sessions, the counts and the balancer's position. The name stays.
    pub fn reconfigure(&self, spec: &PoolSpec, now: Timestamp) {
        let policy = Policy::from(spec);
        self.ledger.reconfigure(policy.affinity.idle_timeout, policy.affinity.max_sessions, now);
        self.shared.reconfigure(policy.counts_total(), policy.queues_above());
        self.replace_backends(policy, &spec.backends, Some(now), now);
        self.call_waiters();
    }

    fn replace_backends(
        &self,
        policy: Policy,
        specs: &[BackendSpec],
        since: Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut change = self.lock();
        let former = self.members.load();
        let backend = |spec: &BackendSpec| {
            let id = BackendId::incarnation(&self.name, &spec.name, spec.incarnation.as_deref());
            if let Some(known) = former.get(id) {
                return Arc::new(known.reconfigured(spec));
            }
            if let Some(known) = change.departed(id) {
                known.begin_anew(since.unwrap_or_default());
                return Arc::new(known.reconfigured(spec));
            }
            let slot = change.blocks.take();
            let backend = Backend::new(&self.name, spec, slot, &self.shared);
            if let Some(since) = since {
                backend.set_ready_since(since);
            }
            Arc::new(backend)
        };
        let all: Vec<_> = specs.iter().map(backend).collect();
        if all.iter().any(|backend| backend.max_connections().is_some()) {
            self.shared.set_bounded();
        }
        self.renew_as(policy, all, now);
        let members = self.members.load();
        for emptied in members.all().iter().filter(|backend| backend.weight() == 0) {
            emptied.queue().send_away(); // only the bound may stay: let them ask
        }
        change.departed.retain(|b| b.is_remembered() && members.get(b.id()).is_none());
        for gone in former.all().iter().filter(|backend| members.get(backend.id()).is_none()) {
            gone.depart();
            change.departed.push(gone.clone());
        }
    }

    /// A backend could not be connected to. Ejects it if that was once too often.
    pub fn connect_failed(&self, backend: &Backend, now: Timestamp) -> Option<Transition> {
        let consecutive = backend.count_failure();
        let ejection = self.members.load().policy().ejection?;
        if consecutive < ejection.failures {
            return None;
        }
        let transition = self.eject(&self.lock(), ejection, backend, consecutive, now);
        self.settle(transition.as_ref());
        transition
    }

    fn eject(
        &self,
        change: &MutexGuard<'_, Keeping>,
        ejection: Ejection,
        backend: &Backend,
        consecutive: u32,
        now: Timestamp,
    ) -> Option<Transition> {
        let members = self.members.load();
        let out = members.all().iter().filter(|b| !b.state().accepts_bound()).count();
        if !backend.state().accepts_bound()
            || !ejection.applies(consecutive, out, members.all().len())
            || !members.any_ready(&[backend.id()])
        {
            return None;
        }
        backend.set_ejected(now, now + ejection.duration);
        self.change(change, backend.id(), Change::begin(Condition::Ejected), now)
    }

    /// A backend was connected to.
    pub fn connect_succeeded(&self, backend: &Backend) {
        backend.clear_failures();
    }

    /// What time alone brings about: ejections end, idle sessions end, slow starts and drains go
    /// on. To be called a few times a second.
    pub fn tick(&self, now: Timestamp) -> Vec<Transition> {
        self.ledger.expire(now);
        let affinity = self.affinity();
        self.released.expire(affinity.idle_timeout + affinity.refresh_interval(), now);
        self.first_burst.expire(affinity.coalesce.unwrap_or_default(), now);
        self.go_on_starting(now);
        let members = self.members.load();
        let over = members.all().iter().filter(|backend| backend.ejection_is_over(now));
        let mut transitions: Vec<_> = over
            .filter_map(|backend| {
                // One more failure is enough to eject it again; a connection clears the count.
                self.set(backend.id(), Condition::Ejected, false, now)
            })
            .collect();
        transitions.extend(self.go_on_draining(now));
        transitions
    }

    fn go_on_starting(&self, now: Timestamp) {
        if self.members.load().policy().slow_start.is_none() {
            return;
        }
        let _change = self.lock();
        let members = self.members.load();
        let policy = members.policy();
        let Some(duration) = policy.slow_start else { return };
        let weight = |backend: &Arc<Backend>| policy.effective_weight(backend, now);
        let has_changed = !members.weights().eq(members.all().iter().map(weight));
        for backend in members.all() {
            if backend.ready_since().is_some_and(|since| now.since(since) >= duration) {
                backend.clear_ready_since();
            }
        }
        if has_changed {
            self.renew(members.all().to_vec(), now);
        }
    }
}
