//! What can be asked of a running proxy: which backends there are, how they are, and what is to
//! become of them. The admin API, signals, discovery and watched files all come through here, so
//! that whatever they do is logged, published, and kept where a restart finds it.
//!
//! Nothing in here is on the request path.

mod members;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use self::members::is_bound;
use super::found_state::FoundState;
use super::operator_state::{Draining, OperatorState, OutOfService, PoolState};
use super::refusal::Refusal;
pub use super::roster::Origin;
use super::roster::Roster;
use super::splits::Steered;
use crate::balance::{
    Backend, BackendId, BackendSpec, BackendState, DrainPolicy, DrainProgress, Pool, Timestamp,
    Transition,
};
use crate::clock;
use crate::config::{self, Discover, HealthCheck};
use crate::observe::{Event, Events, History, ReloadOutcome, Trigger};

/// How long the end of a drain is told.
const TOLD_AFTER_THE_END: Duration = Duration::from_secs(1);

/// What became of a backend that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Sessions are bound to it: it takes no new ones, and is gone when they have left.
    pub is_leaving: bool,
    /// The file, or discovery, still lists it: with the next reload it is back.
    pub comes_back: bool,
}

/// Somebody wants the configuration to be read again.
#[derive(Debug)]
pub(crate) struct ReloadRequest {
    pub(crate) trigger: Trigger,
    /// Who wants to know how it went.
    pub(crate) answer: Option<oneshot::Sender<Arc<ReloadOutcome>>>,
}

/// A running proxy, for those who operate it.
#[derive(Debug)]
pub struct Controller {
    pools: ArcSwap<Arc<[Arc<Pool>]>>,
    events: Arc<Events>,
    /// Held while the members of a pool change, or what is kept about them.
    desired: Mutex<Desired>,
    /// Other members are to be checked.
    members_changed: Notify,
    /// Others are to be asked for backends.
    sources_changed: Notify,
    reloads: mpsc::UnboundedSender<ReloadRequest>,
    last_reload: ArcSwap<Option<Arc<ReloadOutcome>>>,
    /// The routes over several pools.
    pub(super) splits: ArcSwap<Vec<Steered>>,
}

/// What is to be.
#[derive(Debug)]
struct Desired {
    /// By pool.
    rosters: BTreeMap<String, Roster>,
    /// By pool, for those that have any.
    checks: BTreeMap<String, Arc<HealthCheck>>,
    /// By pool, and whether it has answered, in whatever way.
    sources: Vec<(String, Discover, bool)>,
    operator: OperatorState,
    found: FoundState,
    state_dir: PathBuf,
    /// Another process looks after what is kept there now.
    has_successor: bool,
}

impl Desired {
    fn save(&mut self) {
        if self.has_successor {
            return;
        }
        for (pool, roster) in &self.rosters {
            let said = self.operator.pools.entry(pool.clone()).or_default();
            said.weights.clone_from(roster.weights());
            said.added = roster.added().iter().map(Into::into).collect();
        }
        if let Err(error) = self.operator.save(&self.state_dir) {
            let state_dir = self.state_dir.display();
            tracing::error!(%error, %state_dir, "cannot keep what was said for after a restart");
        }
    }

    fn save_found(&mut self) {
        if self.has_successor {
            return;
        }
        let sources = self.sources.iter().map(|(pool, source, _)| (pool.as_str(), source));
        if let Err(error) = self.found.save(&self.state_dir, sources) {
            let state_dir = self.state_dir.display();
            tracing::error!(%error, %state_dir, "cannot keep what was found for after a restart");
        }
    }

    fn set_sources(&mut self, pools: &[config::Pool]) {
        let former = std::mem::take(&mut self.sources);
        for pool in pools {
            for source in &pool.discover {
                let is_it = |(of, known, _): &&(String, Discover, bool)| {
                    *of == pool.spec.name && known == source
                };
                let has_answered =
                    former.iter().find(is_it).is_some_and(|(.., answered)| *answered);
                self.sources.push((pool.spec.name.clone(), source.clone(), has_answered));
            }
        }
    }

    fn said_of(&mut self, pool: &str) -> &mut PoolState {
        self.operator.pools.entry(pool.to_owned()).or_default()
    }
}

impl Controller {
    /// For no pools yet. What operators said before a restart is read from `state_dir`. Gives what
    /// takes the wishes to reload.
    pub(crate) fn new(state_dir: PathBuf) -> (Arc<Self>, mpsc::UnboundedReceiver<ReloadRequest>) {
        let (operator, found) = (OperatorState::load(&state_dir), FoundState::load(&state_dir));
        let (reloads, requests) = mpsc::unbounded_channel();
        let (rosters, checks, sources) = Default::default();
        let controller = Controller {
            pools: ArcSwap::from_pointee(Arc::default()),
            events: Arc::default(),
            desired: Mutex::new(Desired {
                rosters,
                checks,
                sources,
                operator,
                found,
                state_dir,
                has_successor: false,
            }),
            members_changed: Notify::new(),
            sources_changed: Notify::new(),
            reloads,
            last_reload: ArcSwap::default(),
            splits: ArcSwap::default(),
        };
        (Arc::new(controller), requests)
    }

