//! Bound addresses, and the connections that come in.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::{Bound, StartError};
use crate::config::Listener;
use crate::proxy::{Entrance, TlsEntrance};

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;

/// Binds every listener, `workers` times each: the kernel deals connections out to the sockets.
pub(super) fn bind_all(listeners: &[Listener], workers: usize) -> Result<Vec<Bound>, StartError> {
    let bind = |listener: &Listener| {
        let address = listener.address;
        let tls = listener.tls.as_ref().map(TlsEntrance::new).transpose()?;
        bind(listener, tls, workers).map_err(|source| StartError::Listen { address, source })
    };
    listeners.iter().map(bind).collect()
}

fn bind(listener: &Listener, tls: Option<TlsEntrance>, workers: usize) -> io::Result<Bound> {
    let mut address = listener.address;
    // A first socket without SO_REUSEPORT notices if another process is listening there, which
    // with it would go unnoticed and halve its traffic.
    drop(socket(address, false)?);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = socket(address, true)?;
        address = socket.local_addr()?; // port 0 becomes a real one with the first
        sockets.push(socket);
    }
    let entrance = Entrance {
        address,
        trusted_proxies: listener.trusted_proxies.clone(),
        forwarded: listener.forwarded,
        max_connections: listener.max_connections,
        connections: AtomicUsize::new(0),
        proxy_protocol: listener.proxy_protocol.clone(),
        tls,
        http2: listener.http2,
        redirect_to_https: listener.redirect_to_https,
    };
    Ok(Bound { sockets, entrance: Arc::new(entrance) })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it: small chunks leave at once, without a call for each client.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// A connection's place at its entrance, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Entrance>);

impl Place {
    /// `None` if all places are taken.
    fn take(entrance: &Arc<Entrance>) -> Option<Self> {
        let one_more = |taken: usize| (taken < entrance.max_connections).then_some(taken + 1);
        let connections = &entrance.connections;
        let taken = connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Place(entrance.clone()))
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

/// The next connection. While the entrance is full, those that come wait in the kernel's queue;
/// while the process is out of descriptors, we wait for some to be closed.
pub(super) async fn accept(
    listener: &tokio::net::TcpListener,
    entrance: &Arc<Entrance>,
) -> (TcpStream, SocketAddr, Place) {
    /// Until another look at a shortage.
    const PAUSE: Duration = Duration::from_millis(50);

    loop {
        if entrance.connections.load(Ordering::Relaxed) >= entrance.max_connections {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, peer)) => loop {
                match Place::take(entrance) {
                    Some(place) => return (stream, peer, place),
                    None => tokio::time::sleep(PAUSE).await, // another worker was faster
                }
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let address = entrance.address;
                tracing::warn!(%address, %error, "cannot accept; trying again shortly");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The connection was gone before we accepted it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: SocketAddr) -> Listener {
        let forwarded = crate::config::Family::XForwarded;
        Listener {
            address,
            max_connections: 10,
            trusted_proxies: Vec::new(),
            forwarded,
            proxy_protocol: None,
            tls: None,
            http2: false,
            redirect_to_https: None,
        }
    }

    #[test]
    fn workers_share_one_port() {
        let bound = bind(&listener("127.0.0.1:0".parse().unwrap()), None, 3).unwrap();
        let port = bound.entrance.address.port();
        assert_ne!(port, 0);
        assert!(bound.sockets.iter().all(|s| s.local_addr().unwrap().port() == port));
    }

    #[test]
    fn a_taken_port_is_noticed_even_if_its_owner_would_share() {
        let owner = bind(&listener("127.0.0.1:0".parse().unwrap()), None, 1).unwrap();
        let error = bind(&listener(owner.entrance.address), None, 1).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
