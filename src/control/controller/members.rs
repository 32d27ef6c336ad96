//! Who is a member of which pool, and what a change of that brings with it.

use std::sync::Arc;

use super::{Controller, Desired};
use crate::balance::{Backend, BackendSpec, Condition, Pool, PoolSpec, Rng, Timestamp};
use crate::clock;
use crate::config::{self, Discover};
use crate::control::operator_state::{KeptBackend, OutOfService};
use crate::control::roster::{Next, Roster};
use crate::observe::Event;

impl Controller {
    /// Takes over the pools of a configuration. Pools keep, by name, everything but their policy;
    /// backends as well.
    pub(crate) fn configure(&self, pools: &[config::Pool], rng: &mut dyn Rng) {
        let mut desired = self.desired();
        let now = clock::now();
        let former = self.pools();
        let mut all = Vec::with_capacity(pools.len());
        desired.set_sources(pools);
        for config in pools {
            let name = &config.spec.name;
            match config.health.clone() {
                Some(check) => drop(desired.checks.insert(name.clone(), Arc::new(check))),
                None => drop(desired.checks.remove(name)),
            }
            let pool = match former.iter().find(|pool| pool.name() == name) {
                Some(pool) => self.reconfigure(&mut desired, pool, config, now),
                None => self.found(&mut desired, config, rng.next_u64(), now),
            };
            all.push(pool);
        }
        let is_kept = |name: &String| all.iter().any(|pool| pool.name() == name);
        desired.rosters.retain(|name, _| is_kept(name));
        desired.checks.retain(|name, _| is_kept(name));
        self.pools.store(Arc::new(all.into()));
        self.members_changed.notify_one();
        self.sources_changed.notify_one();
    }

    /// A pool that was not there before.
    fn found(
        &self,
        desired: &mut Desired,
        config: &config::Pool,
        seed: u64,
        now: Timestamp,
    ) -> Arc<Pool> {
        let spec = &config.spec;
        let said = desired.said_of(&spec.name).clone();
        let added = added(&spec.name, said.added);
        let mut roster = Roster::new(spec.backends.clone(), added, said.weights);
        roster.set_sources(&config.discover);
        for source in &config.discover {
            if let Some(found) = desired.found.of(&spec.name, source) {
                let (pool, backends) = (&spec.name, found.len());
                tracing::info!(
                    pool,
                    backends,
                    "who was found before counts until discovery answers"
                );
                roster.set_discovered(source, found);
            }
        }
        let next = roster.next(|_| false);
        let pool = Pool::new(&PoolSpec { backends: next.members.clone(), ..spec.clone() }, seed);
        desired.rosters.insert(spec.name.clone(), roster);
        for backend in pool.backends() {
            self.take_up_backend(desired, &pool, &backend);
            self.assume(desired, &pool, &backend, now);
        }
        Arc::new(pool)
    }

    fn reconfigure(
        &self,
        desired: &mut Desired,
        pool: &Arc<Pool>,
        config: &config::Pool,
        now: Timestamp,
    ) -> Arc<Pool> {
        let spec = &config.spec;
        let former = pool.backends();
        if let Some(roster) = desired.rosters.get_mut(pool.name()) {
            roster.set_sources(&config.discover);
            roster.set_file(spec.backends.clone());
            let next = roster.next(|name| former.iter().any(|b| b.name() == name && is_bound(b)));
            pool.reconfigure(&PoolSpec { backends: next.members.clone(), ..spec.clone() }, now);
            self.follow_up(desired, pool, &next, &former, now);
        }
        if !desired.checks.contains_key(pool.name()) {
            for backend in pool.backends() {
                for condition in [Condition::Down, Condition::AskedToDrain] {
                    let transition = pool.set(backend.id(), condition, false, now);
                    self.log(pool, transition, "it is no longer checked", now);
                }
            }
        }
        pool.clone()
    }

    /// What a new member counts as before its first check.
    fn assume(&self, desired: &Desired, pool: &Pool, backend: &Backend, now: Timestamp) {
        if desired.checks.get(pool.name()).is_some_and(|check| !check.assumed_up) {
            let transition = pool.set(backend.id(), Condition::Down, true, now);
            self.log(pool, transition, "not checked yet", now);
        }
    }

    pub(super) fn take_up_backend(&self, desired: &mut Desired, pool: &Pool, backend: &Backend) {
        let said = &desired.said_of(pool.name()).out_of_service;
        let Some(how) = said.get(backend.name()) else { return };
        let (id, now) = (backend.id(), clock::now());
        let transition = match how {
            OutOfService::Draining(drain) => {
                pool.resume_drain(id, drain.policy(), drain.since(), now)
            }
            OutOfService::Drained => pool.set(id, Condition::Drained, true, now),
            OutOfService::Maintenance => pool.maintenance(id, true, now).ok().flatten(),
        };
        self.log(pool, transition, "an operator said so earlier", now);
    }

    /// Who is asked for backends, by pool.
    pub(in crate::control) fn sources(&self) -> Vec<(String, Discover)> {
        let desired = self.desired();
        let sources = desired.sources.iter();
        sources.map(|(pool, source, _)| (pool.clone(), source.clone())).collect()
    }

