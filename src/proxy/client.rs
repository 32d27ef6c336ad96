//! What the parts of a client's connection know of each other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use h2::Reason;
use http::header::FORWARDED;
use http::{Response, Version};

use super::affinity::Memo;
use super::body::Broken;
use super::destination::Entrance;
use super::frames::Frames;
use super::record::Record;
use super::request;
use super::security::Security;
use super::tunnel::Tunnel;
use super::upstream::Upstream;
use super::watch::{Side, Tick, Watch, ticks};
use super::worker::{FIRST_REQUEST, Worker};
use crate::balance::BackendId;
use crate::config::Family;
use crate::http::field_lines::FieldLines;
use crate::http::fields::X_FORWARDED_PROTO;
use crate::http::forwarded::{self, Origin};
use crate::http::framing::Refusal;
use crate::observe::metrics::ListenerMeter;

/// Ticks before a request is worth a look at whether its client still waits for it. Most are over
/// by then.
const LOOK_AFTER: Tick = 1;

/// Ticks between looks at a client that has sent more than it was answered.
const LOOK_AGAIN_AFTER: Tick = 10;

/// Ticks between requests before a connection falls asleep. Busy clients come again sooner.
const DOZE_AFTER: Tick = 10;

/// What a connection is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the first request, or some time after the last one: the connection has neither
    /// buffers nor a parser until something comes.
    Dozing,
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
    /// The connection, if this is a stream on one of HTTP/2.
    parent: Option<Rc<Client>>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) entrance: Arc<Entrance>,
    /// Whoever connected.
    pub(crate) address: SocketAddr,
    /// Where it came in.
    pub(crate) local: SocketAddr,
    /// Its address, in the form in which it is compared and shown.
    pub(crate) peer: IpAddr,
    /// Whether it came over TLS, and as whom.
    pub(crate) security: Rc<Security>,
    /// The field lines that say so to a backend, for the usual case.
    pub(crate) forward_lines: Rc<[u8]>,
    /// Are the peer's forwarding fields to be believed?
    pub(crate) is_trusted: bool,
    /// Deadlines.
    pub(crate) watch: Watch,
    /// What is counted, timed and logged about the current request.
    pub(crate) record: Record,
    /// What is counted about the listener.
    pub(crate) listener: Arc<ListenerMeter>,
    /// Is it the one that the listener counts as an open connection?
    is_counted: Cell<bool>,
    /// Why an upload that went on beside its response broke off.
    pub(crate) upload_broke: Cell<Option<Broken>>,
    /// Bytes that go out before hyper's next message: interim responses.
    pub(crate) outbox: RefCell<Vec<u8>>,
    /// The same of a stream.
    pub(crate) interim: RefCell<Vec<Response<()>>>,
    /// With what the backend has reset the stream that this one's response came on, if that may
    /// be said to the client.
    pub(crate) reset_reason: Cell<Option<Reason>>,
    /// What has come on a connection of HTTP/2, and what of it was of use.
    pub(crate) frames: Frames,
    /// The field lines of the current request.
    pub(crate) fields: RefCell<FieldLines>,
    /// The last token that was opened: a browser sends the same one again and again.
    memo: RefCell<Memo>,
    /// Its own idle connection to a backend, where those are not shared.
    own: RefCell<Option<(BackendId, Box<Upstream>)>>,
    /// Set by an exchange that ended in 101.
    pub(crate) tunnel: RefCell<Option<Box<Tunnel>>>,
    phase: Cell<Phase>,
    /// When to look whether the client is still there, or the connection can doze.
    look_at: Cell<Tick>,
    /// Exchanges begun.
    exchanges: Cell<u64>,
    /// Why a head was not let through. The connection's end answers it.
    head_refusal: Cell<Option<Refusal>>,
    /// Why a body was not let through. Its exchange answers it.
    body_refusal: Cell<Option<Refusal>>,
    /// That time has come.
    is_to_look: Cell<bool>,
    /// The client has left.
    has_left: Cell<bool>,
    /// A response broke off: the client must see that it did.
    is_broken: Cell<bool>,
    /// We said `Connection: close`, not the client.
    closes: Cell<bool>,
    /// The current request has been answered, or at least has a head of an answer.
    has_answered: Cell<bool>,
    /// Not all of the current request's body has been read.
    owes_body: Cell<bool>,
    /// The current request is HTTP/1.1.
    speaks_interim: Cell<bool>,
    /// The current request asks for the options of the whole server.
    is_about_server: Cell<bool>,
}

