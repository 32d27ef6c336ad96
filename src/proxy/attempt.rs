//! One request's attempts to get an answer.
//!
//! A request that no backend has seen may be tried again, elsewhere if affinity permits. When is
//! that certain? When connecting failed, or nothing could be written and nothing of a streamed body
//! has been taken; and, for requests that may be repeated anyway, when the connection was closed
//! without a single byte in answer.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::affinity;
use super::body::{
    Begun, Broken, Download, Lease, Progress, RequestBody, ResponseBody, SendError, Sending,
};
use super::client::Client;
use super::destination::Destination;
use super::error::Problem;
use super::exchange::{Payload, Stop};
use super::handling::Way;
use super::request::{self, Rewritten};
use super::shared_upstream::{Lane, SharedUpstream};
use super::upstream::{Arrived, Failure, Upstream, is_shortage_of_ours};
use super::upstream_socket::Socket;
use super::watch::{Side, ticks};
use crate::balance::queue::{Wait, Woken};
use crate::balance::{
    Ask, Backend, BackendId, Cause, Decision, Hint, InFlight, Outcome, Placement, Reason,
    Timestamp, Unavailable,
};
use crate::clock;
use crate::config::{BackendHttp2, HostPolicy};
use crate::http::body_decoder::BodyDecoder;
use crate::http::fields::Found;
use crate::http::framing::Refusal;
use crate::http::response_head::ResponseHead;
use crate::observe::access_log::Phase;
use crate::observe::metrics::{Meter, Tally};

/// When a session's home refuses a connection, it is asked once more after so long: it may just be
/// starting again, and a session that moves is lost.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Bytes of interim responses that wait for the client at most.
const MAX_OUTBOX: usize = 16 * 1024;

/// One request, ready to be sent, and the state of its attempts.
pub(crate) struct Attempt<'a> {
    pub(crate) client: &'a Rc<Client>,
    pub(crate) destination: &'a Arc<Destination>,
    /// The head, as bytes: what it has in common wherever it goes, then what the last attempt
    /// added.
    pub(super) head: Vec<u8>,
    /// Length of the common part.
    common: usize,
    pub(super) body: RequestBody,
    is_chunked: bool,
    /// Of a body that streams.
    pub(super) progress: Option<Rc<Progress>>,
    pub(super) is_head: bool,
    pub(super) is_idempotent: bool,
    /// The backend is to see another `Host` than the client sent.
    sets_host: bool,
    /// Backends that could not be reached.
    pub(super) tried: Vec<BackendId>,
    /// When it came.
    since: Timestamp,
    /// Why another pool has let its session go, if one has.
    let_go: Option<Reason>,
    /// When it was placed, if its backend's latency is of interest.
    pub(super) placed_at: Option<Timestamp>,
    /// The idle connections have proved stale: only a new one will do.
    pub(super) needs_new_connection: bool,
    /// The session's home has been asked a second time.
    has_insisted: bool,
    /// Interim responses so far.
    pub(super) interim_heads: usize,
    /// What went wrong last.
    pub(super) failure: String,
}

/// An answer's head, and what there is of its body.
pub(crate) enum Answered {
    /// An ordinary response.
    Plain(ResponseHead, Begun),
    /// One that came over a shared connection.
    Relayed(ResponseHead, ResponseBody),
    /// 101: the backend switches protocols. Boxed, since it is rare.
    Switching(ResponseHead, Box<Lease>),
}

/// A way to a backend.
pub(crate) enum Line {
    /// A connection that is this request's for now.
    Own(Box<Upstream>),
    /// A place on a connection that others use, too.
    Shared(Lane),
}

/// What a backend's connection says about a request.
pub(super) enum Turn<A, F> {
    Answered(A),
    Failed(F),
    ClientBroke(Broken),
    TimedOut,
}

