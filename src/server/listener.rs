//! Listeners: an address, its sockets, and the connections that come in there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::TcpStream;

use super::StartError;
use super::sockets::{self, Inherited};
use crate::config;
use crate::proxy::Entrance;

/// A bound address that accepts client connections.
pub(crate) struct Listener {
    /// Which one it is, for the workers.
    pub(super) id: u64,
    /// As it was configured: with port 0, if that was so.
    pub(super) configured: SocketAddr,
    /// What its connections share.
    pub(super) entrance: Arc<Entrance>,
    /// The workers accept on copies of these. They stay open until these are closed as well.
    pub(super) sockets: Vec<TcpListener>,
}

impl Listener {
    /// With sockets that were handed to us for it, or else with new ones.
    pub(super) fn open(
        id: u64,
        config: &config::Listener,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let configured = config.address;
        let mut bind = || {
            let sockets = match inherited.take(configured) {
                none if none.is_empty() => sockets::bind(configured, workers)?,
                sockets => sockets,
            };
            let address = sockets.first().map_or(Ok(configured), TcpListener::local_addr)?;
            let entrance = Arc::new(entrance(config, address, &Arc::default()));
            Ok(Listener { id, configured, entrance, sockets })
        };
        bind().map_err(|source| StartError::Listen { address: configured, source })
    }

    /// Where it listens, and how many connections it has.
    pub(super) fn entrance_like(&self, config: &config::Listener) -> Entrance {
        entrance(config, self.entrance.address, &self.entrance.connections)
    }
}

fn entrance(
    config: &config::Listener,
    address: SocketAddr,
    connections: &Arc<AtomicUsize>,
) -> Entrance {
    Entrance {
        address,
        trusted_proxies: config.trusted_proxies.clone(),
        forwarded: config.forwarded,
        max_connections: config.max_connections,
        connections: connections.clone(),
    }
}

/// A connection's place at its entrance, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Entrance>);

impl Place {
    /// `None` if all places are taken.
    pub(super) fn take(entrance: &Arc<Entrance>) -> Option<Self> {
        let one_more = |taken: usize| (taken < entrance.max_connections).then_some(taken + 1);
        let connections = &entrance.connections;
        let taken = connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Place(entrance.clone()))
    }

    /// Even if all places are taken.
    pub(super) fn squeeze_in(entrance: &Arc<Entrance>) -> Self {
        entrance.connections.fetch_add(1, Ordering::Relaxed);
        Place(entrance.clone())
    }

    pub(super) fn entrance(&self) -> &Arc<Entrance> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Until another look at a shortage.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The next connection. While the entrance is full, those that come wait in the kernel's queue;
/// while the process is out of descriptors, we wait for some to be closed. Nothing is lost if this
/// is not waited for to the end.
pub(super) async fn accept(
    listener: &tokio::net::TcpListener,
    entrance: impl Fn() -> Arc<Entrance>,
) -> (TcpStream, SocketAddr) {
    loop {
        let at = entrance();
        if at.connections.load(Ordering::Relaxed) >= at.max_connections {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let address = at.address;
                tracing::warn!(%address, %error, "cannot accept; trying again shortly");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Those that wait in the kernel's queue, even if the entrance is full: nobody else will accept
/// them.
pub(super) fn accept_waiting(
    listener: &tokio::net::TcpListener,
) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let mut cx = Context::from_waker(Waker::noop());
    std::iter::from_fn(move || {
        loop {
            match listener.poll_accept(&mut cx) {
                Poll::Ready(Ok(accepted)) => return Some(accepted),
                Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return None,
            }
        }
    })
}

/// The connection was gone before we accepted it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
