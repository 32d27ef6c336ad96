//! One app server: how it is, how busy it is, and who waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::drain::{Departure, Drain, Left};
use super::identity::{Address, BackendId, BackendSpec, name_hash};
use super::load::{Load, Shared, Slot, World};
use super::queue::Queue;
use super::state::{BackendState, Condition};
use super::tunnels::Tunnels;
use super::{Cause, InFlight, Outcome, Placement, Timestamp};

/// One app server of a pool, shared by all workers.
#[derive(Debug)]
pub struct Backend {
    id: BackendId,
    /// What hashing knows it by: a new incarnation keeps the keys of the old one.
    name_hash: u64,
    name: Box<str>,
    address: Address,
    /// Who it is as long as it has this address.
    id_at_address: BackendId,
    priority: u32,
    load: Arc<Load>,
    /// Requests that wait for this backend.
    queue: Arc<Queue>,
    /// What the backends of a pool have in common.
    shared: Arc<Shared>,
}

impl Backend {
    /// A backend of pool `pool`, ready and idle.
    pub(super) fn new(pool: &str, spec: &BackendSpec, slot: Slot, shared: &Arc<Shared>) -> Self {
        let id = BackendId::incarnation(pool, &spec.name, spec.incarnation.as_deref());
        let backend = Backend {
            id,
            id_at_address: id.at(&spec.address),
            name_hash: name_hash(pool, &spec.name),
            name: spec.name.as_str().into(),
            address: spec.address.clone(),
            priority: spec.priority,
            load: Arc::new(Load::new(slot)),
            queue: Queue::new(),
            shared: shared.clone(),
        };
        backend.take_over(spec);
        backend
    }

    /// The same backend with another configuration. Its load, state and queue go on.
    pub(super) fn reconfigured(&self, spec: &BackendSpec) -> Self {
        self.take_over(spec);
        Backend {
            id: self.id,
            id_at_address: self.id.at(&spec.address),
            name_hash: self.name_hash,
            name: self.name.clone(),
            address: spec.address.clone(),
            priority: spec.priority,
            load: self.load.clone(),
            queue: self.queue.clone(),
            shared: self.shared.clone(),
        }
    }

    fn take_over(&self, spec: &BackendSpec) {
        self.load.weight.store(spec.weight, Ordering::Relaxed);
        let limit = spec.max_connections.unwrap_or(u32::MAX);
        self.load.limit.store(limit, Ordering::Relaxed);
        self.load.has_departed.store(false, Ordering::Relaxed);
    }

    /// It is no longer a member: nothing begins here any more.
    pub(super) fn depart(&self) {
        self.load.has_departed.store(true, Ordering::Relaxed);
        self.queue.send_away();
    }

