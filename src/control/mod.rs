//! Everything that is not a request: what can be asked of a running proxy ([`Controller`]), health
//! checks, and what time alone brings about. One thread with a runtime of its own, so that no
//! request waits for any of it.

mod controller;
mod discovery;
mod found_state;
mod health_check;
mod operator_state;
mod probe;
mod refusal;
mod roster;
mod splits;
mod state_file;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

pub(crate) use self::controller::ReloadRequest;
pub use self::controller::{Controller, Origin, Removal};
use self::discovery::Discovery;
use self::health_check::Checks;
pub use self::refusal::Refusal;
pub(crate) use self::splits::Steered;
pub use self::splits::{Arm, SplitRoute};
use crate::balance::cost;
use crate::clock;
use crate::observe::metrics::Metrics;

/// How often idle sessions, ejections and those who leave are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How long after a panic a task is started again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Something that lives on the control thread, until that ends or it does itself.
pub(crate) type Guest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The control thread.
pub(crate) struct Handle {
    thread: thread::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Handle {
    /// Ends the thread.
    pub(crate) fn finish(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Starts the control thread.
pub(crate) fn start(
    controller: &Arc<Controller>,
    metrics: &Arc<Metrics>,
    guests: Vec<Guest>,
    rng: &mut StdRng,
) -> io::Result<Handle> {
    let (controller, metrics) = (controller.clone(), metrics.clone());
    let rng = StdRng::from_rng(rng);
    let (ready, is_ready) = mpsc::channel();
    let (stop, stopping) = oneshot::channel();
    let thread = thread::Builder::new().name("control".into()).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        runtime.block_on(async move {
            let ticked = controller.clone();
            tokio::spawn(keep_running("what time brings about", move || tick(ticked.clone())));
            let measured = controller.clone();
            let measure = move || measure(measured.clone(), metrics.clone());
            tokio::spawn(keep_running("the cost of stickiness", measure));
            let checks = Checks::new(controller.events().clone(), rng);
            tokio::spawn(check(controller.clone(), checks));
            tokio::spawn(discover(controller));
            guests.into_iter().for_each(|guest| drop(tokio::spawn(guest)));
            let _ = stopping.await;
        });
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(Handle { thread, stop })
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

async fn tick(controller: Arc<Controller>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        controller.tick(clock::now());
    }
}

/// Has measured what stickiness costs.
async fn measure(controller: Arc<Controller>, metrics: Arc<Metrics>) {
    let mut interval = tokio::time::interval(cost::INTERVAL);
    loop {
        interval.tick().await;
        metrics.measure(&controller.pools());
    }
}

/// Has those checked who are members.
async fn check(controller: Arc<Controller>, mut checks: Checks) {
    loop {
        checks.reconcile(&controller.checks());
        controller.members_changed().await;
    }
}

/// Looks for backends where the configuration says.
async fn discover(controller: Arc<Controller>) {
    let mut discovery = Discovery::default();
    loop {
        discovery.reconcile(&controller);
        controller.sources_changed().await;
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