    /// The pools, in the order of the configuration.
    pub fn pools(&self) -> Arc<[Arc<Pool>]> {
        Arc::clone(&self.pools.load())
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.pools.load().iter().find(|pool| pool.name() == name).cloned()
    }

    /// Where events come together.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells those who have subscribed.
    pub fn publish(&self, event: Event) {
        self.events.publish(event);
    }

    /// What has happened to a backend lately.
    pub fn history(&self, backend: BackendId) -> History {
        self.events.history(backend)
    }

    /// Who is to be checked, and how.
    pub(super) fn checks(&self) -> Vec<(Arc<Pool>, Arc<HealthCheck>)> {
        let desired = self.desired();
        let check =
            |pool: &Arc<Pool>| Some((pool.clone(), desired.checks.get(pool.name())?.clone()));
        self.pools().iter().filter_map(check).collect()
    }

    /// Resolves when others are to be checked, or otherwise.
    pub(super) async fn members_changed(&self) {
        self.members_changed.notified().await;
    }

    /// Who lists a backend: the file, discovery or an operator. `None`: nobody any more, and it
    /// leaves when its sessions have.
    pub fn origin(&self, pool: &str, backend: &str) -> Option<Origin> {
        self.desired().rosters.get(pool)?.origin(backend)
    }

    /// Lets a backend's sessions leave. New ones go elsewhere from now on. What `order` does not
    /// say is as the pool's policy says.
    pub fn drain(
        &self,
        pool: &str,
        backend: &str,
        order: DrainPolicy,
        force: bool,
    ) -> Result<Option<Transition>, Refusal> {
        let (pool, backend) = self.find(pool, backend)?;
        let mut desired = self.desired();
        let now = clock::now();
        let policy = order.or(pool.drain_policy());
        let transition = pool.drain(backend.id(), policy, force, now)?;
        self.log(&pool, transition.clone(), "an operator drains it", now);
        if backend.state() != BackendState::Drained {
            let how = OutOfService::Draining(Draining::new(policy, now));
            desired.said_of(pool.name()).out_of_service.insert(backend.name().to_owned(), how);
            desired.save();
        }
        Ok(transition)
    }

    /// Takes a backend out of service: nobody is sent there, bound or not.
    pub fn maintenance(
        &self,
        pool: &str,
        backend: &str,
        force: bool,
    ) -> Result<Option<Transition>, Refusal> {
        let (pool, backend) = self.find(pool, backend)?;
        let mut desired = self.desired();
        let now = clock::now();
        let transition = pool.maintenance(backend.id(), force, now)?;
        self.log(&pool, transition.clone(), "an operator takes it out of service", now);
        let said = desired.said_of(pool.name());
        said.out_of_service.insert(backend.name().to_owned(), OutOfService::Maintenance);
        desired.save();
        Ok(transition)
    }

    /// Puts a backend back into service, whichever way it was taken out.
    pub fn ready(&self, pool: &str, backend: &str) -> Result<Option<Transition>, Refusal> {
        let (pool, backend) = self.find(pool, backend)?;
        let now = clock::now();
        let mut desired = self.desired();
        let transition = pool.make_ready(backend.id(), now);
        self.log(&pool, transition.clone(), "an operator puts it back into service", now);
        desired.said_of(pool.name()).out_of_service.remove(backend.name());
        desired.save();
        Ok(transition)
    }

    /// Gives a backend another weight, until the file itself gives it another one.
    pub fn set_weight(
        &self,
        pool: &str,
        backend: &str,
        weight: u32,
        force: bool,
    ) -> Result<(), Refusal> {
        let (pool, backend) = self.find(pool, backend)?;
        let now = clock::now();
        let mut desired = self.desired();
        let roster = desired.rosters.get_mut(pool.name()).ok_or(Refusal::UnknownPool)?;
        roster.origin(backend.name()).ok_or(Refusal::Leaving)?;
        pool.set_weight(backend.id(), weight, force, now)?;
        roster.set_weight(backend.name(), weight);
        desired.save();
        drop(desired);
        let (pool, backend): (Arc<str>, Arc<str>) = (pool.name().into(), backend.name().into());
        tracing::info!(%pool, %backend, weight, "an operator has set its weight");
        self.publish(Event::Weight { pool, backend, weight, at: now });
        Ok(())
    }

    /// Adds a backend. It stays through reloads and restarts until it is removed.
    pub fn add_backend(&self, pool: &str, spec: BackendSpec) -> Result<(), Refusal> {
        let pool = self.pool(pool).ok_or(Refusal::UnknownPool)?;
        let mut desired = self.desired();
        let roster = desired.rosters.get_mut(pool.name()).ok_or(Refusal::UnknownPool)?;
        if !roster.add(spec) {
            return Err(Refusal::NameTaken);
        }
        self.apply_members(&mut desired, &pool, clock::now());
        desired.save();
        Ok(())
    }