/// What is known of a client when it has come in.
struct Known {
    parent: Option<Rc<Client>>,
    worker: Rc<Worker>,
    entrance: Arc<Entrance>,
    address: SocketAddr,
    local: SocketAddr,
    peer: IpAddr,
    is_trusted: bool,
    listener: Arc<ListenerMeter>,
    forward_lines: Rc<[u8]>,
    security: Rc<Security>,
}

impl Client {
    /// A connection that has just come in. It is given so much time to say something.
    pub(crate) fn new(
        worker: Rc<Worker>,
        entrance: Arc<Entrance>,
        address: SocketAddr,
        local: SocketAddr,
        security: Security,
    ) -> Rc<Self> {
        let listener = worker.witness.meters.listener(entrance.address, entrance.max_connections);
        listener.accept();
        Client::arrived(worker, entrance, listener, (address, local), security)
    }

    /// The same connection, of which more is known now.
    pub(crate) fn known_as(&self, address: SocketAddr, security: Security) -> Rc<Self> {
        self.is_counted.set(false);
        let (worker, entrance) = (self.worker.clone(), self.entrance.clone());
        Client::arrived(worker, entrance, self.listener.clone(), (address, self.local), security)
    }

    fn arrived(
        worker: Rc<Worker>,
        entrance: Arc<Entrance>,
        listener: Arc<ListenerMeter>,
        (address, local): (SocketAddr, SocketAddr),
        security: Security,
    ) -> Rc<Self> {
        let peer = forwarded::canonical(address.ip());
        let client = Client::quiet(Known {
            parent: None,
            is_trusted: forwarded::is_trusted(peer, &entrance.trusted_proxies),
            worker,
            entrance,
            address,
            local,
            peer,
            listener,
            forward_lines: request::usual_lines(peer, &security),
            security: Rc::new(security),
        });
        client.is_counted.set(true);
        let patience = match client.worker.is_in_a_hurry() {
            true => ticks(FIRST_REQUEST),
            false => client.worker.site().timeouts.request_header,
        };
        client.watch.set(Side::ClientRead, client.worker.after(patience));
        Rc::new(client)
    }

    /// A stream on a connection of HTTP/2. It counts as a request, not as a connection.
    pub(crate) fn of_stream(connection: &Rc<Client>) -> Rc<Self> {
        let stream = Rc::new(Client::quiet(Known {
            parent: Some(connection.clone()),
            worker: connection.worker.clone(),
            entrance: connection.entrance.clone(),
            address: connection.address,
            local: connection.local,
            peer: connection.peer,
            is_trusted: connection.is_trusted,
            listener: connection.listener.clone(),
            forward_lines: connection.forward_lines.clone(),
            security: connection.security.clone(),
        }));
        stream.fields.replace(stream.worker.take_field_lines());
        stream
    }

    /// A client of whom so much is known, and who has said nothing.
    fn quiet(known: Known) -> Self {
        let Known { parent, worker, entrance, address, local, peer, is_trusted, .. } = known;
        Client {
            parent,
            worker,
            entrance,
            address,
            local,
            peer,
            is_trusted,
            forward_lines: known.forward_lines,
            security: known.security,
            watch: Watch::default(),
            record: Record::default(),
            listener: known.listener,
            is_counted: Cell::new(false),
            upload_broke: Cell::new(None),
            outbox: RefCell::default(),
            interim: RefCell::default(),
            reset_reason: Cell::new(None),
            frames: Frames::default(),
            fields: RefCell::default(),
            memo: RefCell::default(),
            own: RefCell::default(),
            tunnel: RefCell::default(),
            phase: Cell::new(Phase::Dozing),
            look_at: Cell::new(Tick::MAX),
            exchanges: Cell::new(0),
            head_refusal: Cell::new(None),
            body_refusal: Cell::new(None),
            is_to_look: Cell::new(false),
            has_left: Cell::new(false),
            is_broken: Cell::new(false),
            closes: Cell::new(false),
            has_answered: Cell::new(false),
            owes_body: Cell::new(false),
            speaks_interim: Cell::new(false),
            is_about_server: Cell::new(false),
        }
    }