impl<'a> Attempt<'a> {
    /// Prepares a request for its way.
    pub(crate) fn new(
        client: &'a Rc<Client>,
        way: &Way<'a>,
        head: &Parts,
        payload: Payload,
    ) -> (Self, Rewritten) {
        let mut bytes = client.worker.take_head();
        let Payload { body, progress } = payload;
        let fields = &client.fields.borrow();
        let found = fields.found();
        let (destination, is_here) = (way.destination, progress.is_none());
        let rewritten = request::write(&mut bytes, head, fields, client, way, is_here);
        if let Some(retry) = &destination.retry {
            retry.budget.deposit();
            if let Some(progress) = &progress {
                progress.keep(client.worker.site().limits.request_buffer);
            }
        }
        let attempt = Attempt {
            client,
            destination,
            common: bytes.len(),
            head: bytes,
            body,
            is_chunked: found.has(Found::TRANSFER_ENCODING),
            progress,
            is_head: head.method == Method::HEAD,
            is_idempotent: request::is_idempotent(&head.method),
            sets_host: destination.host != HostPolicy::Client || !found.has(Found::HOST),
            tried: Vec::new(),
            since: client.worker.now(),
            let_go: way.known.let_go(),
            placed_at: None,
            needs_new_connection: false,
            has_insisted: false,
            interim_heads: 0,
            failure: String::new(),
        };
        (attempt, rewritten)
    }

    /// Where does the request go (next)? It is in flight there from now on.
    pub(crate) async fn place(&mut self, hint: Hint) -> Result<(Placement, InFlight), Stop> {
        loop {
            let placed = match self.decide(hint)? {
                Decision::Place(placement, in_flight) => Some((placement, in_flight)),
                // Boxed, since it is rare, and every exchange would have room for it.
                Decision::Wait(wait) => Box::pin(self.wait(wait)).await?,
            };
            let Some((placement, in_flight)) = placed else { continue };
            tracing::debug!(
                request = %self.client.record.id(self.client),
                pool = self.destination.pool.name(),
                backend = placement.backend.name(),
                cause = placement.cause.as_str(),
                reason = placement.cause.reason().map(tracing::field::display),
                "placed"
            );
            if self.destination.wants_latency {
                self.placed_at = Some(clock::now());
            }
            return Ok((placement, in_flight));
        }
    }

    fn decide(&self, hint: Hint) -> Result<Decision, Problem> {
        if self.tried.len() >= self.destination.attempts {
            return Err(Problem::bad_gateway(&self.failure));
        }
        let worker = &self.client.worker;
        let pool = &self.destination.pool;
        let (tried, since, let_go) = (&self.tried, self.since, self.let_go);
        let ask = Ask { hint, tried, since, let_go };
        match pool.place(&ask, worker.now(), &mut *worker.rng.borrow_mut()) {
            Ok(decision) => Ok(decision),
            Err(Unavailable::NoBackend) if !self.tried.is_empty() => {
                Err(Problem::bad_gateway(&self.failure))
            }
            Err(unavailable) => {
                self.client.record.note_pool(pool);
                Err(Problem::unavailable(pool.name(), unavailable))
            }
        }
    }

