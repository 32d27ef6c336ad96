//! Another configuration for a proxy at work.
//!
//! Everything that can fail comes first: reading, checking, binding, keys. Then nothing stands in
//! the way any more, and it is swapped in: pools and backends by name, listeners by address, and
//! last of all what the workers serve. No connection notices; a request that is in flight goes on
//! under the configuration that it began under.

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::sync::mpsc;

use super::acme;
use super::listener::Listener;
use super::site::{self, Sites};
use super::sockets::{self, Inherited};
use super::watched::{self, Watched};
use super::worker::Order;
use super::{Follow, Listeners, Moment, Source, StartError, Tell, lock};
use crate::clock;
use crate::config::{self, Config, Loaded};
use crate::control::{Controller, ReloadRequest};
use crate::observe::{Observer, ReloadOutcome, Reloaded, Trigger};
use crate::proxy::{Entrance, Site};

/// How long all workers may take to do as they are told. They do it between two polls.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who reloads.
pub(super) struct Reloader {
    pub(super) source: Option<Source>,
    pub(super) followers: Vec<Follow>,
    /// The one in force.
    pub(super) config: Config,
    pub(super) sites: Sites,
    pub(super) controller: Arc<Controller>,
    pub(super) observer: Observer,
    pub(super) listeners: Listeners,
    pub(super) shutdown_timeout: Arc<Mutex<Duration>>,
    pub(super) orders: Vec<mpsc::UnboundedSender<Order>>,
    pub(super) tell: Tell,
    pub(super) rng: StdRng,
}

/// Who has the listeners accepted on for the first time.
pub(super) struct Opening {
    listeners: Listeners,
    orders: Vec<mpsc::UnboundedSender<Order>>,
}

impl Reloader {
    /// Does what is wished, one at a time.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<ReloadRequest>) {
        let mut watched = Watched::default();
        loop {
            let request = tokio::select! {
                request = requests.recv() => request,
                () = tokio::time::sleep(watched::INTERVAL) => {
                    if !watched.have_changed(&self.files()).await {
                        continue;
                    }
                    Some(ReloadRequest { trigger: Trigger::File, answer: None })
                }
            };
            let Some(ReloadRequest { trigger, answer }) = request else { return };
            (self.tell)(Moment::Reloading);
            let outcome = Arc::new(self.reload(trigger).await);
            self.observer.metrics.note_reload(outcome.result.is_ok(), outcome.at);
            (self.tell)(Moment::Reloaded);
            self.controller.has_reloaded(outcome.clone());
            if let Some(answer) = answer {
                let _ = answer.send(outcome); // who asked may be gone
            }
        }
    }

    /// Those whose change is to be noticed.
    fn files(&self) -> Vec<PathBuf> {
        match (&self.source, self.config.server.watch_config) {
            (Some(source), true) => {
                let keys = self.config.server.token_keys_file.clone();
                std::iter::once(source.file.clone()).chain(keys).collect()
            }
            _ => Vec::new(),
        }
    }

    async fn reload(&mut self, trigger: Trigger) -> ReloadOutcome {
        let result = match self.read().await {
            Ok(loaded) => self.take(loaded).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(Reloaded { changes, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                changes.iter().for_each(|change| tracing::info!("changed: {change}"));
                tracing::info!(%trigger, changes = changes.len(), "the configuration was reloaded");
            }
            Err(error) => tracing::error!(
                %trigger,
                "the configuration was not reloaded; the one from before stays in force: {error}"
            ),
        }
        ReloadOutcome { at: clock::now(), trigger, result }
    }

    async fn read(&mut self) -> Result<Loaded, String> {
        let Some(source) = &self.source else {
            return Err("this proxy was not started from a file".into());
        };
        // On a thread that may wait for a disk.
        let read = source.read.clone();
        let read = tokio::task::spawn_blocking(move || read());
        let loaded = read.await.map_err(|error| error.to_string())?;
        loaded.map_err(|error| error.to_string())
    }

    /// Puts a configuration in force, or says why that cannot be.
    async fn take(&mut self, loaded: Loaded) -> Result<Reloaded, String> {
        let Loaded { mut config, warnings } = loaded;
        let mut warnings: Vec<String> =
            warnings.iter().map(|warning| warning.title().to_owned()).collect();
        self.keep_what_cannot_change(&mut config, &mut warnings);
        let keyring = self.sites.keyring(&config, &mut self.rng).map_err(|e| e.to_string())?;
        let transports = site::transports(&config).map_err(|error| error.to_string())?;
        acme::prepare(&mut config.listeners, &config.server.state_dir)
            .map_err(|error| error.to_string())?;
        let plan = self.plan(&config.listeners).map_err(|error| error.to_string())?;
        let opening = self.opening();
        let open = opening.deal(&plan).map_err(|error| error.to_string())?;

        self.controller.configure(&config.pools, &mut self.rng);
        let site = Arc::new(self.sites.site(
            &config,
            &self.controller,
            keyring,
            transports,
            &mut self.rng,
        ));
        *lock(&self.shutdown_timeout) = config.server.shutdown_timeout;
        let done = opening.order(&site, &plan, open);
        opening.keep(plan);
        wait(done).await;
        if let Err(error) = self.observer.access_log.configure(config.server.access_log.as_ref()) {
            warnings.push(format!("the access log stays as it was: {error}"));
        }
        for follow in &self.followers {
            warnings.extend(follow(&config));
        }
        let changes = changes(&self.config, &config);
        self.config = config;
        Ok(Reloaded { changes, warnings })
    }

    /// What needs a restart stays as it is.
    fn keep_what_cannot_change(&self, config: &mut Config, warnings: &mut Vec<String>) {
        let (old, new) = (&self.config.server, &mut config.server);
        if new.workers != old.workers {
            let (from, to) = (old.workers, new.workers);
            warnings.push(format!("server.workers: {to} instead of {from} needs a restart"));
            new.workers = from;
        }
        if new.state_dir != old.state_dir {
            warnings.push("server.state_dir: another one needs a restart".into());
            new.state_dir.clone_from(&old.state_dir);
        }
    }

    /// Which listeners stay, come and go. Those that come are bound already.
    fn plan(&self, wanted: &[config::Listener]) -> Result<Plan, StartError> {
        let open = lock(&self.listeners);
        let mut next_id = open.iter().map(|listener| listener.id).max().unwrap_or(0) + 1;
        let mut plan = Plan::default();
        for config in wanted {
            let is_same =
                |l: &&Listener| l.configured == config.address && !plan.order.contains(&l.id);
            let id = match open.iter().find(is_same) {
                Some(listener) => {
                    plan.change.push((listener.id, Arc::new(listener.entrance_like(config)?)));
                    listener.id
                }
                None => {
                    let inherited = &mut Inherited::default();
                    let workers = self.orders.len();
                    plan.open.push(Listener::open(next_id, config, workers, inherited)?);
                    next_id += 1;
                    next_id - 1
                }
            };
            plan.order.push(id);
        }
        let ids = open.iter().map(|listener| listener.id);
        plan.close = ids.filter(|id| !plan.order.contains(id)).collect();
        Ok(plan)
    }

    pub(super) fn opening(&self) -> Opening {
        Opening { listeners: self.listeners.clone(), orders: self.orders.clone() }
    }
}

