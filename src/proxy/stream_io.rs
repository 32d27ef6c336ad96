//! Bytes over a stream of HTTP/2, both ways, as a tunnel wants them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared_upstream::Place;

/// A stream of HTTP/2 that carries bytes. Dropping it before both ends have ended resets it.
#[derive(Debug)]
pub(crate) struct StreamIo {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What has come and has not been read.
    unread: Bytes,
    /// We have said that nothing more comes.
    is_shut: bool,
    /// Its place on a connection to a backend, if it is on one.
    _place: Option<Place>,
}

impl StreamIo {
    pub(crate) fn new(send: SendStream<Bytes>, receive: RecvStream, place: Option<Place>) -> Self {
        StreamIo { send, receive, unread: Bytes::new(), is_shut: false, _place: place }
    }

    /// Room for at least one byte.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        Poll::Ready(Ok(self.send.capacity()))
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                // RFC 8441, section 5: a reset is an end that is not orderly.
                Some(Err(error)) if error.reason() == Some(Reason::CANCEL) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        let _ = self.receive.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(buf.len());
        let length = ready!(self.poll_room(cx))?.min(buf.len());
        let data = Bytes::copy_from_slice(&buf[..length]);
        self.send.send_data(data, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the connection's task sees to it
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_shut, true) {
            self.send.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}