    /// Waits for a place. `None` if it is time to ask again.
    async fn wait(&mut self, mut wait: Wait) -> Result<Option<(Placement, InFlight)>, Stop> {
        let client = self.client;
        tracing::debug!(pool = self.destination.pool.name(), "waits for a backend");
        client.record.note_pool(&self.destination.pool);
        let patience = wait.deadline().since(client.worker.now());
        client.watch.set(Side::Backend, client.worker.tick().saturating_add(ticks(patience)));
        let woken = poll_fn(|cx| match wait.poll(cx) {
            Poll::Ready(woken) => Poll::Ready(Some(woken)),
            Poll::Pending if client.watch.has_fired(Side::Backend) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let woken = client.unless_left(woken).await;
        client.watch.clear(Side::Backend);
        client.record.mark(Phase::Queue);
        match woken.ok_or(Stop::Left)? {
            Some(Woken::Placed(placement, mut in_flight)) => {
                let (pool, now) = (&self.destination.pool, client.worker.now());
                let mut rng = client.worker.rng.borrow_mut();
                pool.cast_shadow(&placement, &mut in_flight, now, &mut *rng);
                Ok(Some((placement, in_flight)))
            }
            Some(Woken::Changed) => Ok(None),
            None => {
                self.tried.clear();
                Ok(None)
            }
        }
    }

    /// The backend has failed this request, in the phase that has just ended.
    pub(crate) fn fail(&self, mut in_flight: InFlight) {
        in_flight.took(self.client.record.in_flight());
        match self.placed_at {
            None => in_flight.finish(Outcome::Failure),
            Some(placed_at) => {
                let now = clock::now();
                in_flight.failed(now.since(placed_at), now);
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn cancel(&self, in_flight: &mut InFlight) {
        self.client.record.mark(Phase::Head);
        in_flight.took(self.client.record.in_flight());
    }

    /// A connection to the backend, an idle one if there is any. `None` if it cannot be reached.
    pub(crate) async fn acquire(&mut self, placement: &Placement) -> Result<Option<Line>, Stop> {
        let backend = &placement.backend;
        let worker = &self.client.worker;
        let record = &self.client.record;
        while !self.needs_new_connection
            && let Some(mut upstream) = self.take_idle(backend)
        {
            if !self.is_idempotent && upstream.idle_since() != worker.tick() {
                // This request cannot be sent twice, so let the reactor look first whether the
                // backend has closed the connection meanwhile.
                tokio::task::yield_now().await;
            }
            if upstream.is_alive() {
                record.attempt(upstream.meter(), placement.cause);
                record.count(Tally::Reused);
                return Ok(Some(Line::Own(upstream)));
            }
        }
        let timeout = self.destination.timeouts.connect;
        let pool = &self.destination.pool;
        let meter = worker.witness.meters.backend(pool, backend);
        record.attempt(&meter, placement.cause);
        if self.destination.transport.http2 != BackendHttp2::No
            && !self.needs_new_connection
            && let Some(lane) = worker.shared(self.destination.transport.line_to(backend))
        {
            record.count(Tally::Reused);
            return Ok(Some(Line::Shared(lane)));
        }
        let error = loop {
            // Boxed, since it is large, and most requests find an idle connection.
            let connect = Box::pin(self.connect(backend, &meter));
            let connect = tokio::time::timeout(timeout, connect);
            let connected = self.client.unless_left(connect).await.ok_or(Stop::Left)?;
            record.mark(Phase::Connect);
            let tally =
                if matches!(connected, Ok(Ok(_))) { Tally::Opened } else { Tally::ConnectFailures };
            record.count(tally);
            match connected {
                Ok(Ok(line)) => return Ok(Some(line)),
                // No fault of the backend's. What an idle connection to another one occupies may
                // be all that is missing.
                Ok(Err(error)) if is_shortage_of_ours(&error) => {
                    if !worker.close_any_idle() {
                        let detail = format!("{}/{}: {error}", pool.name(), backend.name());
                        return Err(Problem::shortage(detail).into());
                    }
                }
                Ok(Err(_)) if is_home(placement.cause) && !self.has_insisted => {
                    self.has_insisted = true;
                    let pause = Box::pin(tokio::time::sleep(ASK_AGAIN));
                    self.client.unless_left(pause).await.ok_or(Stop::Left)?;
                }
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break format!("no connection within {timeout:?}"),
            }
        };
        self.could_not_reach(backend, &error);
        Ok(None)
    }

    /// An idle connection to a backend. One that began with whom it is from is that client's.
    fn take_idle(&self, backend: &Backend) -> Option<Box<Upstream>> {
        let backend = self.destination.transport.line_to(backend);
        match self.destination.transport.proxy_protocol {
            None => self.client.worker.take_idle(backend),
            Some(_) => self.client.take_own(backend),
        }
    }

    async fn connect(&self, backend: &Backend, meter: &Arc<Meter>) -> io::Result<Line> {
        let from_to = (self.client.address, self.client.local);
        let transport = &self.destination.transport;
        let socket = Socket::connect(backend.address(), transport, from_to).await?;
        let worker = &self.client.worker;
        let is_http2 = match transport.http2 {
            BackendHttp2::No => false,
            BackendHttp2::Yes => true,
            BackendHttp2::Auto => socket.agrees_on_http2(),
        };
        if !is_http2 {
            return Ok(Line::Own(Upstream::of(socket, worker, meter)));
        }
        let patience = self.destination.timeouts.idle;
        let shared = SharedUpstream::begin(socket, meter, worker.tick(), patience).await?;
        let lane = shared.lane();
        worker.share(transport.line_to(backend), shared);
        Ok(Line::Shared(lane))
    }

    pub(super) fn could_not_reach(&mut self, backend: &Backend, error: &str) {
        let pool = &self.destination.pool;
        let (now, site) = (self.client.worker.now(), self.client.worker.site());
        site.events.unreachable(pool, backend, error, now);
        if let Some(transition) = pool.connect_failed(backend, now) {
            site.events.transition(pool, &transition, "connections fail", now);
        }
        self.failure = format!("{}/{}: {error}", pool.name(), backend.name());
        self.tried.push(backend.id());
    }

    /// Sends the request and waits for the head of the answer. `None` if nobody has seen the
    /// request, so that it may be tried again. `map` is used for the answer's fields.
    pub(crate) async fn send(
        &mut self,
        placement: &Placement,
        line: Line,
        in_flight: InFlight,
        map: &mut HeaderMap,
    ) -> Result<Option<Answered>, Stop> {
        let mut upstream = match line {
            Line::Own(upstream) => upstream,
            // Boxed, since it is large, and most go the other way.
            Line::Shared(lane) => {
                return Box::pin(self.send_shared(placement, lane, in_flight)).await;
            }
        };
        self.finish_head(placement);
        let mut sending = Sending::new(self.is_chunked);
        let turn = poll_fn(|cx| self.poll_answer(&mut upstream, &mut sending, map, cx)).await;
        self.client.watch.clear(Side::Backend);
        match turn {
            Turn::Answered(head) => {
                self.client.record.answered();
                // Not when a connection was made: some that accept connections serve nobody.
                self.destination.pool.connect_succeeded(&placement.backend);
                if let Some(placed_at) = self.placed_at {
                    let now = clock::now();
                    in_flight.answered(now.since(placed_at), now);
                }
                let client = self.client.clone();
                let destination = self.destination.clone();
                let lease = Lease { upstream, in_flight, destination, client };
                self.answered(head, &placement.backend, lease, sending).map(Some)
            }
            Turn::ClientBroke(broken) => Err(self.broke(broken, in_flight)),
            Turn::TimedOut => Err(self.timed_out(in_flight)),
            Turn::Failed(failure) => self.failed(&failure, &upstream, in_flight),
        }
    }

    /// The client has broken its request off.
    pub(super) fn broke(&self, broken: Broken, mut in_flight: InFlight) -> Stop {
        self.cancel(&mut in_flight);
        broken.into()
    }

    /// The backend has not answered in time.
    pub(super) fn timed_out(&self, in_flight: InFlight) -> Stop {
        self.client.record.mark(Phase::Failed);
        self.fail(in_flight);
        Problem::gateway_timeout("no response head in time").into()
    }

    /// Adds to the head what depends on where it goes.
    pub(super) fn finish_head(&mut self, placement: &Placement) {
        self.head.truncate(self.common);
        if self.sets_host {
            request::write_host(&mut self.head, self.destination, placement.backend.address());
        }
        affinity::tell_app(&self.destination.pool, placement.cause, &mut self.head);
        self.head.extend_from_slice(b"\r\n");
    }

    fn poll_answer(
        &mut self,
        upstream: &mut Upstream,
        sending: &mut Sending,
        map: &mut HeaderMap,
        cx: &mut Context<'_>,
    ) -> Poll<Turn<ResponseHead, Failure>> {
        let mut failure = None;
        loop {
            if !sending.is_done() {
                match sending.poll(upstream, &self.head, &mut self.body, cx) {
                    Poll::Ready(Err(SendError::Client(broken))) => {
                        return Poll::Ready(Turn::ClientBroke(broken));
                    }
                    Poll::Ready(Err(SendError::Backend(error))) => {
                        // It may have answered before it closed.
                        sending.stop();
                        failure = Some(error);
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if self.client.outbox.borrow().len() > MAX_OUTBOX {
                break; // the client does not take what there is
            }
            match upstream.poll_head(cx, self.is_head, map) {
                Poll::Ready(Ok(Arrived::Final(head))) => return Poll::Ready(Turn::Answered(head)),
                Poll::Ready(Ok(Arrived::Interim(..))) if self.has_had_enough() => {
                    let failure = Failure::Refused(Refusal::TooManyInterim);
                    return Poll::Ready(Turn::Failed(failure));
                }
                Poll::Ready(Ok(Arrived::Interim(status, head))) => self.interim(status, &head),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Turn::Failed(failure.unwrap_or(error)));
                }
                Poll::Pending => break,
            }
        }
        self.poll_patience()
    }

    /// There is no answer yet: is it still to be waited for?
    pub(super) fn poll_patience<A, F>(&self) -> Poll<Turn<A, F>> {
        if self.client.has_left() {
            return Poll::Ready(Turn::ClientBroke(Broken::Client));
        }
        if self.client.watch.has_fired(Side::Backend) {
            return Poll::Ready(Turn::TimedOut);
        }
        if !self.progress.as_ref().is_some_and(|progress| progress.waits_for_client.get()) {
            let timeout = self.destination.timeouts.response_header;
            let worker = &self.client.worker;
            self.client.watch.ensure(Side::Backend, || worker.after(timeout));
        }
        Poll::Pending
    }

    fn answered(
        &mut self,
        head: ResponseHead,
        backend: &Backend,
        mut lease: Lease,
        mut sending: Sending,
    ) -> Result<Answered, Stop> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if sending.is_done() && !sending.is_cut() {
                return Ok(Answered::Switching(head, Box::new(lease)));
            }
            // RFC 9110, 7.8: it comes after the request. The rest of that would enter the tunnel.
            lease.fail();
            return Err(self.bad_gateway(backend, &"an upgrade before the request's end").into());
        }
        let keeps_alive = head.keeps_alive && !sending.is_cut();
        let uploader = if sending.is_done() {
            None
        } else {
            // The backend answers while the request is still being sent. What is left goes on by
            // itself, over the same socket.
            let socket = lease.upstream.share();
            let mut writer = Upstream::of(socket, &self.client.worker, lease.upstream.meter());
            let mut body =
                std::mem::replace(&mut self.body, RequestBody::Whole(Default::default()));
            let head = std::mem::take(&mut self.head);
            if let Some(progress) = &self.progress {
                progress.is_detached.set(true);
            }
            let client = self.client.clone();
            Some(tokio::task::spawn_local(async move {
                let sent = poll_fn(|cx| {
                    client.watch.attach_uploader(cx.waker());
                    sending.poll(&mut writer, &head, &mut body, cx)
                });
                if let Err(SendError::Client(broken)) = sent.await {
                    client.upload_broke.set(Some(broken));
                    client.watch.wake();
                }
            }))
        };
        let decoder = BodyDecoder::new(head.body);
        let begun = Download::begin(decoder, lease, keeps_alive, uploader);
        let begun = begun.map_err(|failure| self.bad_gateway(backend, &failure))?;
        Ok(Answered::Plain(head, begun))
    }

    /// What now? The request is kept for another attempt, or lost.
    fn failed(
        &mut self,
        failure: &Failure,
        upstream: &Upstream,
        mut in_flight: InFlight,
    ) -> Result<Option<Answered>, Stop> {
        self.client.record.mark(Phase::Failed);
        in_flight.took(self.client.record.in_flight());
        let backend = in_flight.backend().clone();
        let is_whole = matches!(self.body, RequestBody::Whole(_));
        // A piece of a body that streams is gone once it has been taken, written or not.
        let is_intact =
            is_whole || self.progress.as_ref().is_none_or(|progress| !progress.has_begun.get());
        let is_unseen = is_intact && !upstream.has_written();
        let may_repeat = is_unseen || (self.is_idempotent && is_whole);
        if upstream.is_reused() && !upstream.has_received() && may_repeat {
            tracing::debug!(backend = backend.name(), %failure, "an idle connection was stale");
            self.needs_new_connection = true;
            self.client.worker.forget_idle(self.destination.transport.line_to(&backend));
            return Ok(None);
        }
        self.fail(in_flight);
        // What may be repeated may be so elsewhere as well.
        if is_unseen || (may_repeat && !upstream.has_received()) {
            self.could_not_reach(&backend, &failure.to_string());
            return Ok(None);
        }
        Err(self.bad_gateway(&backend, failure).into())
    }

    pub(super) fn bad_gateway(&self, backend: &Backend, failure: &dyn fmt::Display) -> Problem {
        let pool = self.destination.pool.name();
        Problem::bad_gateway(format!("{pool}/{}: {failure}", backend.name()))
    }
}

/// Does a request go where its session lives?
pub(super) fn is_home(cause: Cause) -> bool {
    matches!(cause, Cause::Bound | Cause::Keyed)
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.client.worker.give_head(std::mem::take(&mut self.head));
    }
}
