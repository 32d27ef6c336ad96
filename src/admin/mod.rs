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

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use tokio::sync::{Semaphore, watch};

use self::figures::Figures;
use crate::balance::Timestamp;
use crate::clock;
use crate::config;
use crate::control::Controller;
use crate::observe::metrics::Metrics;

pub use self::api::openapi;
pub(crate) use self::listener::{bind, serve};
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
    ) -> Arc<Self> {
        Arc::new(Admin {
            controller,
            metrics,
            access: ArcSwap::from_pointee(access.clone()),
            address,
            listeners,
            started: clock::now(),
            shutting_down: AtomicBool::new(false),
            figures: Figures::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            snapshots: watch::Sender::new("".into()),
            rng: rng.into(),
        })
    }

    /// Lets those in whom another configuration lets in. Gives what needs a restart, in words.
    pub(crate) fn reconfigure(&self, access: &config::Admin) -> Vec<String> {
        let former = self.access.swap(Arc::new(access.clone()));
        if access.address == former.address {
            return Vec::new();
        }
        let stays = self.address;
        vec![format!("admin.address: it is {stays} until the proxy is started again")]
    }

    /// From now on it is not ready for requests.
    fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }
}