    /// The connection that it is, or is a stream on.
    fn connection(&self) -> &Client {
        self.parent.as_deref().unwrap_or(self)
    }

    /// Is it one of several on its connection?
    pub(crate) fn is_stream(&self) -> bool {
        self.parent.is_some()
    }

    /// The last token that was opened: a browser sends the same one again and again.
    pub(crate) fn memo(&self) -> &RefCell<Memo> {
        &self.connection().memo
    }

    /// Its own idle connection to a backend, which began with its address.
    pub(crate) fn take_own(&self, backend: BackendId) -> Option<Box<Upstream>> {
        let own = self.connection().own.take();
        own.filter(|(to, _)| *to == backend).map(|(_, upstream)| upstream)
    }

    /// Keeps it for this client's next request.
    pub(crate) fn keep_own(&self, backend: BackendId, upstream: Box<Upstream>) {
        let former = self.connection().own.replace(Some((backend, upstream)));
        drop(former);
    }

    /// What a trusted peer says about its client.
    pub(crate) fn origin(&self, fields: &FieldLines) -> Origin {
        let Entrance { trusted_proxies, forwarded: family, .. } = &*self.entrance;
        let family = match family {
            Family::XForwarded => forwarded::Family::XForwarded,
            Family::Forwarded => forwarded::Family::Forwarded,
        };
        let field = match family {
            forwarded::Family::XForwarded => X_FORWARDED_PROTO,
            forwarded::Family::Forwarded => FORWARDED,
        };
        let says_scheme = fields.get(field.as_str()).is_some();
        let mut origin = Origin::behind(self.peer, fields, trusted_proxies, family);
        origin.is_https |= self.security.is_tls() && !says_scheme;
        origin
    }

    /// The client's address, as far as it can be believed.
    pub(crate) fn source(&self, fields: &FieldLines) -> IpAddr {
        match self.is_trusted {
            true => self.origin(fields).client,
            false => self.peer,
        }
    }

    /// Has the current request come over TLS, as far as we or a trusted proxy can tell?
    pub(crate) fn came_over_https(&self) -> bool {
        match self.is_trusted {
            true => self.origin(&self.fields.borrow()).is_https,
            false => self.security.is_tls(),
        }
    }

    /// Is this peer believed in these fields?
    pub(crate) fn trusts(&self, family: Family) -> bool {
        self.is_trusted && self.entrance.forwarded == family
    }

    /// The process is about to end. Who has connected and asked for nothing yet has until `grace`
    /// to do so: it could not know.
    pub(crate) fn hurry(&self, grace: Tick) {
        if self.is_new() {
            self.watch.set(Side::ClientRead, grace);
        }
        self.watch.wake();
    }

    /// Has nothing come yet?
    pub(crate) fn is_new(&self) -> bool {
        !self.is_stream() && self.exchanges.get() == 0 && self.phase.get() == Phase::Dozing
    }

