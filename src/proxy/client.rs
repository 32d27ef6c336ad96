//! A client's connection: the task that serves it, and what its parts know of each other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::affinity::Memo;
use super::client_io::{ClientIo, Remains};
use super::destination::Entrance;
use super::error::{Problem, answer_bytes};
use super::exchange::exchange;
use super::request;
use super::tunnel::Tunnel;
use super::watch::{Side, Tick, Watch};
use super::worker::Worker;
use crate::http::forwarded;
use crate::http::framing::Refusal;

/// Ticks before a request is worth a look at whether its client still waits for it. Most are over
/// by then.
const LOOK_AFTER: Tick = 1;

/// Ticks between looks at a client that has sent more than it was answered.
const LOOK_AGAIN_AFTER: Tick = 10;

/// How long the end of a connection may take while the client may still be sending.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// A request head has begun.
    Head,
    /// A request is being served.
    Exchange,
}

/// What the parts of one client connection (its socket, the requests on it, the worker's sweep)
/// know of each other. One task, so cells.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) entrance: Arc<Entrance>,
    /// The address of whoever connected.
    pub(crate) peer: IpAddr,
    /// The field lines that say so to a backend, for the usual case.
    pub(crate) forward_lines: Box<[u8]>,
    /// Are the peer's forwarding fields to be believed?
    pub(crate) is_trusted: bool,
    /// Deadlines.
    pub(crate) watch: Watch,
    /// Bytes that go out before hyper's next message: interim responses.
    pub(crate) outbox: RefCell<Vec<u8>>,
    /// The last token that was opened: a browser sends the same one again and again.
    pub(crate) memo: RefCell<Memo>,
    /// Set by an exchange that ended in 101.
    pub(crate) tunnel: RefCell<Option<Box<Tunnel>>>,
    phase: Cell<Phase>,
    /// When to look whether the client is still there.
    look_at: Cell<Tick>,
    /// Exchanges begun.
    exchanges: Cell<u64>,
    /// Why a head was not let through. The connection's end answers it.
    head_refusal: Cell<Option<Refusal>>,
    /// Why a body was not let through. Its exchange answers it.
    body_refusal: Cell<Option<Refusal>>,
    /// Should the socket be watched for the client leaving?
    looks_for_eof: Cell<bool>,
    /// The client has left.
    has_left: Cell<bool>,
    /// A response broke off: the client must see that it did.
    is_broken: Cell<bool>,
    /// We said `Connection: close`, not the client.
    closes: Cell<bool>,
    /// The current request is HTTP/1.1.
    speaks_interim: Cell<bool>,
    /// The current request asks for the options of the whole server.
    is_about_server: Cell<bool>,
}

