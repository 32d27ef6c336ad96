//! A client's socket, with TLS on it or not.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A client's socket.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    Plain(TcpStream),
    /// Boxed, since it is large, and the bare socket is not to pay for it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a look at a client that nobody reads from has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It is still there. The task is woken when something changes.
    Waiting,
    /// It has left.
    Gone,
    /// There is something to read, and what is behind it cannot be seen.
    Obscured,
}

impl ClientSocket {
    /// Without TLS, if there is any.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            ClientSocket::Plain(stream) => stream,
            ClientSocket::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, ClientSocket::Tls(_))
    }

    /// Waits for something to read. False if there is an end instead.
    pub(crate) fn poll_has_more(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let stream = match self {
            ClientSocket::Plain(stream) => stream,
            ClientSocket::Tls(stream) => {
                let (stream, session) = stream.get_mut();
                if !session.wants_read() {
                    return Poll::Ready(true); // it has been read and decrypted already
                }
                stream
            }
        };
        // A look, since being said to be readable is not enough: every new socket is.
        let mut byte = [0];
        let peeked = stream.poll_peek(cx, &mut ReadBuf::new(&mut byte));
        peeked.map(|peeked| matches!(peeked, Ok(1..)))
    }

    /// Has the client left? An end behind bytes that were not read yet cannot be seen; a reset can.
    pub(crate) fn look(&mut self, cx: &mut Context<'_>) -> Sight {
        match self {
            ClientSocket::Plain(stream) => look_at(stream, cx),
            ClientSocket::Tls(stream) => {
                let (stream, session) = stream.get_mut();
                loop {
                    match look_at(stream, cx) {
                        // It is encrypted, so only TLS can tell an end from a request. What it is
                        // not an end waits in there, as much as TLS holds.
                        Sight::Obscured if session.wants_read() => match decrypt(stream, session) {
                            Ok(()) => {}
                            Err(_) => return Sight::Gone,
                        },
                        Sight::Obscured if is_over(session) => return Sight::Gone,
                        sight => return sight,
                    }
                    if is_over(session) {
                        return Sight::Gone;
                    }
                }
            }
        }
    }

    /// Makes the end of the connection a reset.
    pub(crate) fn reset_at_end(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }
}

fn look_at(stream: &TcpStream, cx: &mut Context<'_>) -> Sight {
    let mut byte = [0];
    match stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Pending => Sight::Waiting,
        Poll::Ready(Ok(0) | Err(_)) => Sight::Gone,
        Poll::Ready(Ok(_)) if !matches!(stream.take_error(), Ok(None)) => Sight::Gone,
        Poll::Ready(Ok(_)) => Sight::Obscured,
    }
}

/// Has the client said that it will send nothing more, and has it sent nothing before?
fn is_over(session: &mut ServerConnection) -> bool {
    session
        .process_new_packets()
        .is_ok_and(|state| state.peer_has_closed() && state.plaintext_bytes_to_read() == 0)
}

/// Decrypts what there is, without waiting.
fn decrypt(stream: &TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    struct NonBlocking<'a>(&'a TcpStream);

    impl Read for NonBlocking<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.try_read(buf)
        }
    }

    match session.read_tls(&mut NonBlocking(stream)) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    }
    session.process_new_packets().map(drop).map_err(io::Error::other)
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientSocket::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            ClientSocket::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientSocket::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            ClientSocket::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientSocket::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            ClientSocket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientSocket::Plain(_) => Poll::Ready(Ok(())), // nothing is ever held back
            ClientSocket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientSocket::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientSocket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
