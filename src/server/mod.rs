//! From a [`Config`] to threads that serve it, and back.
//!
//! One worker thread per core, each with its own runtime, listeners and connection caches; one
//! control thread for health checks and everything else that is not a request. [`start`] returns
//! when all listeners are bound; [`Running::shut_down`] ends what is in flight gracefully.

mod keys;
mod listener;
pub mod signals;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::header::HeaderName;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_core::Rng;
use thiserror::Error;
use tokio::sync::watch;

use crate::balance::Pool;
use crate::balance::affinity::{Keyring, Mode};
use crate::clock::Stopwatch;
use crate::config::{self, Config};
use crate::control;
use crate::proxy::{ClientTicks, Destination, Entrance, Site};
use crate::routing::Table;
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

/// A proxy at work.
pub struct Running {
    addresses: Vec<SocketAddr>,
    pools: Vec<Arc<Pool>>,
    workers: Vec<worker::Handle>,
    control: control::Handle,
    stop: watch::Sender<bool>,
    shutdown_timeout: Duration,
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
    raise_descriptors(&config);
    let mut rng = StdRng::try_from_rng(&mut rand::rngs::SysRng).map_err(io::Error::other)?;
    let pools = config.pools.iter().map(|pool| Arc::new(Pool::new(&pool.spec, rng.next_u64())));
    let pools: Vec<_> = pools.collect();
    let site = Arc::new(site(&config, &pools, &mut rng)?);

    let workers = config.server.workers;
    let bound = listener::bind_all(&config.listeners, workers)?;
    let addresses = bound.iter().map(|listener| listener.entrance.address).collect();
    let certificates: Vec<_> = bound
        .iter()
        .filter_map(|listener| Some(listener.entrance.tls.as_ref()?.incoming.clone()))
        .collect();
    let (stop, stopping) = watch::channel(false);
    let control = control::start(&config, &pools, certificates, stopping.clone(), &mut rng)?;
    let workers = worker::start_all(&site, bound, workers, &stopping, &mut rng)?;
    Ok(Running {
        addresses,
        pools,
        workers,
        control,
        stop,
        shutdown_timeout: config.server.shutdown_timeout,
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

fn site(config: &Config, pools: &[Arc<Pool>], rng: &mut StdRng) -> Result<Site, StartError> {
    let with_config = pools.iter().zip(&config.pools);
    let destinations: Vec<_> = with_config
        .map(|(pool, of_pool)| Destination::new(pool.clone(), of_pool, &config.pools).map(Arc::new))
        .collect::<Result<_, _>>()?;
    let is_sealing = |pool: &config::Pool| pool.spec.affinity.mode == Mode::Cookie;
    let needs_key = config.pools.iter().any(is_sealing);
    let keys = match &config.server.token_keys[..] {
        [] if needs_key => vec![keys::own(&config.server.state_dir, rng)?],
        [] => vec![crate::balance::affinity::Key::random(rng)], // seals nothing
        keys => keys.to_vec(),
    };
    let routes = config.routes.iter();
    Ok(Site {
        routes: Table::new(
            routes.map(|route| (route.rule.clone(), destinations[route.pool].clone())),
        ),
        keyring: Keyring::new(&keys),
        limits: config.server.limits,
        timeouts: ClientTicks::from(&config.server.timeouts),
        underscores_in_headers: config.server.underscores_in_headers,
        http2: config.server.http2,
        guarded: guarded(&config.listeners),
        tells_local_address: config
            .pools
            .iter()
            .any(|pool| pool.transport.proxy_protocol.is_some()),
    })
}

/// The fields in which apps are told something that clients could forge, on whatever listener.
fn guarded(listeners: &[config::Listener]) -> Vec<HeaderName> {
    let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let mut guarded: Vec<_> = tls.filter_map(|tls| tls.subject_header.clone()).collect();
    guarded.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    guarded.dedup();
    guarded
}

impl Running {
    /// Where it listens, in the order of the configuration; real ports where 0 was configured.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its pools, in the order of the configuration.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// Stops accepting, lets requests in flight finish, and ends the threads. Blocks for as long
    /// as `server.shutdown_timeout` at most.
    pub fn shut_down(self) -> Shutdown {
        let since = Stopwatch::start();
        self.stop.send_replace(true);
        let mut cut = 0;
        for worker in self.workers {
            cut += worker.finish(self.shutdown_timeout.saturating_sub(since.elapsed()));
        }
        self.control.finish();
        match cut {
            0 => Shutdown::Complete,
            connections => Shutdown::Forced { connections },
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// A listener, bound once for every worker.
pub(crate) struct Bound {
    /// One socket a worker.
    sockets: Vec<std::net::TcpListener>,
    /// What its connections share.
    entrance: Arc<Entrance>,
}

/// How busy a worker is, for whoever deals out connections.
type Load = Arc<AtomicUsize>;
