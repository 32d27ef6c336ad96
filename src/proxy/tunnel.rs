//! What a connection becomes after an upgrade (WebSocket and the like): bytes, both ways.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::upstream::Upstream;
use super::watch::{Side, Tick};
use crate::balance::{InFlight, Outcome};

/// Bytes copied at once, each way.
const BUFFER: usize = 16 * 1024;

/// The backend's end of a tunnel that is about to begin. In flight until it ends.
#[derive(Debug)]
pub(crate) struct Tunnel {
    backend: Upstream,
    in_flight: InFlight,
    timeout: Tick,
}

impl Tunnel {
    pub(crate) fn new(backend: Upstream, in_flight: InFlight, timeout: Tick) -> Self {
        Tunnel { backend, in_flight, timeout }
    }

    /// Copies until both sides have ended, one has failed, or nothing has moved for too long.
    pub(crate) async fn run(
        self: Box<Self>,
        client: &Rc<Client>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        early: Bytes,
    ) {
        let Tunnel { backend, in_flight, timeout } = *self;
        let mut client_end = End::new(stream, early, client, timeout);
        let (socket, unread) = backend.into_parts();
        let mut backend_end = End::new(socket, unread.freeze(), client, timeout);
        client.watch.clear(Side::ClientRead);
        client.watch.set(Side::Backend, client.worker.after(timeout));
        let mut copy = pin!(tokio::io::copy_bidirectional_with_sizes(
            &mut client_end,
            &mut backend_end,
            BUFFER,
            BUFFER
        ));
        let outcome = poll_fn(|cx| match copy.as_mut().poll(cx) {
            Poll::Ready(Ok(_)) => Poll::Ready(Outcome::Success),
            Poll::Ready(Err(_)) => Poll::Ready(Outcome::Cancelled),
            Poll::Pending if client.watch.has_fired(Side::Backend) => {
                Poll::Ready(Outcome::Cancelled)
            }
            Poll::Pending => Poll::Pending,
        })
        .await;
        in_flight.finish(outcome);
    }
}

/// One end: a socket, with what had been read from it before. Every byte puts off the deadline.
#[derive(Debug)]
struct End<S> {
    stream: S,
    early: Bytes,
    client: Rc<Client>,
    timeout: Tick,
}

impl<S> End<S> {
    fn new(stream: S, early: Bytes, client: &Rc<Client>, timeout: Tick) -> Self {
        End { stream, early, client: client.clone(), timeout }
    }

    fn note_activity(&self) {
        self.client.watch.set(Side::Backend, self.client.worker.after(self.timeout));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for End<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let len = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(len));
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.note_activity();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for End<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.note_activity();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
