//! Active health checks: one task for each backend.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::keep_running;
use super::probe::{self, Report, Way};
use crate::balance::health::Health;
use crate::balance::{Backend, BackendId, BackendState, Condition, Pool};
use crate::clock;
use crate::config::{HealthCheck, Transport};
use crate::observe::Events;

/// The checks that are going on.
pub(super) struct Checks {
    running: HashMap<BackendId, Running, FixedState>,
    events: Arc<Events>,
    rng: StdRng,
}

/// A backend's. Ends when this is dropped.
struct Running {
    pool: Arc<Pool>,
    check: watch::Sender<Arc<HealthCheck>>,
}

impl Checks {
    /// None yet.
    pub(super) fn new(events: Arc<Events>, rng: StdRng) -> Self {
        Checks { running: HashMap::default(), events, rng }
    }

    /// From now on the members of these pools are checked, and nobody else. Whose check has not
    /// changed notices nothing.
    pub(super) fn reconcile(&mut self, wanted: &[(Arc<Pool>, Arc<HealthCheck>)]) {
        let mut former = std::mem::take(&mut self.running);
        for (pool, check) in wanted {
            for backend in pool.backends() {
                let known = former.remove(&backend.id());
                let known = known.filter(|running| Arc::ptr_eq(&running.pool, pool));
                let running = match known {
                    Some(running) => {
                        running.check.send_if_modified(|current| {
                            let differs = **current != **check;
                            *current = check.clone();
                            differs
                        });
                        running
                    }
                    None => self.start(pool, &backend, check),
                };
                self.running.insert(backend.id(), running);
            }
        }
    }

    fn start(
        &mut self,
        pool: &Arc<Pool>,
        backend: &Arc<Backend>,
        check: &Arc<HealthCheck>,
    ) -> Running {
        let (sender, check) = watch::channel(check.clone());
        let (of_pool, id, events) = (pool.clone(), backend.id(), self.events.clone());
        let mut rng = StdRng::from_rng(&mut self.rng);
        tokio::spawn(keep_running("health checks", move || {
            let up = of_pool.backend(id).is_none_or(|b| b.state() != BackendState::Down);
            let checker = Checker {
                health: Health::new(check.borrow().thresholds, up),
                pool: of_pool.clone(),
                id,
                check: check.clone(),
                way: None,
                events: events.clone(),
                rng: StdRng::from_rng(&mut rng),
            };
            checker.run()
        }));
        Running { pool: pool.clone(), check: sender }
    }
}

/// Checks a backend once, the way that requests go.
async fn ask(
    known: &mut Option<(Transport, Way)>,
    backend: &Backend,
    check: &HealthCheck,
) -> Report {
    if !known.as_ref().is_some_and(|(transport, _)| *transport == check.transport) {
        match Way::new(&check.transport) {
            Ok(way) => *known = Some((check.transport.clone(), way)),
            Err(error) => return Report::Ill(error.to_string()),
        }
    }
    match known {
        Some((_, way)) => probe::ask(backend, check, way).await,
        None => Report::Ill("no way to it is known".into()),
    }
}

struct Checker {
    pool: Arc<Pool>,
    id: BackendId,
    check: watch::Receiver<Arc<HealthCheck>>,
    /// How it is spoken to, made for a check that may have changed since.
    way: Option<(Transport, Way)>,
    health: Health,
    events: Arc<Events>,
    rng: StdRng,
}

impl Checker {
    async fn run(mut self) {
        // The first checks of all backends do not come at the same moment.
        let spread = self.rng.random::<f64>().min(1.0) * 0.2;
        let mut pause = self.check.borrow().fast_interval.mul_f64(spread);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.check.changed() => match changed {
                    Ok(()) => self.health.set_thresholds(self.check.borrow().thresholds),
                    Err(_) => return, // nobody wants it any more
                },
            }
            // Its address may have changed, and it may be gone.
            let Some(backend) = self.pool.backend(self.id) else { return };
            let check = self.check.borrow().clone();
            let report = tokio::select! {
                report = ask(&mut self.way, &backend, &check) => report,
                Err(_) = gone(&mut self.check) => return,
            };
            self.take(&backend, report);
            pause = self.pause(&check);
        }
    }

    fn take(&mut self, backend: &Backend, report: Report) {
        let (success, why, asks_to_drain) = match report {
            Report::Well { asks_to_drain: true } => {
                (true, "health check passes, and the app asks to be drained".into(), true)
            }
            Report::Well { asks_to_drain: false } => (true, "health check passes".into(), false),
            Report::Ill(why) => (false, format!("health check fails: {why}"), false),
        };
        self.events.check(backend, success.then_some(()).ok_or(&*why), clock::now());
        // The wish first: who comes up with it has never been ready.
        if success {
            let why = if asks_to_drain { "the app asks to be drained" } else { "the app is back" };
            self.set(Condition::AskedToDrain, asks_to_drain, why);
        }
        match self.health.observe(success) {
            Some(is_up) => self.set(Condition::Down, !is_up, &why),
            None if !success => {
                tracing::debug!(pool = self.pool.name(), backend = backend.name(), "{why}")
            }
            None => {}
        }
    }

    fn set(&self, condition: Condition, holds: bool, why: &str) {
        let now = clock::now();
        if let Some(transition) = self.pool.set(self.id, condition, holds, now) {
            self.events.transition(&self.pool, &transition, why, now);
        }
    }

    fn pause(&mut self, check: &HealthCheck) -> Duration {
        let interval = match self.health.is_changing() {
            true => check.fast_interval,
            false => check.interval,
        };
        let jitter = self.rng.random::<f64>().mul_add(2.0, -1.0) * check.jitter;
        interval.mul_f64((1.0 + jitter).max(0.0))
    }
}

/// Resolves with an error when nobody wants the check any more.
async fn gone(
    check: &mut watch::Receiver<Arc<HealthCheck>>,
) -> Result<(), watch::error::RecvError> {
    let mut check = check.clone();
    check.mark_unchanged();
    check.wait_for(|_| false).await.map(drop)
}
