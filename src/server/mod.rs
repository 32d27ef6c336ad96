//! From a [`Config`] to threads that serve it, and back.
//!
//! One worker thread per core, each with its own runtime, listeners and connection caches; one
//! control thread for health checks and everything else that is not a request. [`start`] returns
//! when all listeners are bound; [`Running::shut_down`] ends what is in flight gracefully. Between
//! the two another configuration may be swapped in (`reload`), and another process may take the
//! sockets over (`takeover`).

mod acceptor;
mod acme;
mod certificates;
mod keys;
mod listener;
mod operators;
mod reload;
pub mod signals;
mod site;
mod sockets;
mod takeover;
mod watchdog;
mod watched;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::sync::watch;

use self::listener::Listener;
use self::reload::Reloader;
use self::site::Sites;
pub use self::sockets::Inherited;
pub use self::takeover::{Predecessor, take_over};
use crate::balance::Pool;
use crate::clock::Stopwatch;
use crate::config::{Config, ConfigError, Loaded};
use crate::control::{self, Controller, Guest};
use crate::observe::Observer;
use crate::observe::metrics::Format;
use crate::tls;

/// Why a proxy could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener's address is not to be had.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The token key can neither be read nor made.
    #[error("cannot keep the token key in {path}: {source}\n  {}", key_hint(.source))]
    Key {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot open the {0}")]
    AccessLog(#[source] io::Error),
    /// A listener's certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The operating system has no randomness, threads or event queues to give.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "\n  another process listens there; stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "\n  ports below 1024 need the right to bind them (CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => "\n  no interface of this machine has that address",
        _ => "",
    }
}

fn key_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            "restore the file, or remove it: then a new key is made, and sessions begin anew"
        }
        _ => {
            "set server.state_dir to a directory that this user may write, or give the key in [token]"
        }
    }
}

/// Where the configuration comes from when it is to be read again.
pub struct Source {
    /// Reads it.
    pub read: Arc<dyn Fn() -> Result<Loaded, ConfigError> + Send + Sync>,
    /// The file that it is in.
    pub file: PathBuf,
}

/// What is done with another configuration beside serving it. Gives warnings.
pub type Follow = Box<dyn Fn(&Config) -> Vec<String> + Send>;

/// How a proxy starts, beside its configuration.
#[derive(Default)]
pub struct Options {
    /// Without it a reload fails.
    pub source: Option<Source>,
    /// Sockets that somebody else has bound for us.
    pub inherited: Inherited,
    /// Who else is to know of another configuration.
    pub followers: Vec<Follow>,
    /// Who hears of great moments.
    pub tell: Option<Tell>,
    /// May another process take over? It finds us by the `state_dir`.
    pub hands_over: bool,
    /// How often to tell that all is well, if at all.
    pub alive_every: Option<Duration>,
}

/// Is told of a moment.
pub type Tell = Arc<dyn Fn(Moment) + Send + Sync>;

/// What others may have to know at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The configuration is about to be read again.
    Reloading,
    /// It was, or was refused.
    Reloaded,
    /// Every thread is at work.
    Alive,
    /// Another process has our sockets and serves: time to [go](Running::make_way).
    TakenOver,
}

/// How long to wait for the first answers of discovery before clients are let in.
const DISCOVERY: Duration = Duration::from_secs(3);

/// How often a process that ends looks at who is left.
const LOOK: Duration = Duration::from_millis(20);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It does not.
    NotYet,
    /// It accepts nobody, and who is here may ask for one more thing.
    Gently,
    /// It accepts nobody, and who asks for nothing at the moment has to go.
    Now,
}

/// The listeners that are open. Those who hand them over hold this, too.
type Listeners = Arc<Mutex<Vec<Listener>>>;

/// A proxy at work.
pub struct Running {
    listeners: Listeners,
    admin: Option<SocketAddr>,
    /// Does it speak HTTPS there?
    is_admin_https: bool,
    /// Gives an error when the admin address serves nobody any more.
    admin_closed: Option<mpsc::Receiver<()>>,
    controller: Arc<Controller>,
    observer: Observer,
    workers: Vec<worker::Handle>,
    control: control::Handle,
    stop: watch::Sender<Ending>,
    shutdown_timeout: Arc<Mutex<Duration>>,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Every request in flight was finished.
    Complete,
    /// The time was up with so many connections still open.
    Forced {
        /// Connections that were cut.
        connections: usize,
    },
}

