//! Active health checks: one task for each backend.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::keep_running;
use super::probe::{self, Report, Way};
use crate::balance::health::Health;
use crate::balance::{Backend, BackendState, Condition, Pool};
use crate::clock;
use crate::config::HealthCheck;
use crate::observe;

/// What a pool's backends count as before their first check.
pub(super) fn assume(pool: &Arc<Pool>, check: &HealthCheck) {
    if check.assumed_up {
        return;
    }
    for backend in pool.backends() {
        set(pool, &backend, Condition::Down, true, "not checked yet");
    }
}

/// Starts the checks of a pool's backends.
pub(super) fn start(
    pool: &Arc<Pool>,
    check: &Arc<HealthCheck>,
    way: &Arc<Way>,
    tasks: &mut JoinSet<()>,
    rng: &mut StdRng,
) {
    for backend in pool.backends() {
        let (pool, check, way) = (pool.clone(), check.clone(), way.clone());
        let mut rng = StdRng::from_rng(rng);
        tasks.spawn(keep_running("health checks", move || {
            let checker = Checker {
                health: Health::new(check.thresholds, backend.state() != BackendState::Down),
                pool: pool.clone(),
                backend: backend.clone(),
                check: check.clone(),
                way: way.clone(),
                rng: StdRng::from_rng(&mut rng),
            };
            checker.run()
        }));
    }
}

struct Checker {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    check: Arc<HealthCheck>,
    way: Arc<Way>,
    health: Health,
    rng: StdRng,
}

impl Checker {
    async fn run(mut self) {
        // The first checks of all backends do not come at the same moment.
        let first = self.check.fast_interval.mul_f64(self.rng.random::<f64>().min(1.0) * 0.2);
        tokio::time::sleep(first).await;
        loop {
            let report = probe::ask(&self.backend, &self.check, &self.way).await;
            self.take(report);
            tokio::time::sleep(self.pause()).await;
        }
    }

    fn take(&mut self, report: Report) {
        let (success, why, asks_to_drain) = match report {
            Report::Well { asks_to_drain: true } => {
                (true, "health check passes, and the app asks to be drained".into(), true)
            }
            Report::Well { asks_to_drain: false } => (true, "health check passes".into(), false),
            Report::Ill(why) => (false, format!("health check fails: {why}"), false),
        };
        // The wish first: who comes up with it has never been ready.
        if success {
            let why = if asks_to_drain { "the app asks to be drained" } else { "the app is back" };
            self.set(Condition::AskedToDrain, asks_to_drain, why);
        }
        match self.health.observe(success) {
            Some(is_up) => self.set(Condition::Down, !is_up, &why),
            None if !success => {
                tracing::debug!(pool = self.pool.name(), backend = self.backend.name(), "{why}")
            }
            None => {}
        }
    }

    fn set(&self, condition: Condition, holds: bool, why: &str) {
        set(&self.pool, &self.backend, condition, holds, why);
    }

    fn pause(&mut self) -> Duration {
        let interval = match self.health.is_changing() {
            true => self.check.fast_interval,
            false => self.check.interval,
        };
        let jitter = self.rng.random::<f64>().mul_add(2.0, -1.0) * self.check.jitter;
        interval.mul_f64((1.0 + jitter).max(0.0))
    }
}

fn set(pool: &Pool, backend: &Backend, condition: Condition, holds: bool, why: &str) {
    if let Some(transition) = pool.set(backend.id(), condition, holds, clock::now()) {
        observe::log_transition(pool, &transition, why);
    }
}
