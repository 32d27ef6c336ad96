//! What the connections of one thread share. Nothing in here is shared with other threads, so
//! nothing in here is locked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::BytesMut;
use foldhash::fast::FixedState;
use http::HeaderValue;
use rand::rngs::StdRng;
use slab::Slab;

use super::client::Client;
use super::destination::Site;
use super::shared_upstream::{Lane, SharedUpstream};
use super::upstream::{READ_SIZE, Upstream};
use super::watch::{Tick, ticks};
use crate::balance::{BackendId, Timestamp};
use crate::clock;
use crate::http::copies::Copies;
use crate::http::field_lines::FieldLines;
use crate::http::known_names::KnownNames;
use crate::observe::Witness;

/// Buffers of each kind that are kept for later.
const SPARE_BUFFERS: usize = 64;

/// A larger head buffer than this is not worth keeping.
const MAX_SPARE_HEAD: usize = 16 * 1024;

/// Ticks after connections fell asleep until the allocator is to give back what they had. It waits
/// a second before it believes that memory is not needed again.
const TIDY_AFTER: Tick = 12;

/// What is served. All workers share it, but each of them counts for itself who looks at it: a
/// count that all of them write, with every request, would be dear.
pub(crate) type Current = Rc<Arc<Site>>;

/// How long a client that has connected shortly before the end may take for its first request.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// A worker thread's state.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What is served; a reload replaces it.
    site: RefCell<Current>,
    /// The coarse clock; see [`watch`](super::watch). Starts at 1, since 0 is never.
    tick: Cell<Tick>,
    /// The time of day at the last tick.
    now: Cell<Timestamp>,
    /// The last `Date` that was written, and its second.
    date: RefCell<(u64, HeaderValue)>,
    /// A cryptographic generator: it also makes session ids and nonces.
    pub(crate) rng: RefCell<StdRng>,
    /// Field names that backends use.
    pub(crate) names: RefCell<KnownNames>,
    /// What is kept of responses for a moment.
    pub(crate) copies: RefCell<Copies>,
    /// Idle connections by backend, the latest used last.
    #[expect(clippy::vec_box, reason = "taken out and put back with every request")]
    caches: RefCell<HashMap<BackendId, Vec<Box<Upstream>>, FixedState>>,
    /// Connections of HTTP/2 by backend.
    shared: RefCell<HashMap<BackendId, Vec<SharedUpstream>, FixedState>>,
    /// Every open client connection, and every stream on one, for the sweep.
    clients: RefCell<Slab<Rc<Client>>>,
    /// How many connections those are, for whoever deals out new ones.
    load: Arc<AtomicUsize>,
    /// What is counted and logged.
    pub(crate) witness: Witness,
    /// Connections that have been served and only let their clients read the last words.
    lingering: Cell<usize>,
    shutting_down: Cell<bool>,
    /// Idle connections are not waited for.
    in_a_hurry: Cell<bool>,
    /// When to [tidy up](Self::tidy_up).
    tidy_at: Cell<Tick>,
    /// Read buffers that are not in use. As many as connections that are being read from at the
    /// same time have ever been, which is few: a buffer is only held while there is something in
    /// it.
    buffers: RefCell<Vec<BytesMut>>,
    /// The same for request heads on their way out.
    heads: RefCell<Vec<Vec<u8>>>,
    /// The same for the field lines of streams.
    field_lines: RefCell<Vec<FieldLines>>,
}

impl Worker {
    /// A worker without connections.
    pub(crate) fn new(
        site: Arc<Site>,
        rng: StdRng,
        load: Arc<AtomicUsize>,
        witness: Witness,
    ) -> Rc<Self> {
        Rc::new(Worker {
            site: RefCell::new(Rc::new(site)),
            tick: Cell::new(1),
            now: Cell::new(clock::now()),
            date: RefCell::new((0, HeaderValue::from_static(""))),
            rng: RefCell::new(rng),
            names: RefCell::default(),
            copies: RefCell::default(),
            caches: RefCell::default(),
            shared: RefCell::default(),
            clients: RefCell::default(),
            load,
            witness,
            lingering: Cell::new(0),
            shutting_down: Cell::new(false),
            in_a_hurry: Cell::new(false),
            tidy_at: Cell::new(Tick::MAX),
            buffers: RefCell::default(),
            heads: RefCell::default(),
            field_lines: RefCell::default(),
        })
    }