/// Starts a proxy. It serves when this returns.
pub fn start(config: Config) -> Result<Running, StartError> {
    start_with(config, Options::default())
}

/// The same with options.
pub fn start_with(mut config: Config, options: Options) -> Result<Running, StartError> {
    let Options { source, mut inherited, mut followers, tell, hands_over, alive_every } = options;
    let tell = tell.unwrap_or_else(|| Arc::new(|_| {}));
    raise_descriptors(&config);
    let is_admin_https = config.admin.tls.is_some();
    acme::prepare(&mut config.listeners, &config.server.state_dir)?;
    let mut rng = StdRng::try_from_rng(&mut rand::rngs::SysRng).map_err(io::Error::other)?;
    let (controller, requests) = Controller::new(config.server.state_dir.clone());
    controller.configure(&config.pools, &mut rng);
    let mut sites = Sites::new(config.server.state_dir.clone());
    let keyring = sites.keyring(&config, &mut rng)?;
    let transports = site::transports(&config)?;
    let site = Arc::new(sites.site(&config, &controller, keyring, transports, &mut rng));

    let observer =
        Observer::new(config.server.access_log.as_ref()).map_err(StartError::AccessLog)?;
    let admin_socket = config.admin.address.and_then(|address| inherited.take_admin(address));
    let count = config.server.workers;
    let open = (0..).zip(&config.listeners);
    let open = open.map(|(id, listener)| Listener::open(id, listener, count, &mut inherited));
    let listeners = open.collect::<Result<Vec<_>, _>>()?;
    for address in inherited.addresses() {
        tracing::warn!(%address, "a socket was handed over that no listener asks for");
    }
    drop(inherited);
    let (stop, stopping) = watch::channel(Ending::NotYet);
    let workers = worker::start_all(&site, count, &stopping, &observer, &mut rng)?;
    let listeners: Listeners = Arc::new(Mutex::new(listeners));
    let shutdown_timeout = Arc::new(Mutex::new(config.server.shutdown_timeout));
    let state_dir = config.server.state_dir.clone();
    let operators = operators::start(
        &config.admin,
        admin_socket,
        &controller,
        &observer,
        &listeners,
        &stopping,
        &mut rng,
    )?;
    followers.extend(operators.follow);
    let reloader = Reloader {
        source,
        followers,
        config,
        sites,
        controller: controller.clone(),
        observer: observer.clone(),
        listeners: listeners.clone(),
        shutdown_timeout: shutdown_timeout.clone(),
        orders: workers.iter().map(|worker| worker.orders.clone()).collect(),
        tell: tell.clone(),
        rng: StdRng::from_rng(&mut rng),
    };
    let opening = reloader.opening();
    let certificates = certificates::watch(listeners.clone(), operators.admin);
    let issued = acme::run(listeners.clone(), state_dir.clone());
    let mut guests: Vec<Guest> =
        vec![Box::pin(reloader.run(requests)), Box::pin(certificates), Box::pin(issued)];
    guests.extend(operators.serve);
    if let Some(interval) = alive_every {
        let beats = workers.iter().map(|worker| worker.beat.clone()).collect();
        guests.push(Box::pin(watchdog::run(interval, beats, tell.clone())));
    }
    if hands_over {
        let taken = move || tell(Moment::TakenOver);
        guests.push(Box::pin(takeover::offer(
            state_dir,
            listeners.clone(),
            operators.socket,
            taken,
        )));
    }
    let control = control::start(&controller, &observer.metrics, guests, &mut rng)?;
    let since = Stopwatch::start();
    while !controller.has_discovered() && since.elapsed() < DISCOVERY {
        std::thread::sleep(Duration::from_millis(10));
    }
    opening.open_all(&site)?;
    let admin = operators.address;
    Ok(Running {
        listeners,
        admin,
        is_admin_https,
        admin_closed: operators.closed,
        controller,
        observer,
        workers,
        control,
        stop,
        shutdown_timeout,
    })
}

