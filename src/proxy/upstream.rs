//! A connection to a backend, and HTTP/1.1 on it.
//!
//! There is no task behind it: whoever uses it drives it, so an answer costs one wake-up, and
//! dropping the connection cancels what is on it, at once. Nor has it buffers of its own while it
//! waits: bytes are read into one that all connections of a thread take turns with. What the bytes
//! mean is worked out by the pure [`response_head`] and [`BodyDecoder`].
//!
//! hyper's client would do the same with 10,000 instructions more a request: it talks to its user
//! through three channels, and keeps a 64 KiB buffer for every connection.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::upstream_socket::Socket;
use super::watch::Tick;
use super::worker::Worker;
use crate::http::body_decoder::{BodyDecoder, Decoded};
use crate::http::framing::Refusal;
use crate::http::response_head::{self, Parsed, ResponseHead};
use crate::observe::metrics::{Meter, Tally};

/// Bytes read at once: large bodies cost half as much CPU as with 8 KiB, small ones no more.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// Why a connection is of no more use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The backend closed it too early.
    Closed,
    /// The operating system says so.
    Io(io::Error),
    /// What the backend sent was not let through.
    Refused(Refusal),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Closed => f.write_str("the backend closed the connection too early"),
            Failure::Io(error) => error.fmt(f),
            Failure::Refused(refusal) => f.write_str(refusal.as_str()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

/// Is it we who are short of something, and not the backend that cannot be reached?
pub(crate) fn is_shortage_of_ours(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };

    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
        // The latter: all ports for connections to that address are taken.
        || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
}

/// A head that has arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// An interim one, cleaned.
    Interim(StatusCode, Vec<u8>),
    /// The response's.
    Final(ResponseHead),
}

/// A connection to a backend, in use or idle.
#[derive(Debug)]
pub(crate) struct Upstream {
    socket: Socket,
    /// What was read and not yet understood. Without capacity while there is nothing.
    input: BytesMut,
    worker: Rc<Worker>,
    /// What is counted about the backend.
    meter: Arc<Meter>,
    /// Has it served a request before? Then the backend may be closing it at this moment.
    is_reused: bool,
    /// Bytes of the current request were written.
    has_written: bool,
    /// Bytes of the current response have arrived.
    has_received: bool,
    /// When it was last put away.
    idle_since: Tick,
    /// When it may no longer be kept.
    expires: Tick,
}

impl Upstream {
    /// A connection on this socket. Boxed, since it goes from hand to hand with every request.
    pub(crate) fn of(socket: Socket, worker: &Rc<Worker>, meter: &Arc<Meter>) -> Box<Self> {
        Box::new(Upstream {
            socket,
            input: BytesMut::new(),
            worker: worker.clone(),
            meter: meter.clone(),
            is_reused: false,
            has_written: false,
            has_received: false,
            idle_since: 0,
            expires: 0,
        })
    }

    /// What is counted about the backend.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Has it served a request before?
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Have bytes of the current request been written?
    pub(crate) fn has_written(&self) -> bool {
        self.has_written
    }

    /// Have bytes of the current response arrived?
    pub(crate) fn has_received(&self) -> bool {
        self.has_received
    }

    /// When it was last put away.
    pub(crate) fn idle_since(&self) -> Tick {
        self.idle_since
    }

