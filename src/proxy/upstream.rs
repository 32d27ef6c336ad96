//! A connection to a backend.
//!
//! There is no task of its own behind it: whoever uses it drives it. The request, the response
//! head and the body are polled by the client's task, which saves a wake-up each way, and dropping
//! the connection cancels what is on it, at once. An idle connection is not polled at all; a close
//! by the backend is noticed by the sweep, or when the connection is taken out again.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::body::RequestBody;
use super::nudge::Nudge;
use super::upstream_io::{READ_SIZE, Socket, UpstreamIo, Wire};
use super::watch::Tick;
use crate::balance::Address;

/// A connection to a backend, in use or idle.
pub(crate) struct Upstream {
    sender: SendRequest<RequestBody>,
    connection: Connection<TokioIo<UpstreamIo>, RequestBody>,
    wire: Rc<Wire>,
    /// Wakes whoever uses the connection.
    nudge: Arc<Nudge>,
    /// The same, as the connection wants it.
    waker: Waker,
    /// Has it served a request before? Then the backend may be closing it at this moment.
    is_reused: bool,
    /// When it was last put away.
    idle_since: Tick,
    /// When it may no longer be kept.
    expires: Tick,
}

/// What is left of a connection when HTTP is done with it: a tunnel's end.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) socket: Socket,
    pub(crate) unread: Bytes,
}

/// What came of sending a request.
pub(crate) type Answer = Result<http::Response<Incoming>, http1_error::Failed>;

mod http1_error {
    use super::RequestBody;
    pub(crate) type Failed = hyper::client::conn::TrySendError<http::Request<RequestBody>>;
}

impl Upstream {
    /// Connects to a backend.
    pub(crate) async fn connect(address: &Address) -> io::Result<Box<Self>> {
        let socket = match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((&**host, *port)).await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        let wire = Rc::new(Wire::default());
        let io = TokioIo::new(UpstreamIo::new(socket, wire.clone()));
        let handshake = http1::Builder::new()
            .read_buf_exact_size(Some(READ_SIZE))
            .writev(false)
            .handshake(io)
            .await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let nudge = Arc::new(Nudge::default());
        Ok(Box::new(Upstream {
            sender,
            connection,
            wire,
            waker: Waker::from(nudge.clone()),
            nudge,
            is_reused: false,
            idle_since: 0,
            expires: 0,
        }))
    }

    /// The wire under it.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Has it served a request before?
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// When it was last put away.
    pub(crate) fn idle_since(&self) -> Tick {
        self.idle_since
    }

    /// Queues a request. The answer comes while the connection is driven, and only then.
    pub(crate) fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> impl Future<Output = Answer> + use<> {
        self.nudge.muted(|| self.sender.try_send_request(request))
    }

    /// Moves whatever can move. Ready when the connection is over.
    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.nudge.aim_at(cx.waker());
        self.connection.poll_without_shutdown(&mut Context::from_waker(&self.waker))
    }

    /// What there is of a response's body. It becomes more only when the connection is driven.
    pub(crate) fn poll_body(
        &mut self,
        body: &mut Incoming,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut nobody = Context::from_waker(Waker::noop());
        self.nudge.muted(|| Pin::new(body).poll_frame(&mut nobody))
    }

    /// Is it between requests and open, as far as can be seen without waiting?
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }

    /// Looks whether an idle connection is still good.
    pub(crate) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_drive(cx).is_pending() && self.is_ready()
    }

    /// Marks it as idle from `now` until `expires`.
    pub(crate) fn put_away(&mut self, now: Tick, expires: Tick) {
        self.nudge.aim_at_nobody();
        self.is_reused = true;
        self.idle_since = now;
        self.expires = expires;
    }

    /// Has an idle connection grown old, or been closed by the backend?
    pub(crate) fn is_over(&mut self, now: Tick) -> bool {
        self.expires <= now || !self.is_alive(&mut Context::from_waker(Waker::noop()))
    }

    /// The socket, when HTTP has ended in an upgrade.
    pub(crate) fn into_remains(self) -> Remains {
        let parts = self.connection.into_parts();
        Remains { socket: parts.io.into_inner().into_socket(), unread: parts.read_buf }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("is_reused", &self.is_reused).finish_non_exhaustive()
    }
}