    /// Does anything still point here, by way of any configuration that it ever had: a session,
    /// or a request in flight?
    pub(super) fn is_remembered(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.load) > 1
    }

    /// It comes back after it was removed: as ready as somebody new, whatever was true of it then.
    pub(super) fn begin_anew(&self, since: Timestamp) {
        self.load.conditions.store(0, Ordering::Relaxed);
        self.load.drain.store(None);
        self.load.released.store(0, Ordering::Relaxed);
        self.clear_failures();
        self.set_ready_since(since);
    }

    /// Who it is.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Who it is as long as it has its present address: what connections to it are kept by.
    pub fn id_at_address(&self) -> BackendId {
        self.id_at_address
    }

    /// A hash of its name, whatever its incarnation.
    pub(super) fn name_hash(&self) -> u64 {
        self.name_hash
    }

    /// Its configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its weight, not counting a slow start.
    pub fn weight(&self) -> u32 {
        self.load.weight.load(Ordering::Relaxed)
    }

    /// Backends of a higher number take new sessions only while no lower one can.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// Requests in flight at most, if there is a limit.
    pub fn max_connections(&self) -> Option<u32> {
        match self.load.limit.load(Ordering::Relaxed) {
            u32::MAX => None,
            limit => Some(limit),
        }
    }

    /// How it is now.
    pub fn state(&self) -> BackendState {
        let conditions = self.load.conditions.load(Ordering::Relaxed);
        let holds = |condition: Condition| conditions & condition as u8 != 0;
        if conditions == 0 {
            BackendState::Ready
        } else if holds(Condition::Maintenance) {
            BackendState::Maintenance
        } else if holds(Condition::Down) {
            BackendState::Down
        } else if holds(Condition::Ejected) {
            BackendState::Ejected
        } else if holds(Condition::Drained) {
            BackendState::Drained
        } else {
            BackendState::Draining
        }
    }

    /// What is true of it, one bit for each [`Condition`].
    pub(super) fn conditions(&self) -> u8 {
        self.load.conditions.load(Ordering::Relaxed)
    }

    /// Has an operator taken it out, in whichever way?
    pub(super) fn is_taken_out(&self) -> bool {
        self.conditions() & Condition::BY_OPERATOR != 0
    }

    /// Callers go through [`Pool`](super::Pool), which also renews the list of candidates.
    pub(super) fn set_conditions(&self, conditions: u8) {
        self.load.conditions.store(conditions, Ordering::Relaxed);
    }

    /// Do its sessions leave?
    pub(super) fn is_leaving(&self) -> bool {
        self.conditions() & Condition::LEAVING != 0
    }

    /// The drain that it is in, over or not. Nothing but a look at its conditions if it is in none.
    pub(super) fn current_drain(&self) -> Option<Arc<Drain>> {
        if self.is_leaving() { self.load.drain.load_full() } else { None }
    }

    /// The last drain that it was in.
    pub(super) fn last_drain(&self) -> Option<Arc<Drain>> {
        self.load.drain.load_full()
    }

    pub(super) fn begin_drain(&self, drain: Drain) {
        self.load.drain.store(Some(Arc::new(drain)));
    }

    /// What a drain has still to wait for.
    pub(super) fn left(&self) -> Left {
        Left { sessions: self.sessions(), in_flight: self.in_flight(), tunnels: self.tunnels() }
    }

    /// Its tunnels that have not been asked to end.
    pub(super) fn open_tunnels(&self) -> &Tunnels {
        &self.load.open_tunnels
    }

    /// Requests started and not finished.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight(World::Real)
    }

    /// Of those, the ones that have become tunnels.
    pub fn tunnels(&self) -> u32 {
        self.load.hot.tunnels.load(Ordering::Relaxed)
    }

    pub(super) fn add_tunnel(&self) {
        self.load.hot.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_tunnel(&self) {
        self.load.hot.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that wait for this backend.
    pub fn waiting(&self) -> u32 {
        self.queue.len()
    }

    /// Sessions bound here that this proxy knows of.
    pub fn sessions(&self) -> u32 {
        self.load.hot.sessions.load(Ordering::Relaxed)
    }

    /// The recent latency at `now`, in microseconds, if any was observed.
    pub fn latency(&self, now: Timestamp) -> Option<f32> {
        self.load.hot.latency.get(now)
    }

    /// Requests placed here so far, by [`Cause::index`].
    pub fn placed(&self) -> [u64; Cause::LABELS.len()] {
        std::array::from_fn(|i| self.load.hot.placed[i].load(Ordering::Relaxed))
    }

    /// Requests finished here so far, by [`Outcome::index`].
    pub fn outcomes(&self) -> [u64; Outcome::LABELS.len()] {
        std::array::from_fn(|i| self.load.hot.outcomes[i].load(Ordering::Relaxed))
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// May one more request be in flight here?
    pub(super) fn has_room(&self) -> bool {
        self.max_connections().is_none_or(|limit| self.in_flight() < limit)
    }

    /// The requests in flight that this backend should have at most: `factor` times its fair share
    /// of all those in the pool, one more included (Mirrokni, Thorup and Zadimoghaddam 2018).
    pub(super) fn bound(&self, factor: f32) -> u32 {
        // A share like 1/20 has no exact float: without the allowance 1.5 * 200 / 20 would be 16.
        const ROUNDING: f64 = 1e-6;
        let total = self.shared.in_flight().saturating_add(1);
        let exact = f64::from(factor) * f64::from(self.share()) * f64::from(total);
        (exact * (1.0 - ROUNDING)).ceil().max(1.0) as u32
    }

    /// The share of the pool's load that its weight entitles it to.
    pub(super) fn share(&self) -> f32 {
        f32::from_bits(self.load.share.load(Ordering::Relaxed))
    }

    /// Tokens that were made before now do not bind anybody to it any more.
    pub(super) fn release_sessions(&self, now: Timestamp) {
        self.load.released.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Was a token that was made then released with all others?
    pub(super) fn has_released(&self, refreshed: Timestamp) -> bool {
        refreshed.as_millis() <= self.load.released.load(Ordering::Relaxed)
    }

    /// How many may be in flight when one that has waited for this backend begins.
    fn limit(&self) -> Option<u32> {
        let bound = self.shared.queues_above().map(|factor| self.bound(factor));
        match (self.max_connections(), bound) {
            (Some(limit), Some(bound)) => Some(limit.min(bound)),
            (limit, bound) => limit.or(bound),
        }
    }

    /// Counts a request in, unless the backend is at its limit.
    pub(crate) fn start(self: &Arc<Self>, cause: Cause) -> Option<InFlight> {
        match self.max_connections() {
            None => self.load.start(World::Real),
            Some(limit) if self.load.try_start(limit) => {}
            Some(_) => return None,
        }
        Some(self.started(cause))
    }

    fn started(self: &Arc<Self>, cause: Cause) -> InFlight {
        self.load.hot.placed[cause.index()].fetch_add(1, Ordering::Relaxed);
        InFlight::new(self.clone(), self.shared.start())
    }

    /// `in_total`: the pool has counted it in.
    pub(super) fn finish(self: &Arc<Self>, outcome: Outcome, in_total: bool) {
        self.load.hot.outcomes[outcome.index()].fetch_add(1, Ordering::Relaxed);
        if in_total {
            self.shared.finish();
        }
        if self.shared.is_bounded() {
            self.load.finish_bounded();
            self.call_waiters();
        } else {
            self.load.finish(World::Real);
        }
    }

    /// One more request in flight in the even world.
    pub(super) fn start_evenly(&self) {
        self.load.start(World::Even);
        self.load.hot.placed_evenly.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests in flight in the even world.
    #[cfg(test)]
    pub(super) fn in_flight_evenly(&self) -> u32 {
        self.load.in_flight(World::Even)
    }

    pub(super) fn finish_evenly(&self) {
        self.load.finish(World::Even);
    }

    /// A request that has ended was in flight for so long.
    pub(super) fn add_busy(&self, world: World, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.load.hot.busy[world as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn busy(&self, world: World) -> u64 {
        self.load.hot.busy[world as usize].load(Ordering::Relaxed)
    }

    pub(super) fn placed_evenly(&self) -> u64 {
        self.load.hot.placed_evenly.load(Ordering::Relaxed)
    }

    /// Affinity has placed a request here, and the even world elsewhere.
    pub(super) fn count_forced(&self) {
        self.load.hot.forced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn forced(&self) -> u64 {
        self.load.hot.forced.load(Ordering::Relaxed)
    }

    /// Hands free places to those who wait: for this backend, or for any; whoever has waited
    /// longest goes first. The bound on the load of sessions holds back those who wait for this
    /// backend, and them alone.
    #[inline]
    pub(super) fn call_waiters(self: &Arc<Self>) {
        if self.is_waited_for() {
            self.call_those_who_wait();
        }
    }

    /// Does anybody wait who might be called?
    #[inline]
    fn is_waited_for(&self) -> bool {
        self.queue.len() > 0 || self.shared.queue().len() > 0
    }

    #[cold]
    fn call_those_who_wait(self: &Arc<Self>) {
        let any = self.shared.queue();
        if self.load.has_departed.load(Ordering::Relaxed) {
            return;
        }
        while self.is_waited_for() {
            let state = self.state();
            let takes_new = state.accepts_new() && self.weight() > 0;
            let own_limit = self.limit();
            let is_held = own_limit.is_some_and(|limit| self.in_flight() >= limit);
            let own = self.queue.first(self.id).filter(|_| state.accepts_bound() && !is_held);
            let other = any.first(self.id).filter(|_| takes_new);
            let (queue, limit) = match (own, other) {
                (None, None) => return,
                (Some(own), Some(other)) if own > other => (any, self.max_connections()),
                (Some(_), _) => (&self.queue, own_limit),
                (None, Some(_)) => (any, self.max_connections()),
            };
            match limit {
                None => self.load.start(World::Real),
                Some(limit) if self.load.try_start(limit) => {}
                // Somebody has begun meanwhile: those who wait for any may still have room.
                Some(_) if Arc::ptr_eq(queue, &self.queue) => continue,
                Some(_) => return,
            }
            let place = |cause| {
                let placement = Placement { backend: self.clone(), cause, session: None };
                (placement, self.started(cause))
            };
            if !queue.call(self.id, place) {
                self.load.finish_bounded(); // somebody else was quicker: look again
            }
        }
    }

    /// Takes in how long the backend took to answer.
    pub(super) fn observe_latency(&self, sample: Duration, now: Timestamp) {
        self.load.hot.latency.observe(sample, now);
    }

    pub(super) fn add_session(&self) {
        self.load.hot.sessions.fetch_add(1, Ordering::Relaxed);
        if let Some(drain) = self.current_drain() {
            drain.count_join();
        }
    }

    pub(super) fn remove_session(&self, departure: Departure) {
        self.load.hot.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Some(drain) = self.current_drain() {
            drain.count(departure);
        }
    }

    /// Counts a failure to connect and gives the consecutive number of them.
    pub(super) fn count_failure(&self) -> u32 {
        self.load.hot.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// A connection was made: failures are no longer consecutive.
    pub(super) fn clear_failures(&self) {
        let failures = &self.load.hot.failures;
        // Read first: the line stays shared while all is well.
        if failures.load(Ordering::Relaxed) != 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.load.weight.store(weight, Ordering::Relaxed);
    }

    /// Since when it takes new sessions, if it came up lately.
    pub(super) fn ready_since(&self) -> Option<Timestamp> {
        let since = self.load.ready_since.load(Ordering::Relaxed);
        (since != 0).then_some(Timestamp::from_nanos(since))
    }

    pub(super) fn set_ready_since(&self, since: Timestamp) {
        self.load.ready_since.store(since.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn clear_ready_since(&self) {
        self.load.ready_since.store(0, Ordering::Relaxed);
    }

    /// Is it ejected, and has that lasted long enough? A clock that has stepped back since counts
    /// as long enough: it cannot say.
    pub(super) fn ejection_is_over(&self, now: Timestamp) -> bool {
        let time = |nanos: &std::sync::atomic::AtomicU64| {
            Timestamp::from_nanos(nanos.load(Ordering::Relaxed))
        };
        let [since, until] = self.load.ejected.each_ref().map(time);
        self.load.conditions.load(Ordering::Relaxed) & Condition::Ejected as u8 != 0
            && (until <= now || now < since)
    }

    pub(super) fn set_ejected(&self, since: Timestamp, until: Timestamp) {
        for (time, value) in self.load.ejected.iter().zip([since, until]) {
            time.store(value.as_nanos(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::tests::backends;

    #[test]
    fn conditions_are_independent_and_the_gravest_shows() {
        let backend = &backends(&[1])[0];
        assert_eq!(backend.state(), BackendState::Ready);
        backend.set_conditions(Condition::Draining as u8);
        assert_eq!(backend.state(), BackendState::Draining);
        backend.set_conditions(Condition::Draining as u8 | Condition::Down as u8);
        assert_eq!(backend.state(), BackendState::Down);
        backend.set_conditions(Condition::Draining as u8);
        assert_eq!(backend.state(), BackendState::Draining, "a recovery does not end a drain");
    }
}