    /// Writes as much of `parts` as it can.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        let written = match parts {
            [only] => ready!(socket.poll_write(cx, only)),
            parts => ready!(socket.poll_write_vectored(cx, parts)),
        };
        match written {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(length) => {
                self.has_written = true;
                self.meter.add(Tally::Sent, length as u64);
                Poll::Ready(Ok(length))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The next head. `to_head`: the request's method is HEAD. `map` is used for the fields.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        to_head: bool,
        map: &mut HeaderMap,
    ) -> Poll<Result<Arrived, Failure>> {
        loop {
            if !self.input.is_empty() {
                let names = &mut *self.worker.names.borrow_mut();
                let copies = &mut *self.worker.copies.borrow_mut();
                match response_head::parse(&self.input, to_head, map, names, copies)? {
                    Parsed::Partial => {}
                    Parsed::Interim(status, length) => {
                        let clean = response_head::interim(&self.input[..length], status);
                        self.input.advance(length);
                        return Poll::Ready(Ok(Arrived::Interim(status, clean)));
                    }
                    Parsed::Final(head, length) => {
                        self.input.advance(length);
                        return Poll::Ready(Ok(Arrived::Final(head)));
                    }
                }
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// What there is of the body that `decoder` follows, without waiting.
    pub(crate) fn body_now(&mut self, decoder: &mut BodyDecoder) -> Result<Decoded, Failure> {
        Ok(decoder.decode(&mut self.input, &mut self.worker.copies.borrow_mut())?)
    }

    /// The next piece of the body that `decoder` follows.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut BodyDecoder,
    ) -> Poll<Result<Decoded, Failure>> {
        loop {
            match decoder.decode(&mut self.input, &mut self.worker.copies.borrow_mut())? {
                Decoded::Nothing => {}
                decoded => return Poll::Ready(Ok(decoded)),
            }
            match ready!(self.poll_fill(cx)) {
                Err(Failure::Closed) if decoder.may_end_here() => {
                    *decoder = BodyDecoder::Ended;
                    return Poll::Ready(Ok(Decoded::End));
                }
                filled => filled?,
            }
        }
    }

    /// Reads what there is, at least one byte.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.socket.push(cx)?;
        if self.input.capacity() == 0 {
            self.input = self.worker.take_buffer();
        }
        if self.input.capacity() - self.input.len() < READ_SIZE / 4 {
            self.input.reserve(READ_SIZE);
        }
        let read = pin!(self.socket.read_buf(&mut self.input)).poll(cx);
        if self.input.is_empty() {
            // While it waits it needs none.
            self.worker.give_buffer(std::mem::take(&mut self.input));
        }
        match ready!(read)? {
            0 => Poll::Ready(Err(Failure::Closed)),
            length => {
                self.has_received = true;
                self.meter.add(Tally::Received, length as u64);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Marks it as idle from `now` until `expires`. Not if the backend has said more than it was
    /// asked.
    pub(crate) fn put_away(&mut self, now: Tick, expires: Tick) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        self.worker.give_buffer(std::mem::take(&mut self.input));
        self.is_reused = true;
        self.has_written = false;
        self.has_received = false;
        self.idle_since = now;
        self.expires = expires;
        true
    }

    /// Has an idle connection grown old, or been closed by the backend?
    pub(crate) fn is_over(&mut self, now: Tick) -> bool {
        self.expires <= now || !self.is_alive()
    }

    /// Is an idle connection still good, as far as is known? Whatever there is to be read on it
    /// is an end, or an answer that nobody asked for.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// Lets a second task write while this one reads: both get the same socket.
    pub(crate) fn share(&mut self) -> Socket {
        let socket = std::mem::replace(&mut self.socket, Socket::Gone);
        let shared = match socket {
            Socket::Shared(shared) => shared,
            socket => Rc::new(RefCell::new(socket)),
        };
        self.socket = Socket::Shared(shared.clone());
        Socket::Shared(shared)
    }

    /// The socket, when HTTP has ended in an upgrade, and what was read of what follows.
    pub(crate) fn into_parts(self) -> (Socket, BytesMut) {
        (self.socket, self.input)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::future::poll_fn;
    use tokio::net::UnixStream;

    use super::*;
    use crate::balance::affinity::{Key, Keyring};
    use crate::config::{Http2, Limits};
    use crate::observe::Witness;
    use crate::proxy::destination::{ClientTicks, Site};
    use crate::proxy::request_id::RequestIds;
    use crate::routing::Table;

    fn worker() -> Rc<Worker> {
        let mut rng = StdRng::seed_from_u64(1);
        let site = Site {
            routes: Table::new([]),
            keyring: Keyring::new(&[Key::random(&mut rng)]),
            limits: Limits {
                header_bytes: 8192,
                header_count: 100,
                uri_length: 4096,
                body_bytes: 0,
                request_buffer: 0,
                min_rate: 0,
                requests_per_connection: 1,
            },
            timeouts: ClientTicks {
                request_header: 1,
                request_body: 1,
                response_write: 1,
                idle: 1,
            },
            underscores_in_headers: false,
            request_ids: RequestIds::Off,
            starts_traces: false,
            http2: Http2 {
                max_concurrent_streams: 1,
                stream_window: 65_535,
                connection_window: 65_535,
            },
            error_pages: Default::default(),
            guarded: Vec::new(),
            answers_authorities: false,
            tells_local_address: false,
            events: Arc::default(),
        };
        Worker::new(Arc::new(site), rng, Arc::default(), Witness::default())
    }

    #[tokio::test]
    async fn what_could_not_be_written_was_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let worker = worker();
        let meter = worker.witness.meters.unplaced(None);
        let mut upstream = Upstream::of(Socket::Unix(ours), &worker, &meter);
        let part = [io::IoSlice::new(b"GET / HTTP/1.1\r\n")];
        assert_eq!(poll_fn(|cx| upstream.poll_write(cx, &part)).await.unwrap(), 16);
        assert!(upstream.has_written());
        assert!(upstream.put_away(1, 2));
        drop(theirs);
        assert!(poll_fn(|cx| upstream.poll_write(cx, &part)).await.is_err());
        assert!(!upstream.has_written(), "nobody can have seen it");
    }
}
