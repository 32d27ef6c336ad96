//! Listeners: an address, its sockets, and the connections that come in there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use super::StartError;
use super::sockets::{self, Inherited};
use crate::config;
use crate::proxy::{Entrance, TlsEntrance};
use crate::tls;

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
        let tls = config.tls.as_ref().map(TlsEntrance::new).transpose()?;
        let bind = || {
            let sockets = match inherited.take(configured) {
                none if none.is_empty() => sockets::bind(configured, workers)?,
                sockets => sockets,
            };
            let address = sockets.first().map_or(Ok(configured), TcpListener::local_addr)?;
            let entrance = Arc::new(entrance(config, address, &Arc::default(), tls));
            Ok(Listener { id, configured, entrance, sockets })
        };
        bind().map_err(|source| StartError::Listen { address: configured, source })
    }

    /// Where it listens, and how many connections it has. Certificates are read again.
    pub(super) fn entrance_like(&self, config: &config::Listener) -> Result<Entrance, tls::Error> {
        let former = self.entrance.tls.as_ref();
        let tls = config.tls.as_ref().map(|tls| TlsEntrance::like(tls, former)).transpose()?;
        Ok(entrance(config, self.entrance.address, &self.entrance.connections, tls))
    }
}

fn entrance(
    config: &config::Listener,
    address: SocketAddr,
    connections: &Arc<AtomicUsize>,
    tls: Option<TlsEntrance>,
) -> Entrance {
    Entrance {
        address,
        trusted_proxies: config.trusted_proxies.clone(),
        forwarded: config.forwarded,
        max_connections: config.max_connections,
        connections: connections.clone(),
        proxy_protocol: config.proxy_protocol.clone(),
        tls,
        http2: config.http2,
        redirect_to_https: config.redirect_to_https,
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
/// them. The kernel is asked, not the reactor, which may not have heard of them yet.
pub(super) fn accept_waiting(
    listener: tokio::net::TcpListener,
) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let listener = listener.into_std();
    std::iter::from_fn(move || {
        let listener = listener.as_ref().ok()?;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true).ok()?;
                    return Some((TcpStream::from_std(stream).ok()?, peer));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return None,
            }
        }
    })
}

/// The connection was gone before we accepted it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
