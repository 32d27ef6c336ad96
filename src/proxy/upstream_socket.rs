//! A backend's socket, with TLS on it or not.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use xxhash_rust::xxh3::xxh3_64;

use super::stream_io::StreamIo;
use crate::balance::{Address, Backend, BackendId};
use crate::config::{self, BackendHttp2};
use crate::proxy_protocol;
use crate::tls::{self, Outgoing};

/// What is said to a backend before HTTP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    /// A PROXY protocol header.
    pub(crate) proxy_protocol: Option<proxy_protocol::Version>,
    /// Is it HTTP/2 that comes then?
    pub(crate) http2: BackendHttp2,
    /// TLS.
    pub(crate) tls: Option<Arc<Outgoing>>,
    /// What is mixed into the names under which connections are kept: those that began otherwise
    /// are not found then.
    identity: u64,
}

impl Transport {
    /// Compiles the configuration. The files are read.
    pub(crate) fn new(config: &config::Transport) -> Result<Self, tls::Error> {
        let tls = config.tls.as_ref().map(Outgoing::new).transpose()?;
        let before = format!("{:?} {:?}", config.proxy_protocol, config.http2);
        Ok(Transport {
            proxy_protocol: config.proxy_protocol,
            http2: config.http2,
            identity: tls.as_ref().map_or(0, Outgoing::identity) ^ xxh3_64(before.as_bytes()),
            tls: tls.map(Arc::new),
        })
    }

    /// The name under which connections to a backend are kept.
    pub(crate) fn line_to(&self, backend: &Backend) -> BackendId {
        BackendId::from_bits(backend.id_at_address().to_bits() ^ self.identity)
    }
}

/// A backend's socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, since it is large, and the bare socket is not to pay for it.
    Tls(Box<TlsStream<Socket>>),
    /// One task reads, another one writes. Both are of this thread, and no borrow
    /// outlives a poll, so they never meet.
    Shared(Rc<RefCell<Socket>>),
    /// A stream of HTTP/2 that has become a tunnel.
    Stream(Box<StreamIo>),
    /// It is elsewhere.
    Gone,
}

impl Socket {
    /// Connects to a backend and says what comes before HTTP. `from_to`: whom the connection is
    /// from, and where it came in.
    pub(crate) async fn connect(
        address: &Address,
        transport: &Transport,
        from_to: (SocketAddr, SocketAddr),
    ) -> io::Result<Self> {
        let (mut socket, host) = match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((&**host, *port)).await?;
                stream.set_nodelay(true)?;
                (Socket::Tcp(stream), Some(&**host))
            }
            Address::Unix(path) => (Socket::Unix(UnixStream::connect(path).await?), None),
        };
        if let Some(version) = transport.proxy_protocol {
            socket.write_all(&proxy_protocol::write(version, Some(from_to))).await?;
        }
        match &transport.tls {
            None => Ok(socket),
            // Boxed, since most have none, and all would have room for it.
            Some(tls) => {
                let secured = Box::pin(tls.secure(socket, host)).await?;
                Ok(Socket::Tls(Box::new(secured)))
            }
        }
    }

    /// Does the backend agree to speak HTTP/2? Without TLS it cannot say.
    pub(crate) fn agrees_on_http2(&self) -> bool {
        match self {
            Socket::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            _ => true,
        }
    }

    /// Is it quiet, as far as can be seen without waiting: neither closed, nor is there anything to
    /// read?
    pub(crate) fn is_quiet(&mut self) -> bool {
        match self {
            Socket::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                loop {
                    if !session.wants_read() {
                        return false;
                    }
                    match session.read_tls(&mut NonBlocking(socket)) {
                        Ok(0) => return false,
                        Ok(_) => {} // a session ticket, for example, is of no concern
                        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                    }
                    match session.process_new_packets() {
                        Ok(state) if state.peer_has_closed() => return false,
                        Ok(_) => {}
                        Err(_) => return false,
                    }
                }
            }
            socket => {
                let read = socket.try_read(&mut [0]);
                matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }

    /// Asked without a task to be woken: that would cost more, and nobody wants to be.
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_read(buf),
            Socket::Unix(stream) => stream.try_read(buf),
            // Such a one is not kept.
            Socket::Tls(_) | Socket::Shared(_) | Socket::Stream(_) | Socket::Gone => Ok(0),
        }
    }

    /// Sends what TLS still holds, as far as it can be sent.
    pub(crate) fn push(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let flushed = match self {
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Stream(_) | Socket::Gone => return Ok(()),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Shared(shared) => return shared.borrow_mut().push(cx),
        };
        match flushed {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(Pin<&mut dyn Stream>) -> T) -> T {
        match self {
            Socket::Tcp(stream) => act(Pin::new(stream)),
            Socket::Unix(stream) => act(Pin::new(stream)),
            Socket::Tls(stream) => act(Pin::new(stream)),
            Socket::Shared(shared) => shared.borrow_mut().with(act),
            Socket::Stream(stream) => act(Pin::new(stream)),
            Socket::Gone => act(Pin::new(&mut tokio::io::empty())),
        }
    }
}

/// A socket as TLS wants to read from it.
struct NonBlocking<'a>(&'a Socket);

impl Read for NonBlocking<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            other => other.with(|stream| stream.poll_read(cx, buf)),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            other => other.with(|stream| stream.poll_write(cx, buf)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().with(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|stream| stream.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