    /// Removes a backend. While sessions are bound to it, it stays a member that takes no new
    /// ones.
    pub fn remove_backend(
        &self,
        pool: &str,
        backend: &str,
        force: bool,
    ) -> Result<Removal, Refusal> {
        let (pool, backend) = self.find(pool, backend)?;
        let mut desired = self.desired();
        let is_ready =
            |b: &Arc<Backend>| b.state() == BackendState::Ready && b.id() != backend.id();
        if !force && !pool.backends().iter().any(is_ready) {
            return Err(Refusal::LastReady);
        }
        let roster = desired.rosters.get_mut(pool.name()).ok_or(Refusal::UnknownPool)?;
        let origin = roster.remove(backend.name()).ok_or(Refusal::Leaving)?;
        self.apply_members(&mut desired, &pool, clock::now());
        desired.said_of(pool.name()).out_of_service.remove(backend.name());
        desired.save();
        Ok(Removal {
            is_leaving: pool.backend(backend.id()).is_some(),
            comes_back: origin != Origin::Operator,
        })
    }

    /// Reads the configuration again. Resolves when that is in force everywhere, or was refused.
    pub async fn reload(&self, trigger: Trigger) -> Arc<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        let is_asked = self.reloads.send(ReloadRequest { trigger, answer: Some(answer) }).is_ok();
        match outcome.await {
            Ok(outcome) if is_asked => outcome,
            _ => {
                let result = Err("the proxy is about to end".to_owned());
                Arc::new(ReloadOutcome { at: clock::now(), trigger, result })
            }
        }
    }

    /// The same for those who need not know how it went.
    pub fn request_reload(&self, trigger: Trigger) {
        let _ = self.reloads.send(ReloadRequest { trigger, answer: None }); // else it ends anyway
    }

    /// From now on another process keeps what is to survive a restart.
    pub(crate) fn make_way(&self) {
        self.desired().has_successor = true;
    }

    /// How the last reload went, if there was one.
    pub fn last_reload(&self) -> Option<Arc<ReloadOutcome>> {
        Option::clone(&self.last_reload.load())
    }

    /// A reload is over.
    pub(crate) fn has_reloaded(&self, outcome: Arc<ReloadOutcome>) {
        self.last_reload.store(Arc::new(Some(outcome.clone())));
        self.publish(Event::Reload(outcome));
    }

    /// Looks after what time brings about in all pools. To be called a few times a second.
    pub(super) fn tick(&self, now: Timestamp) {
        for pool in self.pools().iter() {
            for transition in pool.tick(now) {
                let why = match transition.to {
                    BackendState::Drained => "nobody is left",
                    _ => "its ejection is over",
                };
                self.events.transition(pool, &transition, why, now);
                if transition.to == BackendState::Drained {
                    self.has_drained(pool, &transition.backend);
                }
            }
        }
        self.splits.load().iter().for_each(|split| split.steering.tick(now));
        self.tell_progress(now);
        let mut desired = self.desired();
        for pool in self.pools().iter() {
            let still_is = |name: &str| named(pool, name).is_some_and(|backend| is_bound(&backend));
            let roster = desired.rosters.get(pool.name());
            if roster.is_some_and(|roster| roster.has_left(still_is)) {
                self.apply_members(&mut desired, pool, now);
            }
        }
    }

    /// How far the drains are, to those who listen.
    fn tell_progress(&self, now: Timestamp) {
        for pool in self.pools().iter() {
            for backend in pool.backends() {
                let is_news = |drain: &DrainProgress| {
                    drain.ended.is_none_or(|ended| now.since(ended) < TOLD_AFTER_THE_END)
                };
                if let Some(progress) = pool.drain_progress(backend.id(), now).filter(is_news) {
                    let (pool, backend) = (pool.name().into(), backend.name().into());
                    self.publish(Event::Drain { pool, backend, progress: Box::new(progress) });
                }
            }
        }
    }

    fn has_drained(&self, pool: &Pool, backend: &Backend) {
        let mut desired = self.desired();
        let said = desired.said_of(pool.name());
        if let Some(how) = said.out_of_service.get_mut(backend.name()) {
            *how = OutOfService::Drained;
            desired.save();
        }
    }

    fn log(&self, pool: &Pool, transition: Option<Transition>, why: &str, now: Timestamp) {
        if let Some(transition) = transition {
            self.events.transition(pool, &transition, why, now);
        }
    }

    fn find(&self, pool: &str, backend: &str) -> Result<(Arc<Pool>, Arc<Backend>), Refusal> {
        let pool = self.pool(pool).ok_or(Refusal::UnknownPool)?;
        let backend = named(&pool, backend).ok_or(Refusal::UnknownBackend)?;
        Ok((pool, backend))
    }

    fn desired(&self) -> MutexGuard<'_, Desired> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(pool: &Pool, backend: &str) -> Option<Arc<Backend>> {
    pool.backends().into_iter().find(|member| member.name() == backend)
}