    /// May the connection end after what is going on? Not before its first request, nor within one.
    pub(crate) fn may_end(&self) -> bool {
        match self.phase.get() {
            Phase::Dozing | Phase::Idle => self.exchanges.get() > 0,
            Phase::Head => false,
            Phase::Exchange => true,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The first part of a head arrived, and not all of it.
    pub(crate) fn head_began(&self) {
        if self.phase.replace(Phase::Head) != Phase::Head {
            let deadline = self.worker.after(self.worker.site().timeouts.request_header);
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

    /// A request's service begins; `owes_body`: it has a body. Gives how many there have been.
    pub(crate) fn begin_exchange(&self, version: Version, owes_body: bool) -> u64 {
        self.record.open();
        self.owes_body.set(owes_body);
        self.speaks_interim.set(version >= Version::HTTP_11);
        let counter = &self.connection().exchanges;
        counter.set(counter.get() + 1);
        counter.get()
    }

    /// All of the current request's body has been read.
    pub(crate) fn body_arrived(&self) {
        self.owes_body.set(false);
    }

    /// Is there more to come of the current request's body?
    pub(crate) fn owes_body(&self) -> bool {
        self.owes_body.get()
    }

    /// The response has been handed over completely.
    pub(crate) fn end_exchange(&self) {
        if self.tunnel.borrow().is_none() {
            self.record.close(self);
        }
        self.watch.clear(Side::Backend);
        self.watch.detach_uploader();
        self.upload_broke.set(None);
        self.rest();
        self.watch.set(Side::ClientRead, self.worker.after(self.worker.site().timeouts.idle));
    }

    /// Nothing is going on; if it stays so, the connection can doze.
    fn rest(&self) {
        self.phase.set(Phase::Idle);
        self.is_to_look.set(false);
        self.look_at.set(self.worker.after(DOZE_AFTER));
    }

    /// Has nothing been going on for a while?
    pub(crate) fn is_sleepy(&self) -> bool {
        self.phase.get() == Phase::Idle && self.is_to_look.get()
    }

    /// From now on the connection has no parser.
    pub(crate) fn doze(&self) {
        self.phase.set(Phase::Dozing);
        self.fields.take();
        self.worker.note_doze();
    }

    /// Something has come, or is about to.
    pub(crate) fn wake_up(&self) {
        if self.phase.get() == Phase::Dozing {
            self.rest();
        }
    }

    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges.get()
    }

    /// What the client sent is not let through.
    pub(crate) fn refuse(&self, refusal: Refusal, is_in_body: bool) {
        let cell = if is_in_body { &self.body_refusal } else { &self.head_refusal };
        cell.set(Some(refusal));
    }

    /// Why a head was not let through.
    pub(crate) fn head_refusal(&self) -> Option<Refusal> {
        self.head_refusal.get()
    }

    /// Why the current request's body was not let through.
    pub(crate) fn body_refusal(&self) -> Option<Refusal> {
        self.body_refusal.get()
    }

    pub(crate) fn waits_for_write(&self) {
        let timeout = self.worker.site().timeouts.response_write;
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
            self.rest();
            self.watch.set(Side::ClientRead, self.worker.after(self.worker.site().timeouts.idle));
        }
    }

    /// Wakes the connection if anything is late, or a look at it is due.
    pub(crate) fn sweep(&self, now: Tick) {
        let may_look = matches!(self.phase.get(), Phase::Exchange | Phase::Idle);
        if may_look && now >= self.look_at.get() {
            self.look_at.set(Tick::MAX);
            self.is_to_look.set(true);
            self.watch.wake();
        }
        self.watch.sweep(now);
    }

    /// Should the socket be watched for the client leaving?
    pub(crate) fn looks_for_eof(&self) -> bool {
        self.is_to_look.get() && !self.has_left.get()
    }

    /// There is something to read that would hide an end: to be looked at again in a while.
    pub(crate) fn look_again_later(&self) {
        self.is_to_look.set(false);
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

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// May interim responses be sent? HTTP/1.0 clients do not know them.
    pub(crate) fn speaks_interim(&self) -> bool {
        self.speaks_interim.get()
    }

    /// This response is the connection's last by our wish.
    pub(crate) fn close_after_this(&self) {
        self.closes.set(true);
    }

    /// Is it?
    pub(crate) fn closes(&self) -> bool {
        self.closes.get()
    }

    /// The current request has an answer, or at least its head.
    pub(crate) fn answered(&self) {
        self.has_answered.set(true);
    }

    /// Has it?
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.get()
    }

    /// Says something before the answer, on a stream. Its task wakes up to do so.
    pub(crate) fn say_interim(&self, response: Response<()>) {
        self.interim.borrow_mut().push(response);
        self.watch.wake();
    }

    /// So many bytes of what was asked for, or asks for it, have come or gone on the connection, in
    /// a frame.
    pub(crate) fn note_payload(&self, bytes: usize) {
        self.connection().frames.note_payload(bytes);
    }

    /// The connection takes no more requests than those that it has begun.
    pub(crate) fn use_up(&self) {
        let connection = self.connection();
        connection.closes.set(true);
        connection.watch.wake();
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

    /// Polls a future that also ends when the client does not want to wait any longer.
    pub(crate) fn poll_unless_overdue<F: Future>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        match future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.watch.has_fired(Side::Deadline) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A future that also ends when the client takes too long.
    pub(crate) async fn unless_late<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.watch.attach(cx.waker());
            match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.watch.has_fired(Side::ClientRead) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.record.note_left();
        self.record.close(self);
        if self.is_stream() {
            self.worker.give_field_lines(self.fields.take());
        }
        if self.is_counted.get() {
            self.listener.close();
        }
    }
}
