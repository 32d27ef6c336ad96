//! Backends that are found: by DNS, or in a file that somebody else writes.
//!
//! What was found stays until something else is found. A resolver that does not answer, a name
//! that is gone, a file that cannot be read, and an answer with fewer backends than `min_members`
//! change nothing: they are more likely a mistake than the truth, and sessions live there. Who is
//! found no longer leaves like any backend that is no longer listed. After a restart it stays as
//! well: what was found is kept (`found_state`).

mod dns;
mod file;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::sync::oneshot;

use super::Controller;
use super::keep_running;
use crate::balance::BackendSpec;
use crate::config::{Discover, DiscoverSource};

/// Until a source that has failed is asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What a source says.
struct Found {
    backends: Vec<BackendSpec>,
    /// When to ask again.
    again_in: Duration,
}

/// The sources that are asked, by pool. Each ends when this is dropped.
#[derive(Default)]
pub(super) struct Discovery {
    running: HashMap<(String, Discover), oneshot::Sender<()>, FixedState>,
}

impl Discovery {
    /// From now on these are asked, and no others.
    pub(super) fn reconcile(&mut self, controller: &Arc<Controller>) {
        let mut former = std::mem::take(&mut self.running);
        for source in controller.sources() {
            let known = former.remove(&source);
            let running = known.unwrap_or_else(|| start(controller, &source));
            self.running.insert(source, running);
        }
    }
}

fn start(
    controller: &Arc<Controller>,
    (pool, discover): &(String, Discover),
) -> oneshot::Sender<()> {
    let (running, gone) = oneshot::channel();
    let (controller, pool, discover) = (controller.clone(), pool.clone(), discover.clone());
    tokio::spawn(async move {
        let ask = keep_running("discovery", move || {
            Asking {
                controller: controller.clone(),
                pool: pool.clone(),
                discover: discover.clone(),
                is_failing: false,
            }
            .run()
        });
        tokio::select! {
            () = ask => {}
            _ = gone => {}
        }
    });
    running
}

/// One source.
struct Asking {
    controller: Arc<Controller>,
    pool: String,
    discover: Discover,
    is_failing: bool,
}

impl Asking {
    async fn run(mut self) {
        let mut file = file::Watched::default();
        loop {
            let name = self.discover.name.as_ref();
            let found = match &self.discover.source {
                DiscoverSource::Dns { host, port, lookup } => {
                    dns::addresses(host, *port, lookup, name).await.map(Some)
                }
                DiscoverSource::Srv { name: record, lookup } => {
                    dns::targets(record, lookup, name).await.map(Some)
                }
                DiscoverSource::File(path) => file.read(path).await,
            };
            let pause = match found {
                Ok(None) => file::INTERVAL,
                Ok(Some(found)) => self.take(found),
                Err(why) => self.fail(&why),
            };
            if !self.controller.wants(&self.pool, &self.discover) {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn take(&mut self, found: Found) -> Duration {
        let (few, least) = (found.backends.len(), self.discover.min_members);
        if few < least {
            let why = format!("{few} backends, and fewer than {least} are not believed");
            return self.fail(&why).max(found.again_in.min(AFTER_FAILURE));
        }
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(pool = self.pool, source = %self.source(), "discovery works again");
        }
        self.controller.discovered(&self.pool, &self.discover, found.backends);
        found.again_in
    }

    /// Says so once; that it still fails is no news.
    fn fail(&mut self, why: &str) -> Duration {
        let (pool, source) = (&self.pool, self.source());
        match std::mem::replace(&mut self.is_failing, true) {
            false => tracing::warn!(pool, source, why, "discovery fails; who was found stays"),
            true => tracing::debug!(pool, source, why, "discovery still fails"),
        }
        self.controller.has_answered(&self.pool, &self.discover);
        AFTER_FAILURE
    }

    fn source(&self) -> String {
        match &self.discover.source {
            DiscoverSource::Dns { host, port, .. } => format!("{host}:{port}"),
            DiscoverSource::Srv { name, .. } => name.clone(),
            DiscoverSource::File(path) => path.display().to_string(),
        }
    }
}
