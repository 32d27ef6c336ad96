//! What a connection becomes after an upgrade (WebSocket and the like): bytes, both ways.
//!
//! A tunnel lasts for as long as its ends like, so it can be asked to end: when its backend has
//! drained for long enough, or when we stop. A WebSocket then hears why, between two frames, by a
//! Close frame with code 1012 (service restart) to either end, and its ends have a moment to
//! answer. Of other protocols we know no word to say.

mod pipe;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::pipe::Pipe;
use super::client::Client;
use super::upstream::Upstream;
use super::watch::{Side, Tick};
use crate::balance::{self, InFlight, Outcome};
use crate::http::websocket::close_frame;
use crate::observe::metrics::Tally;

/// How long the ends of a WebSocket have for its orderly end: 3 seconds.
const FAREWELL: Tick = 30;

/// The backend's end of a tunnel that is about to begin. In flight until it ends.
#[derive(Debug)]
pub(crate) struct Tunnel {
    backend: Box<Upstream>,
    tunnel: balance::Tunnel,
    timeout: Tick,
    is_websocket: bool,
}

impl Tunnel {
    pub(crate) fn new(
        backend: Box<Upstream>,
        in_flight: InFlight,
        timeout: Tick,
        is_websocket: bool,
    ) -> Self {
        Tunnel { backend, tunnel: in_flight.into_tunnel(), timeout, is_websocket }
    }

    /// Copies until both sides have ended, one has failed, nothing has moved for too long, or it
    /// was asked to end.
    pub(crate) async fn run(
        self: Box<Self>,
        client: &Rc<Client>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        early: Bytes,
    ) {
        let Tunnel { backend, tunnel, timeout, is_websocket } = *self;
        let (socket, unread) = backend.into_parts();
        let mut ends = Ends {
            client: End::new(stream, early, client, timeout, Whose::Client),
            backend: End::new(socket, unread.freeze(), client, timeout, Whose::Backend),
            up: Pipe::new(),
            down: Pipe::new(),
            is_websocket,
        };
        client.record.note_received(ends.client.early.len());
        client.watch.clear(Side::ClientRead);
        client.watch.set(Side::Backend, client.worker.after(timeout));
        let copied = poll_fn(|cx| match ends.poll_copy(cx) {
            Poll::Ready(copied) => Poll::Ready(Some(copied)),
            Poll::Pending if client.watch.has_fired(Side::Backend) => {
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
            Poll::Pending => tunnel.poll_closing(cx).map(|()| None),
        });
        let outcome = match copied.await {
            Some(Ok(())) => Outcome::Success,
            Some(Err(_)) => Outcome::Cancelled,
            None if is_websocket => {
                ends.part(client).await;
                Outcome::Cancelled
            }
            None => Outcome::Cancelled,
        };
        tunnel.finish(outcome);
    }
}

/// Both ends, and the two directions between them.
struct Ends<C, B> {
    client: End<C>,
    backend: End<B>,
    up: Pipe,
    down: Pipe,
    is_websocket: bool,
}

impl<C, B> Ends<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Ends { client, backend, up, down, is_websocket } = self;
        let up = up.poll_copy(cx, client, backend, *is_websocket)?;
        let down = down.poll_copy(cx, backend, client, *is_websocket)?;
        both(up, down).map(Ok)
    }

    /// An orderly end, or what there is time for.
    async fn part(&mut self, client: &Client) {
        let mask: [u8; 4] = client.worker.rng.borrow_mut().random();
        let (to_client, to_backend) = (close_frame(None), close_frame(Some(mask)));
        client.watch.set(Side::ClientRead, client.worker.after(FAREWELL));
        let parted = poll_fn(|cx| {
            let Ends { client: c, backend: b, up, down, .. } = self;
            // Whether or not one end is still there, the other should hear of it.
            let up = up.poll_farewell(cx, c, b, &to_backend).map(drop);
            let down = down.poll_farewell(cx, b, c, &to_client).map(drop);
            match client.watch.has_fired(Side::ClientRead) {
                true => Poll::Ready(()),
                false => both(up, down),
            }
        });
        parted.await;
        client.watch.clear(Side::ClientRead);
        // The server ends the connection, and both ends take us for it.
        let shut = poll_fn(|cx| {
            let c = Pin::new(&mut self.client).poll_shutdown(cx).map(drop);
            let b = Pin::new(&mut self.backend).poll_shutdown(cx).map(drop);
            match both(c, b) {
                Poll::Pending if client.watch.has_fired(Side::Backend) => Poll::Ready(()),
                polled => polled,
            }
        });
        shut.await;
    }
}

fn both(one: Poll<()>, other: Poll<()>) -> Poll<()> {
    ready!(one);
    other
}

/// Whose end of a tunnel it is.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Client,
    Backend,
}

/// One end: a socket, with what had been read from it before. Every byte counts, and puts off the
/// deadline.
#[derive(Debug)]
struct End<S> {
    stream: S,
    early: Bytes,
    client: Rc<Client>,
    timeout: Tick,
    whose: Whose,
}

impl<S> End<S> {
    fn new(stream: S, early: Bytes, client: &Rc<Client>, timeout: Tick, whose: Whose) -> Self {
        End { stream, early, client: client.clone(), timeout, whose }
    }

    fn note_activity(&self) {
        self.client.watch.set(Side::Backend, self.client.worker.after(self.timeout));
    }

    fn note_read(&self, bytes: usize) {
        let Client { record, listener, .. } = &*self.client;
        match self.whose {
            Whose::Backend => record.add(Tally::Received, bytes as u64),
            Whose::Client => {
                record.note_received(bytes);
                // The connection of a stream counts what comes on it.
                if !self.client.is_stream() {
                    listener.receive(bytes);
                }
            }
        }
    }

    fn note_written(&self, bytes: usize) {
        let Client { record, listener, .. } = &*self.client;
        match self.whose {
            Whose::Backend => record.add(Tally::Sent, bytes as u64),
            Whose::Client => {
                record.note_sent(bytes);
                if !self.client.is_stream() {
                    listener.send(bytes);
                }
            }
        }
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
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.note_read(buf.filled().len() - before);
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.note_written(written);
        self.note_activity();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
