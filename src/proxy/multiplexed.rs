//! A connection of HTTP/2: many exchanges at once, each with a task and a [`Client`] of its own.
//!
//! To an exchange a stream is what a connection is in HTTP/1.1: it has its own deadlines, may be
//! left by its client, and cannot be told more than once what happens next. So every stream gets a
//! [`Client`] whose parent is the connection's, and the path from `exchange` on is the same for
//! both protocols. hyper and h2 read and write the frames; what is limited here is what a client
//! can make us do with few bytes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use super::client::Client;
use super::client_socket::ClientSocket;
use super::exchange::exchange;
use super::watch::Side;
use super::worker::{Entered, Worker};

/// How long a connection without streams gets for its goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Streams that a client may take back beyond those that it lets come to an end. Browsers take back
/// some; who opens streams only to reset them (CVE-2023-44487) works on nothing but our time.
const TAKEN_BACK: u32 = 200;

/// What the streams of one connection have in common.
#[derive(Debug)]
struct Streams {
    /// The connection itself.
    client: Rc<Client>,
    /// How many there are.
    open: Cell<usize>,
    /// The one whose task is about to begin.
    newest: RefCell<Option<Rc<Client>>>,
    /// How many more were taken back than were let come to an end.
    taken_back: Cell<u32>,
}

impl Streams {
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

    fn are_abused(&self) -> bool {
        self.taken_back.get() > TAKEN_BACK
    }
}

/// Runs the tasks of a connection's streams on this thread.
#[derive(Clone)]
struct Spawner(Rc<Streams>);

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        // hyper calls the service, which notes the stream, and begins its task right after that.
        match self.0.newest.take() {
            Some(stream) => drop(spawn_local(drive(task, stream, self.0.clone()))),
            None => drop(spawn_local(task)),
        }
    }
}

/// Drives a stream's task. Gives it up, which resets the stream, if the client takes nothing of its
/// response for too long.
async fn drive(task: impl Future<Output = ()>, stream: Rc<Client>, streams: Rc<Streams>) {
    /// Whatever way the task ends.
    struct Ended<'a>(&'a Streams, &'a Client);

    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.note_end(self.1);
        }
    }

    let entered = stream.worker.enter(stream.clone());
    let _ended = Ended(&streams, &stream);
    let mut task = pin!(task);
    poll_fn(|cx| {
        stream.watch.attach(cx.waker());
        if task.as_mut().poll(cx).is_ready() || stream.watch.has_fired(Side::ClientWrite) {
            return Poll::Ready(());
        }
        // If it is not the backend that is waited for, it is the client; being here at all means
        // that something has moved.
        let watch = &stream.watch;
        match stream.has_answered() && !watch.is_set(Side::Backend) {
            true => stream.restart_write(),
            false => watch.clear(Side::ClientWrite),
        }
        Poll::Pending
    })
    .await;
    drop(entered);
}

/// Serves an HTTP/2 connection until it ends.
pub(crate) async fn serve(socket: ClientSocket, client: Rc<Client>, entered: Entered) {
    let worker = client.worker.clone();
    let streams = Rc::new(Streams {
        client: client.clone(),
        open: Cell::new(0),
        newest: RefCell::default(),
        taken_back: Cell::new(0),
    });
    let service = {
        let streams = streams.clone();
        service_fn(move |request: Request<Incoming>| {
            let stream = Client::of_stream(&streams.client);
            streams.open.set(streams.open.get() + 1);
            *streams.newest.borrow_mut() = Some(stream.clone());
            exchange(stream, request)
        })
    };
    let io = TokioIo::new(Io { socket, client: client.clone() });
    let connection = builder(&worker, Spawner(streams.clone())).serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut is_ending = false;
    let is_cut = poll_fn(|cx| {
        let watch = &client.watch;
        watch.attach(cx.waker());
        let is_idle = streams.open.get() == 0 && watch.has_fired(Side::ClientRead);
        if !is_ending && (worker.is_shutting_down() || client.closes() || is_idle) {
            is_ending = true;
            watch.clear(Side::ClientRead);
            connection.as_mut().graceful_shutdown();
        }
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        if watch.has_fired(Side::ClientWrite) || streams.are_abused() {
            return Poll::Ready(true);
        }
        match (streams.open.get() == 0, is_ending) {
            (false, _) => watch.clear(Side::ClientRead),
            (true, false) => {
                watch.ensure(Side::ClientRead, || worker.after(worker.site().timeouts.idle));
            }
            // It was told to go, and has nothing to stay for.
            (true, true) if watch.has_fired(Side::ClientRead) => return Poll::Ready(true),
            (true, true) => watch.ensure(Side::ClientRead, || worker.after(GOODBYE_TICKS)),
        }
        Poll::Pending
    })
    .await;
    if is_cut {
        tracing::debug!(peer = %client.peer, "an HTTP/2 connection is cut");
    }
    drop(entered);
}

/// [`GOODBYE`] on the coarse clock.
const GOODBYE_TICKS: super::watch::Tick =
    (GOODBYE.as_millis() / super::watch::TICK.as_millis()) as super::watch::Tick;

fn builder(worker: &Worker, spawner: Spawner) -> http2::Builder<Spawner> {
    let site = &worker.site();
    let mut builder = http2::Builder::new(spawner);
    let settings = &site.http2;
    builder
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        // Counted with 32 bytes a field, and so beyond what HTTP/1.1 may send.
        .max_header_list_size(u32::try_from(site.limits.header_bytes).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    builder
}

/// A client's socket, watched for a client that takes nothing.
#[derive(Debug)]
struct Io {
    socket: ClientSocket,
    client: Rc<Client>,
}

impl Io {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(length)) = written {
            self.client.listener.send(*length);
        }
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => self.client.waits_for_write(),
            Poll::Ready(_) if self.client.is_blocked() => {
                self.client.watch.clear(Side::ClientWrite)
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
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.client.listener.receive(buf.filled().len() - before);
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
