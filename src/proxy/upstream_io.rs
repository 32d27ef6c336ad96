//! A backend's side of the wire, between the socket and hyper's parser.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http::framing::{HeadLimits, Refusal, Scanner};

/// hyper reads a backend's bytes in pieces of this size: large bodies cost half as much CPU as
/// with 8 KiB, and small ones no more.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// What a response head may have; hyper keeps heads of up to 100 fields on the stack.
const LIMITS: HeadLimits = HeadLimits { bytes: READ_SIZE - 1024, fields: 100, target: 0 };

/// A backend's socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What an exchange knows of, and tells, the wire under it.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Something of the current response has arrived: the backend has seen the request.
    pub(crate) has_answered: Cell<bool>,
    /// The current request's method is HEAD, whose response has no body.
    pub(crate) is_head: Cell<bool>,
    /// Why what the backend sent was not let through.
    pub(crate) refusal: Cell<Option<Refusal>>,
    /// Interim (1xx) heads that nobody has taken yet.
    pub(crate) interim: RefCell<Vec<u8>>,
    /// Should what is written be kept, to send it again?
    pub(crate) records: Cell<bool>,
    /// What was written of the current request, if it is kept.
    pub(crate) record: RefCell<Vec<u8>>,
}

impl Wire {
    /// A request is about to be sent.
    pub(crate) fn begin(&self, is_head: bool, records: bool) {
        self.has_answered.set(false);
        self.is_head.set(is_head);
        self.records.set(records);
        if records {
            self.record.borrow_mut().clear();
        }
    }
}

/// The socket with a [`Scanner`] on it.
#[derive(Debug)]
pub(crate) struct UpstreamIo {
    socket: Socket,
    scanner: Scanner,
    wire: Rc<Wire>,
}

impl UpstreamIo {
    pub(crate) fn new(socket: Socket, wire: Rc<Wire>) -> Self {
        UpstreamIo { socket, scanner: Scanner::responses(LIMITS), wire }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Follows what was just read. What comes after a refused part is not passed on, and neither
    /// is anything later; what came before it is a response by itself.
    fn judge(&mut self, fresh: &[u8]) -> usize {
        if self.scanner.is_idle() {
            self.scanner.expect_response(self.wire.is_head.get());
        }
        let mut good = 0;
        while good < fresh.len() {
            match self.scanner.scan(&fresh[good..]) {
                Ok(taken) => good += taken,
                Err(refusal) => {
                    self.wire.refusal.set(Some(refusal));
                    break;
                }
            }
        }
        let interim = self.scanner.take_interim();
        if !interim.is_empty() {
            self.wire.interim.borrow_mut().extend_from_slice(&interim);
        }
        good
    }

    fn is_refused(&self) -> io::Result<()> {
        match self.wire.refusal.get() {
            Some(refusal) => Err(io::Error::new(io::ErrorKind::InvalidData, refusal.as_str())),
            None => Ok(()),
        }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.is_refused()?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if !fresh.is_empty() {
            this.wire.has_answered.set(true);
            let good = this.judge(fresh);
            if good == 0 {
                this.is_refused()?;
            }
            buf.set_filled(before + good);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, buf));
        if self.wire.records.get() {
            // Whole heads only, and in one piece: what could not be written was not sent either.
            self.wire.record.borrow_mut().extend_from_slice(buf);
            self.wire.records.set(false);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
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
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
