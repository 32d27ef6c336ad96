//! What happens to the backends and to the configuration: said in the log, told to whoever
//! listens, and remembered for a while. All of it goes through here, wherever it comes from, so
//! that nobody hears of half of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::history::History;
use super::reload::ReloadOutcome;
use crate::balance::{
    Backend, BackendId, BackendState, DrainProgress, Pool, Timestamp, Transition,
};

/// Events that a listener may be behind by. Who is further behind misses the oldest.
const BEHIND: usize = 1024;

/// Something that an operator may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A backend has changed its state.
    Transition(Change),
    /// How far a drain is; several times a second while it goes on, and at its end.
    Drain {
        /// Of this pool.
        pool: Arc<str>,
        /// Which backend.
        backend: Arc<str>,
        /// How far.
        progress: Box<DrainProgress>,
    },
    /// The configuration was read again.
    Reload(Arc<ReloadOutcome>),
    /// Backends came or went.
    Membership {
        /// Of this pool.
        pool: Arc<str>,
        /// By name.
        added: Vec<Arc<str>>,
        /// By name.
        removed: Vec<Arc<str>>,
        /// When.
        at: Timestamp,
    },
    /// A backend has another weight.
    Weight {
        /// Of this pool.
        pool: Arc<str>,
        /// Which.
        backend: Arc<str>,
        /// From now on.
        weight: u32,
        /// When.
        at: Timestamp,
    },
}

/// A backend's change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pool.
    pub pool: Arc<str>,
    /// The backend.
    pub backend: Arc<str>,
    /// The same.
    pub id: BackendId,
    /// What it was.
    pub from: BackendState,
    /// What it is.
    pub to: BackendState,
    /// Why, in words.
    pub why: Arc<str>,
    /// Sessions bound to it then.
    pub sessions: u32,
    /// Requests in flight there then.
    pub in_flight: u32,
    /// When.
    pub at: Timestamp,
}

/// Where events come together.
#[derive(Debug)]
pub struct Events {
    listeners: broadcast::Sender<Event>,
    /// Of the members of all pools.
    histories: Mutex<HashMap<BackendId, History>>,
}

impl Default for Events {
    fn default() -> Self {
        Events { listeners: broadcast::Sender::new(BEHIND), histories: Mutex::default() }
    }
}

impl Events {
    /// Everything from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.listeners.subscribe()
    }

    /// Says that a backend has changed its state: who, why, and whom it concerns.
    pub fn transition(&self, pool: &Pool, transition: &Transition, why: &str, now: Timestamp) {
        let Transition { backend, from, to } = transition;
        let change = Change {
            pool: pool.name().into(),
            backend: backend.name().into(),
            id: backend.id(),
            from: *from,
            to: *to,
            why: why.into(),
            sessions: backend.sessions(),
            in_flight: backend.in_flight(),
            at: now,
        };
        log(&change);
        self.history_of(backend.id(), |history| history.add_change(change.clone()));
        self.publish(Event::Transition(change));
    }

    /// Remembers what a health check has found.
    pub fn check(&self, backend: &Backend, result: Result<(), &str>, now: Timestamp) {
        self.history_of(backend.id(), |history| history.add_check(result, now));
    }

    /// Says that a request could not get through to a backend.
    pub fn unreachable(&self, pool: &Pool, backend: &Backend, error: &str, now: Timestamp) {
        tracing::warn!(pool = pool.name(), backend = backend.name(), error, "cannot be reached");
        self.history_of(backend.id(), |history| drop(history.add_error(error, now)));
    }

    /// Tells those who listen. What is to be logged or remembered has a method of its own.
    pub fn publish(&self, event: Event) {
        let _ = self.listeners.send(event); // nobody need listen
    }

    /// What has happened to a backend lately.
    pub fn history(&self, backend: BackendId) -> History {
        self.histories().get(&backend).cloned().unwrap_or_default()
    }

    /// Forgets all backends but these.
    pub fn forget_others(&self, is_known: impl Fn(BackendId) -> bool) {
        self.histories().retain(|&id, _| is_known(id));
    }

    fn history_of(&self, backend: BackendId, add: impl FnOnce(&mut History)) {
        match self.histories().entry(backend) {
            Entry::Occupied(mut history) => add(history.get_mut()),
            Entry::Vacant(vacant) => add(vacant.insert(History::default())),
        }
    }

    fn histories(&self) -> MutexGuard<'_, HashMap<BackendId, History>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(change: &Change) {
    let Change { pool, backend, from, to, why, sessions, in_flight, .. } = change;
    let (pool, backend) = (&**pool, &**backend);
    // To drain is worse than to be ready, and better than to be away.
    if to.accepts_new() || to.accepts_bound() && !from.accepts_bound() {
        tracing::info!(pool, backend, %from, %to, sessions, in_flight, "{why}");
    } else {
        tracing::warn!(pool, backend, %from, %to, sessions, in_flight, "{why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{BackendSpec, Condition, PoolSpec};

    #[test]
    fn who_listens_hears_it_and_who_asks_later_learns_of_it() {
        let backend = BackendSpec::new("app-1", "127.0.0.1:80".parse().unwrap());
        let pool = Pool::new(&PoolSpec::new("shop", vec![backend]), 0);
        let id = pool.backends()[0].id();
        let events = Events::default();
        let mut heard = events.subscribe();
        let now = Timestamp::from_millis(7);
        let down = pool.set(id, Condition::Down, true, now).unwrap();
        events.transition(&pool, &down, "it is gone", now);
        let Ok(Event::Transition(change)) = heard.try_recv() else { panic!("nothing is heard") };
        assert_eq!((&*change.backend, change.to), ("app-1", BackendState::Down));
        assert_eq!(events.history(id).changes().collect::<Vec<_>>(), [&change]);
        events.forget_others(|_| false);
        assert_eq!(events.history(id).changes().count(), 0);
    }
}