    /// What is served now. A request looks once, and goes on with that whatever comes next.
    pub(crate) fn site(&self) -> Current {
        self.site.borrow().clone()
    }

    /// From now on this is served.
    pub(crate) fn serve(&self, site: Arc<Site>) {
        let former = self.site.replace(Rc::new(site));
        drop(former); // when nobody looks at it any more
        // Connections that began otherwise than they would now are not found any more, and grow old.
        self.caches.borrow_mut().retain(|_, idle| !idle.is_empty());
        self.shared.borrow_mut().retain(|_, shared| !shared.is_empty());
    }

    /// The current tick.
    pub(crate) fn tick(&self) -> Tick {
        self.tick.get()
    }

    /// The tick so many ticks from now.
    pub(crate) fn after(&self, ticks: Tick) -> Tick {
        self.tick.get().saturating_add(ticks)
    }

    /// The time of day, to a tick.
    pub(crate) fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// The `Date` of responses that hyper does not write.
    pub(crate) fn date(&self) -> HeaderValue {
        let second = self.now().as_millis() / 1000;
        let (at, date) = &mut *self.date.borrow_mut();
        if *at != second {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            let text = HeaderValue::try_from(httpdate::fmt_http_date(time));
            (*at, *date) = (second, text.unwrap_or(HeaderValue::from_static("")));
        }
        date.clone()
    }

