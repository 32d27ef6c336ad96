//! Where operators look and act: the API, the metrics and the dashboard, on an address of their
//! own.
//!
//! Nothing in here decides anything: what is shown is read from the pools, and whatever changes
//! something goes through [`control::Controller`](crate::control::Controller). It runs on the
//! control thread, so that no request waits for it; what a client of it can take up is bounded.
//!
//! Who may use it: whoever reaches the address, which is only this machine unless a token is
//! demanded; but no page in somebody's browser ([`guard`]). Nothing is changed by a GET.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`listener`] | connections, and how many |
//! | [`guard`] | may this request come in? |
//! | [`api`] | the routes, each with its description |
//! | [`view`] | what they say, as types; the commands read the same ones |
//! | [`show`] | from pools and events to those types |
//! | [`figures`] | rates and shares of the last seconds |
//! | [`problem`], [`extract`] | what goes wrong, in one form |
//! | [`page`] | the dashboard |

mod api;
mod extract;
mod figures;
mod guard;
mod listener;
mod page;
mod problem;
mod show;
pub mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use rand::rngs::StdRng;
use tokio::sync::{Semaphore, watch};

use self::figures::Figures;
use crate::balance::Timestamp;
use crate::clock;
use crate::config;
use crate::control::Controller;
use crate::observe::metrics::Metrics;
use crate::tls::{self, Incoming};

pub use self::api::openapi;
pub(crate) use self::listener::{bind, inherit, serve};
pub use self::problem::Problem;
pub(crate) use self::show::cost as show_cost;

/// Event streams at a time.
const STREAMS: usize = 32;

/// Gives the addresses that clients connect to.
pub(crate) type Addresses = Box<dyn Fn() -> Vec<SocketAddr> + Send + Sync>;

/// What every request may need.
pub(crate) struct Admin {
    controller: Arc<Controller>,
    metrics: Arc<Metrics>,
    /// Who may come in. A reload replaces it.
    access: ArcSwap<config::Admin>,
    /// What is said before HTTP, if anything. A reload replaces it, too.
    tls: ArcSwapOption<Incoming>,
    /// Where it listens.
    address: SocketAddr,
    /// Where clients connect.
    listeners: Addresses,
    started: Timestamp,
    shutting_down: AtomicBool,
    figures: Figures,
    /// A place for each event stream.
    streams: Arc<Semaphore>,
    /// All pools as JSON, renewed every second while anybody looks.
    snapshots: watch::Sender<Arc<str>>,
    /// For the nonces of the page.
    rng: std::sync::Mutex<StdRng>,
}

impl Admin {
    /// For a proxy with these listeners that this controller can act on.
    pub(crate) fn new(
        controller: Arc<Controller>,
        metrics: Arc<Metrics>,
        access: &config::Admin,
        address: SocketAddr,
        listeners: Addresses,
        rng: StdRng,
    ) -> Result<Arc<Self>, tls::Error> {
        let tls = access.tls.clone().map(Incoming::new).transpose()?;
        Ok(Arc::new(Admin {
            controller,
            metrics,
            access: ArcSwap::from_pointee(access.clone()),
            tls: ArcSwapOption::from_pointee(tls),
            address,
            listeners,
            started: clock::now(),
            shutting_down: AtomicBool::new(false),
            figures: Figures::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            snapshots: watch::Sender::new("".into()),
            rng: rng.into(),
        }))
    }

    /// What is said before HTTP, if anything.
    pub(crate) fn tls(&self) -> Option<Arc<Incoming>> {
        self.tls.load_full()
    }

    /// Lets those in whom another configuration lets in. Gives what needs a restart, in words.
    pub(crate) fn reconfigure(&self, access: &config::Admin) -> Vec<String> {
        let former = self.access.swap(Arc::new(access.clone()));
        let mut warnings = Vec::new();
        if access.address != former.address {
            let stays = self.address;
            warnings.push(format!("admin.address: it is {stays} until the proxy is started again"));
        }
        if let Err(error) = self.reconfigure_tls(access) {
            warnings.push(format!("admin.tls stays as it was: {error}"));
        }
        warnings
    }

    /// The files are read again, whether or not they are others.
    fn reconfigure_tls(&self, access: &config::Admin) -> Result<(), tls::Error> {
        match (&access.tls, self.tls()) {
            (Some(spec), Some(tls)) if spec == tls.spec() => tls.reload(),
            (spec, _) => {
                let tls = spec.clone().map(Incoming::new).transpose()?;
                self.tls.store(tls.map(Arc::new));
                Ok(())
            }
        }
    }

    /// From now on it is not ready for requests.
    fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }
}
