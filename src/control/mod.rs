//! Everything that is not a request: health checks, and what time alone brings about. One thread
//! with a runtime of its own, so that no request waits for any of it.

mod certificates;
mod health_check;
mod probe;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::balance::Pool;
use crate::clock;
use crate::config::{Config, HealthCheck};
use crate::observe;
use crate::tls::Incoming;

/// How often idle sessions and ejections are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How long after a panic a task is started again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// The control thread.
pub(crate) struct Handle {
    thread: thread::JoinHandle<()>,
}

impl Handle {
    /// Waits for the thread to end after it was told to.
    pub(crate) fn finish(self) {
        let _ = self.thread.join();
    }
}

/// Starts the control thread. It ends when `stopping` becomes true. What a health check finds out
/// first is assumed when this returns.
pub(crate) fn start(
    config: &Config,
    pools: &[Arc<Pool>],
    incoming: Vec<Arc<Incoming>>,
    mut stopping: watch::Receiver<bool>,
    rng: &mut StdRng,
) -> io::Result<Handle> {
    let checks: Vec<Option<Arc<HealthCheck>>> =
        config.pools.iter().map(|pool| pool.health.clone().map(Arc::new)).collect();
    let ways = config.pools.iter().map(|pool| probe::Way::new(&pool.transport).map(Arc::new));
    let ways = ways.collect::<io::Result<Vec<_>>>()?;
    let pools = pools.to_vec();
    for (pool, check) in pools.iter().zip(&checks) {
        if let Some(check) = check {
            health_check::assume(pool, check);
        }
    }
    let mut rng = StdRng::from_rng(rng);
    let (ready, is_ready) = mpsc::channel();
    let thread = thread::Builder::new().name("control".into()).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        runtime.block_on(async move {
            let mut tasks = JoinSet::new();
            if !incoming.is_empty() {
                let incoming = Arc::new(incoming);
                let watch = move || certificates::watch(incoming.clone());
                tasks.spawn(keep_running("watching certificates", watch));
            }
            for ((pool, check), way) in pools.iter().zip(checks).zip(&ways) {
                let ticked = pool.clone();
                tasks.spawn(keep_running("what time brings about", move || tick(ticked.clone())));
                if let Some(check) = check {
                    health_check::start(pool, &check, way, &mut tasks, &mut rng);
                }
            }
            let _ = stopping.wait_for(|&stop| stop).await;
        });
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(Handle { thread })
}

/// Runs a task for good: after a panic, which is a mistake of ours, again.
async fn keep_running<F>(name: &'static str, mut task: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match tokio::spawn(task()).await {
            Err(error) if error.is_panic() => tracing::error!("{name}: starts again after a panic"),
            Ok(()) | Err(_) => return,
        }
        tokio::time::sleep(AFTER_PANIC).await;
    }
}

async fn tick(pool: Arc<Pool>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        for transition in pool.tick(clock::now()) {
            observe::log_transition(&pool, &transition, "its ejection is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_goes_on_after_a_panic() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut runs = 0;
        runtime.block_on(keep_running("it", || {
            runs += 1;
            let is_first = runs == 1;
            async move { assert!(!is_first, "as intended") }
        }));
        assert_eq!(runs, 2);
    }
}
