//! The admin address: bound before anything is served, and served by the control thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::{Ending, Follow, Listeners, StartError, lock};
use crate::admin::{self, Admin};
use crate::config;
use crate::control::{Controller, Guest};
use crate::observe::Observer;

/// What serves operators: nothing, if that is off.
#[derive(Default)]
pub(super) struct Operators {
    /// Where.
    pub(super) address: Option<SocketAddr>,
    /// What the control thread does for it.
    pub(super) serve: Option<Guest>,
    /// What another configuration changes.
    pub(super) follow: Option<Follow>,
    /// The socket, for a process that takes over.
    pub(super) socket: Option<TcpListener>,
    /// Its other end is dropped when nobody is served there any more.
    pub(super) closed: Option<mpsc::Receiver<()>>,
    /// What else has certificates.
    pub(super) admin: Option<Arc<Admin>>,
}

/// Binds the admin address, if there is to be one and nobody has `inherited` its socket for us.
///
/// If nobody asked for it, the proxy starts without one when another process has the default: two
/// proxies on one machine are nothing special.
pub(super) fn start(
    config: &config::Admin,
    inherited: Option<TcpListener>,
    controller: &Arc<Controller>,
    observer: &Observer,
    listeners: &Listeners,
    stopping: &watch::Receiver<Ending>,
    rng: &mut StdRng,
) -> Result<Operators, StartError> {
    let Some(address) = config.address else { return Ok(Operators::default()) };
    let bound = match inherited.map_or_else(|| admin::bind(address), admin::inherit) {
        Ok(bound) => bound,
        Err(error) if config.is_given => return Err(StartError::Listen { address, source: error }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                "no admin API, dashboard or metrics: another process has {address}; set \
                 admin.address to another port, or to \"off\""
            );
            return Ok(Operators::default());
        }
        Err(error) => {
            tracing::warn!(%error, "no admin API, dashboard or metrics at {address}");
            return Ok(Operators::default());
        }
    };
    let address = bound.address()?;
    let listeners = listeners.clone();
    let addresses =
        move || lock(&listeners).iter().map(|listener| listener.entrance.address).collect();
    let admin = Admin::new(
        controller.clone(),
        observer.metrics.clone(),
        config,
        address,
        Box::new(addresses),
        StdRng::from_rng(rng),
    )?;
    let followed = admin.clone();
    let mut stopping = stopping.clone();
    let stop = async move {
        let ending = stopping.wait_for(|&ending| ending != Ending::NotYet).await;
        ending.is_ok_and(|ending| *ending == Ending::Gently) // which is for a successor's sake
    };
    let (open, closed) = mpsc::channel();
    let socket = bound.socket().ok();
    let served = admin.clone();
    let serve = async move {
        admin::serve(bound, served, stop).await;
        drop(open);
    };
    Ok(Operators {
        address: Some(address),
        closed: Some(closed),
        socket,
        admin: Some(admin),
        serve: Some(Box::pin(serve)),
        follow: Some(Box::new(move |config| followed.reconfigure(&config.admin))),
    })
}