    /// Is that source still asked?
    pub(in crate::control) fn wants(&self, pool: &str, source: &Discover) -> bool {
        let desired = self.desired();
        desired.sources.iter().any(|(of, wanted, _)| of == pool && wanted == source)
    }

    /// Resolves when others are to be asked.
    pub(in crate::control) async fn sources_changed(&self) {
        self.sources_changed.notified().await;
    }

    /// What a source says now.
    pub(in crate::control) fn discovered(
        &self,
        pool: &str,
        source: &Discover,
        specs: Vec<BackendSpec>,
    ) {
        if let Some(pool) = self.pool(pool) {
            let mut desired = self.desired();
            let roster = desired.rosters.get_mut(pool.name());
            if roster.is_some_and(|roster| roster.set_discovered(source, specs.clone())) {
                self.apply_members(&mut desired, &pool, clock::now());
                desired.found.set(pool.name(), source, &specs);
                desired.save_found();
            }
        }
        self.has_answered(pool, source);
    }

    /// A source was asked, whatever came of it.
    pub(in crate::control) fn has_answered(&self, pool: &str, source: &Discover) {
        let is_it = |(of, asked, _): &&mut (String, Discover, bool)| of == pool && asked == source;
        if let Some((.., has_answered)) = self.desired().sources.iter_mut().find(is_it) {
            *has_answered = true;
        }
    }

    /// Has every source been asked?
    pub(crate) fn has_discovered(&self) -> bool {
        self.desired().sources.iter().all(|(.., has_answered)| *has_answered)
    }

    /// Makes a pool's members what they are to be. Who is no longer listed and still has sessions
    /// stays until they have left.
    pub(super) fn apply_members(&self, desired: &mut Desired, pool: &Pool, now: Timestamp) {
        let Some(roster) = desired.rosters.get_mut(pool.name()) else { return };
        let former = pool.backends();
        let next = roster.next(|name| former.iter().any(|b| b.name() == name && is_bound(b)));
        pool.set_backends(&next.members, now);
        self.follow_up(desired, pool, &next, &former, now);
    }

    /// What a change of the members brings with it.
    fn follow_up(
        &self,
        desired: &mut Desired,
        pool: &Pool,
        next: &Next,
        former: &[Arc<Backend>],
        now: Timestamp,
    ) {
        let members = pool.backends();
        let (added, removed) = (without(&members, former), without(former, &members));
        for backend in &members {
            let begins_to_leave = next.leaving.contains(backend.name())
                && !next.was_leaving.contains(backend.name())
                && backend.state().accepts_new();
            if begins_to_leave {
                let transition = pool.drain(backend.id(), pool.drain_policy(), true, now);
                let why = "it is no longer listed; its sessions may leave in peace";
                self.log(pool, transition.ok().flatten(), why, now);
            } else if next.back.contains(backend.name()) {
                let transition = pool.make_ready(backend.id(), now);
                self.log(pool, transition, "it is listed again", now);
            }
        }
        let said = desired.said_of(pool.name());
        for backend in &removed {
            said.out_of_service.remove(backend.name());
        }
        for backend in &added {
            tracing::info!(pool = pool.name(), backend = backend.name(), "is a member now");
        }
        for backend in members.iter().filter(|b| next.back.contains(b.name())).chain(&added) {
            self.take_up_backend(desired, pool, backend);
        }
        added.iter().for_each(|backend| self.assume(desired, pool, backend, now));
        for backend in &removed {
            tracing::info!(pool = pool.name(), backend = backend.name(), "is no longer a member");
        }
        if !added.is_empty() || !removed.is_empty() {
            self.members_changed.notify_one();
            let pools = self.pools();
            self.events.forget_others(|id| pools.iter().any(|pool| pool.backend(id).is_some()));
            let names =
                |backends: &[Arc<Backend>]| backends.iter().map(|b| b.name().into()).collect();
            let (added, removed) = (names(&added), names(&removed));
            self.publish(Event::Membership { pool: pool.name().into(), added, removed, at: now });
        }
    }
}

/// Has it sessions that it may still serve?
pub(super) fn is_bound(backend: &Backend) -> bool {
    backend.sessions() > 0 && backend.state().accepts_bound()
}

/// Those of `some` who are not among the others.
fn without(some: &[Arc<Backend>], others: &[Arc<Backend>]) -> Vec<Arc<Backend>> {
    let is_other = |b: &&Arc<Backend>| others.iter().all(|other| other.id() != b.id());
    some.iter().filter(is_other).cloned().collect()
}

/// Backends that an operator has added, as far as they still make sense.
fn added(pool: &str, added: Vec<KeptBackend>) -> Vec<BackendSpec> {
    let understood = |backend: KeptBackend| {
        let understood = BackendSpec::try_from(backend);
        let unclear = |error| tracing::warn!(pool, %error, "cannot add a backend again");
        understood.map_err(unclear).ok()
    };
    added.into_iter().filter_map(understood).collect()
}
