//! A connection of HTTP/2: many exchanges at once, each with a task and a [`Client`] of its own.
//!
//! To an exchange a stream is what a connection is in HTTP/1.1: it has its own deadlines, may be
//! left by its client, and cannot be told more than once what happens next. So every stream gets a
//! [`Client`] whose parent is the connection's, and the path from `exchange` on is the same for
//! both protocols. h2 reads and writes the frames; what is limited here is what a client can make
//! us do with few bytes.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use super::client::Client;
use super::client_socket::ClientSocket;
use super::frames::FRAMES_PER_PAYLOAD;
use super::stream;
use super::watch::{Side, TICK, Tick};
use super::worker::{Entered, Worker};
use crate::http::http2::Judge;

/// How long a connection without streams gets for its goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// [`GOODBYE`] on the coarse clock.
const GOODBYE_TICKS: Tick = (GOODBYE.as_millis() / TICK.as_millis()) as Tick;

/// Streams that a client may take back beyond those that it lets come to an end. Browsers take back
/// some; who opens streams only to reset them (CVE-2023-44487) works on nothing but our time.
const TAKEN_BACK: u32 = 200;

/// What a head is worth at least, beside the bytes of bodies, when what a client sends is weighed
/// against what it asks for.
const HEAD_PAYLOAD: usize = 128;

/// What the streams of one connection have in common.
#[derive(Debug)]
struct Streams {
    /// The connection itself.
    client: Rc<Client>,
    /// How many there are.
    open: Cell<usize>,
    /// How many more were taken back than were let come to an end.
    taken_back: Cell<u32>,
    /// All that had come was read in this turn of the task. h2 tries to read before each stream that
    /// it gives.
    is_drained: Cell<bool>,
    /// Bytes of a body, and of all bodies, that may come before any was read.
    stream_window: usize,
    connection_window: u64,
}

impl Streams {
    /// A client has opened a stream.
    fn begin(self: &Rc<Self>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        /// Whatever way the task ends.
        struct Ended(Rc<Streams>, Rc<Client>);

        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.note_end(&self.1);
            }
        }

        let client = Client::of_stream(&self.client);
        client.note_payload(HEAD_PAYLOAD);
        let is_whole = request.body().is_end_stream();
        if !is_whole {
            // What its window lets in comes even if we answer without having read it.
            client.note_payload(self.stream_window / FRAMES_PER_PAYLOAD as usize);
        }
        self.open.set(self.open.get() + 1);
        let ended = Ended(self.clone(), client.clone());
        // Boxed, since it is large, and would be moved several times on its way to its place; and
        // made there, since most of it is room for later.
        let place = Box::new_uninit();
        spawn_local(Box::into_pin(Box::write(place, async move {
            let ended = ended;
            let _entered = client.worker.enter(client.clone());
            stream::serve(&ended.1, request, is_whole, respond).await;
        })));
    }

    /// A stream has ended.
    fn note_end(&self, stream: &Client) {
        self.open.set(self.open.get() - 1);
        let taken_back = self.taken_back.get();
        self.taken_back.set(match stream.has_answered() {
            true => taken_back.saturating_sub(1),
            false => taken_back + 1,
        });
        if self.open.get() == 0 || taken_back >= TAKEN_BACK {
            self.client.watch.wake();
        }
    }

    /// Does the client mean to keep us busy, rather than to be served?
    fn are_abused(&self) -> bool {
        self.taken_back.get() > TAKEN_BACK || self.client.frames.are_a_flood(self.connection_window)
    }

    /// Why the client is thrown out, if it is to be.
    fn verdict(&self) -> Option<Reason> {
        match self.client.frames.fault() {
            Some(fault) => {
                tracing::debug!(peer = %self.client.peer, "{}", fault.as_str());
                Some(fault.code().into())
            }
            None => self.are_abused().then_some(Reason::ENHANCE_YOUR_CALM),
        }
    }
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    No,
    /// The client has been told to begin nothing more.
    Gentle,
    /// It was told why it is thrown out.
    ThrownOut,
}

