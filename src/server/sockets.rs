//! Listening sockets: bound by us, or taken over from whoever held them before.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;

/// Sockets for an address, one a worker: the kernel deals connections out to them.
pub(super) fn bind(mut address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // A first socket without SO_REUSEPORT notices if another process is listening there, which
    // with it would go unnoticed and halve its traffic.
    drop(socket(address, false)?);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = socket(address, true)?;
        address = socket.local_addr()?; // port 0 becomes a real one with the first
        sockets.push(socket);
    }
    Ok(sockets)
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

/// Listening sockets that somebody else has bound: an earlier process, or systemd.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<(SocketAddr, TcpListener)>,
    /// That of the admin address, if whoever has bound it says which one it is.
    admin: Option<TcpListener>,
}

impl Inherited {
    /// Of those that listen on TCP; others are closed.
    pub fn new(sockets: impl IntoIterator<Item = TcpListener>) -> Self {
        let usable = |socket: TcpListener| {
            let prepare = || {
                socket.set_nonblocking(true)?;
                socket2::SockRef::from(&socket).set_tcp_nodelay(true)?;
                socket.local_addr()
            };
            match prepare() {
                Ok(address) => Some((address, socket)),
                Err(error) => {
                    tracing::warn!(%error, "a socket that was handed to us is of no use");
                    None
                }
            }
        };
        Inherited { listeners: sockets.into_iter().filter_map(usable).collect(), admin: None }
    }

    /// The same with the socket of the admin address.
    pub(super) fn with_admin(self, admin: Option<TcpListener>) -> Self {
        Inherited { admin, ..self }
    }

    /// Takes out what listens on the admin address.
    pub(super) fn take_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |bound: &SocketAddr| match address.port() {
            0 => bound.ip() == address.ip(),
            _ => *bound == address,
        };
        let known =
            self.admin.take().filter(|socket| socket.local_addr().is_ok_and(|at| fits(&at)));
        // A service manager does not say which one it is, so its address must.
        known.or_else(|| (address.port() != 0).then(|| self.take(address).pop()).flatten())
    }

    /// Takes those out that listen on this address; on any port, if that is 0.
    pub(super) fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let port = match address.port() {
            0 => self
                .listeners
                .iter()
                .find(|(a, _)| a.ip() == address.ip())
                .map_or(0, |(a, _)| a.port()),
            port => port,
        };
        let wanted = SocketAddr::new(address.ip(), port);
        let wanted = self.listeners.extract_if(.., |(address, _)| *address == wanted);
        wanted.map(|(_, socket)| socket).collect()
    }

    /// Where the others listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.listeners.iter().map(|(address, _)| *address).collect();
        addresses.dedup();
        addresses
    }
}

/// Deals sockets out so that every one of them is accepted on, and every worker has one of its own
/// or shares one.
pub(super) fn deal(sockets: &[TcpListener], workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut dealt: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for i in 0..sockets.len().max(workers) {
        dealt[i % workers].push(sockets[i % sockets.len()].try_clone()?);
    }
    Ok(dealt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        assert_ne!(port, 0);
        assert!(sockets.iter().all(|s| s.local_addr().unwrap().port() == port));
    }

    #[test]
    fn a_taken_port_is_noticed_even_if_its_owner_would_share() {
        let owner = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let error = bind(owner[0].local_addr().unwrap(), 1).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let counts =
            |workers| -> Vec<_> { deal(&sockets, workers).unwrap().iter().map(Vec::len).collect() };
        assert_eq!(counts(1), [3]);
        assert_eq!(counts(2), [2, 1]);
        assert_eq!(counts(3), [1, 1, 1]);
        assert_eq!(counts(5), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn who_asks_for_any_port_gets_what_was_handed_over() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (one, other) = (bind(any, 2).unwrap(), bind(any, 1).unwrap());
        let address = one[0].local_addr().unwrap();
        let mut inherited = Inherited::new(one.into_iter().chain(other));
        assert_eq!(inherited.take("127.0.0.1:1".parse().unwrap()).len(), 0);
        assert_eq!(inherited.take(address).len(), 2);
        assert_eq!(inherited.take(any).len(), 1);
        assert_eq!(inherited.addresses(), []);
    }

    #[test]
    fn the_admin_address_is_known_by_name_or_by_its_address() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = || bind(any, 1).unwrap().pop().unwrap();
        let handed = || Inherited::new([socket()]).with_admin(Some(socket()));
        assert!(handed().take_admin(any).is_some());
        assert!(handed().take_admin("127.0.0.2:0".parse().unwrap()).is_none());
        assert!(Inherited::new([socket()]).take_admin(any).is_none(), "it is a listener's");
        let one = socket();
        let address = one.local_addr().unwrap();
        assert!(Inherited::new([one]).take_admin(address).is_some());
    }
}
