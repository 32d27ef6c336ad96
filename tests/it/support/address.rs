use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// An address that is ours for as long as this lives. Nobody listens there until whoever is told
/// the address does, and so it refuses connections. Without it the port of a server that has died,
/// or has not begun, is anybody's: another test's server's, or that of a client's connection, which
/// might even be one to this very port.
#[derive(Debug)]
pub struct Address {
    pub address: SocketAddr,
    /// Bound, and nothing else. Others may bind the address, since all of them say `SO_REUSEADDR`;
    /// but nobody is given it who asks for any port.
    _socket: Socket,
}

impl Address {
    /// A free one.
    pub fn free() -> Self {
        Address::at("127.0.0.1:0")
    }

    /// This one, or with port 0 a free one of this host.
    #[track_caller]
    pub fn at(address: &str) -> Self {
        let socket = bound(address.parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Address { address, _socket: socket }
    }

    /// Listens there.
    #[track_caller]
    pub fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).unwrap()
    }

    /// Does anybody listen there?
    pub fn is_listened_at(&self) -> bool {
        bound(self.address).is_err()
    }
}

fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
