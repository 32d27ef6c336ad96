use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address where connections are neither accepted nor refused: its queue is full.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: Socket,
    _queue: Vec<Socket>,
}

impl BlackHole {
    pub fn new() -> Self {
        let new = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = new();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = |_| {
            let socket = new();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address); // goes on for ever
            socket
        };
        let queue = (0..4).map(fill).collect();
        BlackHole { address: address.as_socket().unwrap(), _listener: listener, _queue: queue }
    }
}