/// Serves an HTTP/2 connection until it ends.
pub(crate) async fn serve(socket: ClientSocket, client: Rc<Client>, entered: Entered) {
    let worker = &client.worker;
    let settings = worker.site().http2;
    let streams = Rc::new(Streams {
        client: client.clone(),
        open: Cell::new(0),
        taken_back: Cell::new(0),
        is_drained: Cell::new(false),
        stream_window: settings.stream_window as usize,
        connection_window: settings.connection_window.into(),
    });
    let io = Io { socket, streams: streams.clone(), judge: Judge::default() };
    let mut handshake = pin!(builder(worker).handshake(io));
    let handshake = poll_fn(|cx| {
        streams.is_drained.set(false);
        handshake.as_mut().poll(cx)
    });
    let Some(Ok(mut connection)) = client.unless_late(handshake).await else { return };
    client.watch.clear(Side::ClientRead);
    let mut ending = Ending::No;
    let is_cut = poll_fn(|cx| {
        streams.is_drained.set(false);
        let watch = &client.watch;
        watch.attach(cx.waker());
        let is_idle = streams.open.get() == 0 && watch.has_fired(Side::ClientRead);
        if ending == Ending::No && (worker.is_shutting_down() || client.closes() || is_idle) {
            ending = Ending::Gentle;
            watch.clear(Side::ClientRead);
            connection.graceful_shutdown();
        }
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => streams.begin(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %client.peer, %error, "an HTTP/2 connection has failed");
                    return Poll::Ready(false);
                }
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if ending == Ending::ThrownOut => break,
                Poll::Pending => {
                    let Some(reason) = streams.verdict() else { break };
                    ending = Ending::ThrownOut;
                    watch.set(Side::ClientRead, worker.after(GOODBYE_TICKS));
                    connection.abrupt_shutdown(reason);
                }
            }
        }
        if watch.has_fired(Side::ClientWrite) {
            return Poll::Ready(true);
        }
        match (streams.open.get() == 0, ending) {
            // It was told to go, and has nothing to stay for.
            (true, Ending::Gentle) | (_, Ending::ThrownOut) => {
                if watch.has_fired(Side::ClientRead) {
                    return Poll::Ready(true);
                }
                watch.ensure(Side::ClientRead, || worker.after(GOODBYE_TICKS));
            }
            (false, _) => watch.clear(Side::ClientRead),
            (true, Ending::No) => {
                watch.ensure(Side::ClientRead, || worker.after(worker.site().timeouts.idle));
            }
        }
        Poll::Pending
    })
    .await;
    if is_cut || ending == Ending::ThrownOut {
        tracing::debug!(peer = %client.peer, "an HTTP/2 connection is cut");
    }
    drop(entered);
}

fn builder(worker: &Worker) -> Builder {
    let site = &worker.site();
    let mut builder = Builder::new();
    let settings = &site.http2;
    // A head that is too large is refused by us, so that it is logged, counted and has its page;
    // one that is much too large by h2.
    builder
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_header_list_size(u32::try_from(2 * site.limits.header_bytes).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    builder
}

/// A client's socket, watched for a client that takes nothing. What comes is judged before h2 reads
/// it.
#[derive(Debug)]
struct Io {
    socket: ClientSocket,
    streams: Rc<Streams>,
    judge: Judge,
}

impl Io {
    fn client(&self) -> &Client {
        &self.streams.client
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(length)) = written {
            self.client().listener.send(*length);
        }
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => self.client().waits_for_write(),
            Poll::Ready(_) if self.client().is_blocked() => {
                self.client().watch.clear(Side::ClientWrite)
            }
            Poll::Ready(_) => {}
        }
        written
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Io { socket, streams, judge } = &mut *self;
        let client = &streams.client;
        // Whoever reads is told of a fault when what was right has gone up to it.
        if streams.is_drained.get() || client.frames.fault().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(socket).poll_read(cx, buf);
        if read.is_pending() {
            streams.is_drained.set(true);
            return read;
        }
        let length = buf.filled().len() - before;
        client.listener.receive(length);
        client.frames.note(length);
        if let Err((fault, right)) = judge.read(&buf.filled()[before..]) {
            client.frames.note_fault(fault);
            buf.set_filled(before + right);
            if right == 0 {
                return Poll::Pending;
            }
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.count(&written);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.count(&written);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