impl Client {
    fn new(worker: Rc<Worker>, entrance: Arc<Entrance>, peer: SocketAddr) -> Rc<Self> {
        let peer = forwarded::canonical(peer.ip());
        Rc::new(Client {
            is_trusted: forwarded::is_trusted(peer, &entrance.trusted_proxies),
            worker,
            entrance,
            peer,
            forward_lines: request::usual_lines(peer),
            watch: Watch::default(),
            outbox: RefCell::default(),
            memo: RefCell::default(),
            tunnel: RefCell::default(),
            phase: Cell::new(Phase::Idle),
            look_at: Cell::new(Tick::MAX),
            exchanges: Cell::new(0),
            head_refusal: Cell::new(None),
            body_refusal: Cell::new(None),
            looks_for_eof: Cell::new(false),
            has_left: Cell::new(false),
            is_broken: Cell::new(false),
            closes: Cell::new(false),
            speaks_interim: Cell::new(false),
            is_about_server: Cell::new(false),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The first part of a head arrived, and not all of it.
    pub(crate) fn head_began(&self) {
        if self.phase.replace(Phase::Head) != Phase::Head {
            let deadline = self.worker.after(self.worker.site.timeouts.request_header);
            self.watch.set(Side::ClientRead, deadline);
        }
    }

    /// A whole head arrived.
    pub(crate) fn head_arrived(&self, is_about_server: bool) {
        self.is_about_server.set(is_about_server);
        self.watch.clear(Side::ClientRead);
        self.phase.set(Phase::Exchange);
        self.look_at.set(self.worker.after(LOOK_AFTER));
    }

    /// Does the current request ask for the options of the whole server?
    pub(crate) fn is_about_server(&self) -> bool {
        self.is_about_server.get()
    }

    /// A request's service begins. Gives how many there have been.
    pub(crate) fn begin_exchange(&self, version: Version) -> u64 {
        self.speaks_interim.set(version >= Version::HTTP_11);
        let exchanges = self.exchanges.get() + 1;
        self.exchanges.set(exchanges);
        exchanges
    }

    /// The response has been handed over completely.
    pub(crate) fn end_exchange(&self) {
        self.phase.set(Phase::Idle);
        self.looks_for_eof.set(false);
        self.watch.clear(Side::Backend);
        self.watch.set(Side::ClientRead, self.worker.after(self.worker.site.timeouts.idle));
    }

    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges.get()
    }

    /// What the client sent is not let through.
    pub(crate) fn refuse(&self, refusal: Refusal, is_in_body: bool) {
        let cell = if is_in_body { &self.body_refusal } else { &self.head_refusal };
        cell.set(Some(refusal));
    }

    /// Why the current request's body was not let through.
    pub(crate) fn body_refusal(&self) -> Option<Refusal> {
        self.body_refusal.get()
    }

    pub(crate) fn waits_for_write(&self) {
        let timeout = self.worker.site.timeouts.response_write;
        self.watch.ensure(Side::ClientWrite, || self.worker.after(timeout));
    }

    /// Does the client not take what is written to it?
    pub(crate) fn is_blocked(&self) -> bool {
        self.watch.is_set(Side::ClientWrite)
    }

    /// It does again. Between requests its time begins only now.
    pub(crate) fn unblock(&self) {
        self.watch.clear(Side::ClientWrite);
        if self.phase.get() == Phase::Idle {
            self.watch.set(Side::ClientRead, self.worker.after(self.worker.site.timeouts.idle));
        }
    }

    /// Wakes the connection if anything is late, or its client should be looked at.
    pub(crate) fn sweep(&self, now: Tick) {
        if self.phase.get() == Phase::Exchange && now >= self.look_at.get() {
            self.look_at.set(Tick::MAX);
            self.looks_for_eof.set(true);
            self.watch.wake();
        }
        self.watch.sweep(now);
    }

    pub(crate) fn looks_for_eof(&self) -> bool {
        self.looks_for_eof.get() && !self.has_left.get()
    }

    /// There is something to read that is no end, and an end behind it would not be reported: to
    /// be looked at again in a while.
    pub(crate) fn look_again_later(&self) {
        self.looks_for_eof.set(false);
        self.look_at.set(self.worker.after(LOOK_AGAIN_AFTER));
    }

    pub(crate) fn leave(&self) {
        self.has_left.set(true);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.has_left.get()
    }

    /// The response cannot be completed.
    pub(crate) fn break_off(&self) {
        self.is_broken.set(true);
    }

    /// May interim responses be sent? HTTP/1.0 clients do not know them.
    pub(crate) fn speaks_interim(&self) -> bool {
        self.speaks_interim.get()
    }

    /// This response is the connection's last by our wish.
    pub(crate) fn close_after_this(&self) {
        self.closes.set(true);
    }

    /// A future that also ends when the client leaves.
    pub(crate) async fn unless_left<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.has_left() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// Why a connection's HTTP has come to an end.
enum End {
    /// By itself, as hyper says.
    Http(hyper::Result<()>),
    /// Nothing came for so long.
    Idle,
    /// A head did not arrive in time.
    SlowHead,
    /// The client does not take its response.
    Stalled,
}

/// Serves one client connection until it ends.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    worker: Rc<Worker>,
    entrance: Arc<Entrance>,
) {
    let client = Client::new(worker.clone(), entrance, peer);
    let _entered = worker.enter(client.clone());
    let service = {
        let client = client.clone();
        service_fn(move |request| exchange(client.clone(), request))
    };
    let io = TokioIo::new(ClientIo::new(stream, client.clone()));
    let mut connection = builder(&worker).serve_connection(io, service);
    let first_head = worker.after(worker.site.timeouts.request_header);
    client.watch.set(Side::ClientRead, first_head);

    let mut is_attached = false;
    let mut is_ending = false;
    let end = poll_fn(|cx| {
        if !is_attached {
            client.watch.attach(cx.waker());
            is_attached = true;
        }
        if worker.is_shutting_down() && !is_ending {
            is_ending = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(result) => Poll::Ready(End::Http(result)),
            Poll::Pending if client.watch.has_fired(Side::ClientWrite) => Poll::Ready(End::Stalled),
            // Who still takes the last response is not late with the next request.
            Poll::Pending if client.is_blocked() => Poll::Pending,
            Poll::Pending if client.watch.has_fired(Side::ClientRead) => match client.phase() {
                Phase::Idle => Poll::Ready(End::Idle),
                Phase::Head => Poll::Ready(End::SlowHead),
                Phase::Exchange => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    })
    .await;

    let parts = connection.into_parts();
    let remains = parts.io.into_inner().into_remains();
    // Boxed, since what comes now is larger than all before it, and few connections need it.
    Box::pin(finish(&client, end, remains, parts.read_buf)).await;
}

fn builder(worker: &Worker) -> http1::Builder {
    /// hyper keeps parsed heads of up to so many fields on the stack.
    const ON_THE_STACK: usize = 100;

    let mut builder = http1::Builder::new();
    // We look for the client's end ourselves, and only when a request takes long: hyper would
    // allocate a read buffer for every request to do so. Large bodies are written from where
    // they are; hyper would copy them into a buffer that it keeps.
    builder.half_close(true).writev(true);
    let fields = worker.site.limits.header_count;
    if fields > ON_THE_STACK {
        builder.max_headers(fields);
    }
    builder
}

/// What is left to do when HTTP is done: nothing, a tunnel, or a last word and a gentle end.
async fn finish(client: &Rc<Client>, end: End, mut remains: Remains, unread: Bytes) {
    let tunnel = client.tunnel.take();
    if let (End::Http(Ok(())), Some(tunnel)) = (&end, tunnel) {
        return tunnel.run(client, remains, unread).await;
    }
    let problem = match (&end, client.head_refusal.get()) {
        (End::Stalled, _) => return abort(&remains.stream, true),
        (End::SlowHead, _) => Some(Problem::request_timeout()),
        (End::Idle, _) => None,
        // Whether hyper takes a refused head for an error depends on how much of it it has seen.
        (End::Http(_), Some(refusal)) => Some(Problem::refused(refusal)),
        (End::Http(Err(error)), None) if remains.owes_answer => {
            Some(match error.is_parse_too_large() {
                true => Problem::refused(Refusal::HeadTooLarge),
                false => Problem::malformed(),
            })
        }
        (End::Http(Err(_)), None)
            if client.is_broken.get() || client.phase() == Phase::Exchange =>
        {
            return abort(&remains.stream, client.is_broken.get());
        }
        (End::Http(_), None) => None,
    };
    if let Some(problem) = &problem {
        problem.log(client);
        let answer = answer_bytes(problem, &client.worker.rng);
        let _ = tokio::time::timeout(LINGER, remains.stream.write_all(&answer)).await;
    }
    let may_be_sending = problem.is_some() || client.closes.get() || !remains.is_clean;
    if may_be_sending && !client.has_left() {
        linger(&mut remains.stream).await;
    }
}

/// Lets the client read our last words before the connection is gone: closing a socket with
/// unread input resets it, and a reset destroys what is on its way (RFC 9112, section 9.6).
async fn linger(stream: &mut TcpStream) {
    let drain = async {
        if stream.shutdown().await.is_ok() {
            let mut sink = [0; 4096];
            while matches!(stream.read(&mut sink).await, Ok(n) if n > 0) {}
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Ends a connection in the middle of a response. A reset, if need be: a body that ends with the
/// connection would look complete after an orderly end.
fn abort(stream: &TcpStream, reset: bool) {
    if reset {
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}