impl Opening {
    /// Which worker accepts on which of the sockets that come.
    fn deal(&self, plan: &Plan) -> Result<Vec<Sockets>, StartError> {
        let mut open: Vec<Sockets> = self.orders.iter().map(|_| Vec::new()).collect();
        for listener in &plan.open {
            let dealt = sockets::deal(&listener.sockets, open.len())?;
            for (of_worker, sockets) in open.iter_mut().zip(dealt) {
                let entrance = &listener.entrance;
                let with = |socket: TcpListener| (listener.id, socket, entrance.clone());
                of_worker.extend(sockets.into_iter().map(with));
            }
        }
        Ok(open)
    }

    /// Tells the workers. What it gives ends when all of them have done it.
    fn order(&self, site: &Arc<Site>, plan: &Plan, open: Vec<Sockets>) -> mpsc::Receiver<()> {
        let (done, all_done) = mpsc::channel(1);
        for (orders, open) in self.orders.iter().zip(open) {
            let order = Order {
                site: site.clone(),
                open,
                change: plan.change.clone(),
                close: plan.close.clone(),
                _done: done.clone(),
            };
            let _ = orders.send(order); // a worker that has ended serves nobody
        }
        all_done
    }

    /// Remembers what is open now.
    fn keep(&self, plan: Plan) {
        let mut open = lock(&self.listeners);
        let mut all: Vec<Listener> = open.drain(..).chain(plan.open).collect();
        all.retain(|listener| !plan.close.contains(&listener.id));
        for listener in &mut all {
            if let Some((_, entrance)) = plan.change.iter().find(|(id, _)| *id == listener.id) {
                listener.entrance = entrance.clone();
            }
        }
        all.sort_by_key(|listener| plan.order.iter().position(|id| *id == listener.id));
        *open = all;
    }

    /// Has all listeners accepted on for the first time.
    pub(super) fn open_all(&self, site: &Arc<Site>) -> Result<(), StartError> {
        let open = std::mem::take(&mut *lock(&self.listeners));
        let order = open.iter().map(|listener| listener.id).collect();
        let plan = Plan { open, order, ..Plan::default() };
        self.order(site, &plan, self.deal(&plan)?);
        self.keep(plan);
        Ok(())
    }
}

/// What a worker is to accept on.
type Sockets = Vec<(u64, TcpListener, Arc<Entrance>)>;

/// What becomes of the listeners.
#[derive(Default)]
struct Plan {
    open: Vec<Listener>,
    change: Vec<(u64, Arc<Entrance>)>,
    close: Vec<u64>,
    /// All that are open then, in the order of the configuration.
    order: Vec<u64>,
}

async fn wait(mut done: mpsc::Receiver<()>) {
    if tokio::time::timeout(PATIENCE, done.recv()).await.is_err() {
        tracing::warn!("a worker is slow to take over the new configuration");
    }
}

/// What differs, in words.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (lines(old), lines(new));
    let known: HashSet<&String> = before.iter().collect();
    let wanted: HashSet<&String> = after.iter().collect();
    let gone = before.iter().filter(|l| !wanted.contains(l)).map(|line| format!("- {line}"));
    let come = after.iter().filter(|l| !known.contains(l)).map(|line| format!("+ {line}"));
    let mut changes: Vec<String> = gone.chain(come).collect();
    if old.server.token_keys != new.server.token_keys {
        changes.push("token keys".into());
    }
    changes
}

/// The lines of the summary, each with its section in front.
fn lines(config: &Config) -> Vec<String> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in config.to_string().lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("  ") {
            Some(line) => {
                let words: Vec<&str> = line.split_whitespace().collect();
                lines.push(format!("{section}: {}", words.join(" ")));
            }
            None => section = line.to_owned(),
        }
    }
    lines
}
