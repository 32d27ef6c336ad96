//! Everything that is not a request: health checks, and what time alone brings about. One thread
//! with a runtime of its own, so that no request waits for any of it.

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

/// How often idle sessions and ejections are looked at.
const TICK: Duration = Duration::from_millis(250);

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

/// Starts the control thread. It ends when `stopping` becomes true.
pub(crate) fn start(
    config: &Config,
    pools: &[Arc<Pool>],
    mut stopping: watch::Receiver<bool>,
    rng: &mut StdRng,
) -> io::Result<Handle> {
    let checks: Vec<Option<HealthCheck>> = config.pools.iter().map(|p| p.health.clone()).collect();
    let pools = pools.to_vec();
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
            for (pool, check) in pools.iter().zip(checks) {
                tasks.spawn(tick(pool.clone()));
                if let Some(check) = check {
                    health_check::start(pool, Arc::new(check), &mut tasks, &mut rng);
                }
            }
            let _ = stopping.wait_for(|&stop| stop).await;
        });
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(Handle { thread })
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