/// Raises the limit on descriptors as far as it goes, and warns if that is not enough for as many
/// clients as are to be let in: each one takes a descriptor, and its backend's connection another.
fn raise_descriptors(config: &Config) {
    let Ok(limit) = rlimit::increase_nofile_limit(rlimit::INFINITY) else { return };
    let clients = config.listeners.iter().map(|listener| listener.max_connections as u64);
    let needed = clients.fold(0, u64::saturating_add).saturating_mul(2);
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "few descriptors: raise the limit (ulimit -n, LimitNOFILE) or lower max_connections"
        );
    }
}

impl Running {
    /// Where it listens, in the order of the configuration; real ports where 0 was configured.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        lock(&self.listeners).iter().map(|listener| listener.entrance.address).collect()
    }

    /// Where operators look and act; nowhere if that is off.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The same as a URL.
    pub fn admin_url(&self) -> Option<String> {
        let scheme = if self.is_admin_https { "https" } else { "http" };
        self.admin.map(|address| format!("{scheme}://{address}/"))
    }

    /// Its pools, in the order of the configuration.
    pub fn pools(&self) -> Arc<[Arc<Pool>]> {
        self.controller.pools()
    }

    /// What can be asked of it.
    pub fn controller(&self) -> &Arc<Controller> {
        &self.controller
    }

    /// What it counts and writes down.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// All metrics as a scraper wants them.
    pub fn metrics_text(&self, format: Format) -> String {
        self.observer.metrics.render(&self.pools(), format)
    }

    /// Stops accepting, lets requests in flight finish, and ends the threads. Blocks for as long
    /// as `server.shutdown_timeout` at most.
    pub fn shut_down(self) -> Shutdown {
        let timeout = *lock(&self.shutdown_timeout);
        self.end(Stopwatch::start(), timeout)
    }

    /// The same for a process that another one has taken over from. It is in no hurry: who is
    /// connected may ask for one more thing, for the first half of the time, and is told then that
    /// the connection ends.
    pub fn make_way(self) -> Shutdown {
        let (since, timeout) = (Stopwatch::start(), *lock(&self.shutdown_timeout));
        self.controller.make_way();
        lock(&self.listeners).clear();
        self.stop.send_replace(Ending::Gently);
        self.wind_down(since, timeout, timeout / 2);
        if let Some(admin) = &self.admin_closed {
            let _ = admin.recv_timeout(timeout.saturating_sub(since.elapsed()));
        }
        self.end(since, timeout)
    }

    fn end(self, since: Stopwatch, timeout: Duration) -> Shutdown {
        // The workers have copies: each is closed when nothing waits there any more.
        lock(&self.listeners).clear();
        self.stop.send_replace(Ending::Now);
        self.wind_down(since, timeout, timeout);
        let mut cut = 0;
        for worker in self.workers {
            cut += worker.finish(timeout.saturating_sub(since.elapsed()));
        }
        self.control.finish();
        self.observer.access_log.finish();
        match cut {
            0 => Shutdown::Complete,
            connections => Shutdown::Forced { connections },
        }
    }

    /// Waits until the workers have nothing left to do, or `until` is over. Tunnels end only if they
    /// are asked to: evenly over half of the `timeout`, so that their clients do not come again all
    /// at once, or sooner if they are few.
    fn wind_down(&self, since: Stopwatch, timeout: Duration, until: Duration) {
        while since.elapsed() < until && !self.workers.iter().all(worker::Handle::is_done) {
            let pools = self.controller.pools();
            let open: usize = pools.iter().map(|pool| pool.tunnels_to_close()).sum();
            let looks =
                (timeout / 2).saturating_sub(since.elapsed()).as_millis() / LOOK.as_millis();
            let looks = usize::try_from(looks).unwrap_or(usize::MAX).max(1);
            let mut turns = open.div_ceil(looks);
            for pool in pools.iter() {
                turns -= pool.close_tunnels(turns);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Nothing panics while these are held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

/// How busy a worker is, for whoever deals out connections.
type Load = Arc<AtomicUsize>;