    /// An empty buffer to read into.
    pub(crate) fn take_buffer(&self) -> BytesMut {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(READ_SIZE))
    }

    /// Takes a buffer back, unless it has been handed on or there are enough.
    pub(crate) fn give_buffer(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE_BUFFERS && buffer.try_reclaim(READ_SIZE) {
            buffers.push(buffer);
        }
    }

    /// An empty buffer for a request head.
    pub(crate) fn take_head(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes such a buffer back.
    pub(crate) fn give_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE_BUFFERS && head.capacity() <= MAX_SPARE_HEAD {
            head.clear();
            heads.push(head);
        }
    }

    /// Room for the field lines of a stream. A connection of HTTP/1.1 has its own.
    pub(crate) fn take_field_lines(&self) -> FieldLines {
        self.field_lines.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes it back.
    pub(crate) fn give_field_lines(&self, mut lines: FieldLines) {
        let mut spare = self.field_lines.borrow_mut();
        if spare.len() < SPARE_BUFFERS && lines.capacity() <= MAX_SPARE_HEAD {
            lines.clear();
            spare.push(lines);
        }
    }

    /// Is the process about to end?
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.get()
    }

    /// Is nobody connected any more, not even to read our last words?
    pub(crate) fn is_deserted(&self) -> bool {
        self.clients.borrow().is_empty() && self.lingering.get() == 0
    }

    /// From now on every connection ends after the request in progress; one that is idle ends at
    /// once, or, if there is no hurry, after its next request.
    pub(crate) fn shut_down(&self, in_a_hurry: bool) {
        self.shutting_down.set(true);
        self.in_a_hurry.set(in_a_hurry);
        if in_a_hurry {
            let grace = self.after(ticks(FIRST_REQUEST));
            self.clients.borrow().iter().for_each(|(_, client)| client.hurry(grace));
        }
    }

    /// Are idle connections to end?
    pub(crate) fn is_in_a_hurry(&self) -> bool {
        self.in_a_hurry.get()
    }

    /// Moves the coarse clock on and looks for what is late.
    pub(crate) fn sweep(&self, tick: Tick) {
        self.tick.set(tick);
        self.now.set(clock::now());
        self.witness.pen.refresh();
        self.clients.borrow().iter().for_each(|(_, client)| client.sweep(tick));
        self.drop_old_connections(tick);
        if tick >= self.tidy_at.get() {
            self.tidy_up();
        }
    }

    /// A connection falls asleep, and drops its buffers.
    pub(crate) fn note_doze(&self) {
        self.tidy_at.set(self.after(TIDY_AFTER));
    }

    /// Moves the allocator to give unused memory back to the system. It looks for some only when
    /// it is asked for something, which may be long from now if nobody does anything; something
    /// large makes it look at once.
    fn tidy_up(&self) {
        const LARGE: usize = 1 << 20;

        self.tidy_at.set(Tick::MAX);
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }

    fn drop_old_connections(&self, tick: Tick) {
        let mut old = Vec::new();
        for shared in self.shared.borrow_mut().values_mut() {
            shared.retain_mut(|connection| connection.is_alive() && !connection.is_over(tick));
        }
        for idle in self.caches.borrow_mut().values_mut() {
            // Taken out first and dropped last: what closing does must not find the caches
            // borrowed.
            old.extend(idle.extract_if(.., |upstream| upstream.is_over(tick)));
        }
    }

    /// The idle connection to a backend that was used last: the others may grow old and go.
    pub(crate) fn take_idle(&self, backend: BackendId) -> Option<Box<Upstream>> {
        self.caches.borrow_mut().get_mut(&backend)?.pop()
    }

    /// A place on a connection of HTTP/2 to a backend, if there is one with room.
    pub(crate) fn shared(&self, backend: BackendId) -> Option<Lane> {
        let mut shared = self.shared.borrow_mut();
        let connections = shared.get_mut(&backend)?;
        connections.retain_mut(SharedUpstream::is_alive);
        connections.iter().find(|connection| connection.has_room()).map(SharedUpstream::lane)
    }

    /// Shares a connection of HTTP/2.
    pub(crate) fn share(&self, backend: BackendId, connection: SharedUpstream) {
        self.shared.borrow_mut().entry(backend).or_default().push(connection);
    }

    /// Keeps an idle connection, unless `limit` are kept already.
    pub(crate) fn keep_idle(&self, backend: BackendId, upstream: Box<Upstream>, limit: usize) {
        let mut caches = self.caches.borrow_mut();
        let idle = caches.entry(backend).or_default();
        if idle.len() < limit {
            idle.push(upstream);
        }
    }

    /// Closes an idle connection, to whomever. False if there is none.
    pub(crate) fn close_any_idle(&self) -> bool {
        let idle = self.caches.borrow_mut().values_mut().find_map(Vec::pop);
        idle.is_some()
    }

    /// Closes every idle connection to a backend: one of them turned out to be dead.
    pub(crate) fn forget_idle(&self, backend: BackendId) {
        let idle = self.caches.borrow_mut().remove(&backend);
        drop(idle);
    }

    /// Enters a connection, or a stream on one, for the sweep; it leaves when the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>, client: Rc<Client>) -> Entered {
        if !client.is_stream() {
            self.load.fetch_add(1, Ordering::Relaxed);
        }
        Entered { key: self.clients.borrow_mut().insert(client), worker: self.clone() }
    }
}

/// An open connection's place among its worker's.
#[derive(Debug)]
pub(crate) struct Entered {
    worker: Rc<Worker>,
    key: usize,
}

impl Entered {
    /// The connection has been served. What is left is to be waited for, but nothing is lost if
    /// there is no time for it.
    pub(crate) fn linger(self) -> Lingering {
        let lingering = &self.worker.lingering;
        lingering.set(lingering.get() + 1);
        Lingering { worker: self.worker.clone() }
    }
}

/// A connection that has been served, and whose client may still be sending.
#[derive(Debug)]
pub(crate) struct Lingering {
    worker: Rc<Worker>,
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let lingering = &self.worker.lingering;
        lingering.set(lingering.get() - 1);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let client = self.worker.clients.borrow_mut().remove(self.key);
        if !client.is_stream() {
            self.worker.load.fetch_sub(1, Ordering::Relaxed);
        }
        drop(client);
    }
}
