//! One request's attempts to get an answer.
//!
//! A request that no backend has seen may be tried again, elsewhere if affinity permits. When is
//! that certain? When connecting failed; when an idle connection turned out to be closed before
//! anything was written; and, for requests that may be repeated anyway, when an idle connection
//! was closed without a single byte in answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::body::{Begun, Download, Lease, Progress, RequestBody};
use super::client::Client;
use super::destination::Destination;
use super::error::Problem;
use super::exchange::Stop;
use super::upstream::Upstream;
use super::watch::Side;
use super::{affinity, interim, replay, request};
use crate::balance::{Backend, BackendId, Hint, InFlight, Outcome, Placement, Unavailable};
use crate::http::framing::Refusal;

/// One request, and the state of its attempts.
pub(crate) struct Attempt<'a> {
    pub(crate) client: &'a Rc<Client>,
    pub(crate) destination: &'a Arc<Destination>,
    /// `None` while it is on its way.
    request: Option<Request<RequestBody>>,
    /// Of a body that streams.
    progress: Option<&'a Progress>,
    is_head: bool,
    is_idempotent: bool,
    /// Backends that could not be reached.
    tried: Vec<BackendId>,
    /// The idle connections have proved stale: only a new one will do.
    needs_new_connection: bool,
    /// What went wrong last.
    failure: String,
}

/// An answer's head, and what there is of its body.
pub(crate) enum Answered {
    /// An ordinary response.
    Plain(http::response::Parts, Begun),
    /// 101: the backend switches protocols.
    Switching(http::response::Parts, Lease),
}

/// What is known of a request that got no answer.
struct Failed {
    /// The connection had been used before, and gave no sign of life since.
    was_stale: bool,
    /// What the backend sent was not let through.
    refusal: Option<Refusal>,
    /// The request, if it may be sent once more although it was written.
    again: Option<Request<RequestBody>>,
}

/// What a backend's connection says about a request.
enum Turn {
    Answered(Answered),
    Failed(TrySendError<Request<RequestBody>>, Lease),
    Closed(Lease),
    TimedOut(Lease),
    ClientLeft,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        client: &'a Rc<Client>,
        destination: &'a Arc<Destination>,
        request: Request<RequestBody>,
        progress: Option<&'a Progress>,
    ) -> Self {
        Attempt {
            client,
            destination,
            is_head: *request.method() == Method::HEAD,
            is_idempotent: request::is_idempotent(request.method()),
            request: Some(request),
            progress,
            tried: Vec::new(),
            needs_new_connection: false,
            failure: String::new(),
        }
    }

    /// Where does the request go (next)?
    pub(crate) fn place(&mut self, hint: &Hint) -> Result<Placement, Problem> {
        if self.tried.len() >= self.destination.attempts {
            return Err(Problem::bad_gateway(std::mem::take(&mut self.failure)));
        }
        let worker = &self.client.worker;
        let mut rng = worker.rng.borrow_mut();
        let pool = &self.destination.pool;
        let placed = pool.place(hint, &self.tried, worker.now(), &mut *rng);
        match placed {
            Ok(placement) => {
                tracing::debug!(
                    pool = pool.name(),
                    backend = placement.backend.name(),
                    cause = placement.cause.as_str(),
                    reason = placement.cause.reason().map(tracing::field::display),
                    "placed"
                );
                Ok(placement)
            }
            Err(Unavailable::NoBackend) if !self.tried.is_empty() => {
                Err(Problem::bad_gateway(std::mem::take(&mut self.failure)))
            }
            Err(unavailable) => Err(Problem::unavailable(pool.name(), unavailable)),
        }
    }

    /// A connection to the backend, an idle one if there is any. `None` if it cannot be reached.
    pub(crate) async fn acquire(
        &mut self,
        backend: &Arc<Backend>,
    ) -> Result<Option<Box<Upstream>>, Stop> {
        let worker = &self.client.worker;
        if !self.needs_new_connection
            && let Some(upstream) = worker.take_idle(backend.id())
        {
            let is_rested = upstream.idle_since() != worker.tick();
            if is_rested && !self.is_idempotent {
                // This request cannot be sent twice, so let the reactor look first whether the
                // backend has closed the connection meanwhile.
                tokio::task::yield_now().await;
            }
            return Ok(Some(upstream));
        }
        let timeout = self.destination.timeouts.connect;
        let connect = tokio::time::timeout(timeout, Upstream::connect(backend.address()));
        let pool = &self.destination.pool;
        let error = match self.client.unless_left(connect).await.ok_or(Stop::Left)? {
            Ok(Ok(upstream)) => {
                pool.connect_succeeded(backend);
                return Ok(Some(upstream));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {timeout:?}"),
        };
        self.could_not_reach(backend, &error);
        Ok(None)
    }

    fn could_not_reach(&mut self, backend: &Backend, error: &str) {
        let pool = &self.destination.pool;
        tracing::warn!(pool = pool.name(), backend = backend.name(), error, "cannot connect");
        if let Some(transition) = pool.connect_failed(backend, self.client.worker.now()) {
            crate::observe::log_transition(pool, &transition, "connections fail");
        }
        self.failure = format!("{}/{}: {error}", pool.name(), backend.name());
        self.tried.push(backend.id());
    }

    /// Sends the request and waits for the head of the answer. `None` if nobody has seen the
    /// request, so that it may be tried again.
    pub(crate) async fn send(
        &mut self,
        placement: &Placement,
        mut upstream: Box<Upstream>,
        in_flight: InFlight,
    ) -> Result<Option<Answered>, Stop> {
        let Some(mut request) = self.request.take() else { return Err(Stop::Left) };
        affinity::tell_app(self.destination, placement.cause, request.headers_mut());
        request::set_host(request.headers_mut(), self.destination, placement.backend.address());
        let spare = self.spare(&upstream, request.body());
        upstream.wire().begin(self.is_head, spare.is_some());
        let mut answer = pin!(upstream.send(request));
        let destination = self.destination.clone();
        let mut lease =
            Some(Lease { upstream, in_flight, destination, client: self.client.clone() });
        let turn = poll_fn(|cx| self.poll_answer(&mut lease, answer.as_mut(), cx)).await;
        self.client.watch.clear(Side::Backend);
        let (error, lease) = match turn {
            Turn::Answered(answered) => return Ok(Some(answered)),
            Turn::Failed(error, lease) => (Some(error), lease),
            Turn::Closed(lease) => (None, lease),
            Turn::TimedOut(lease) => {
                lease.fail();
                return Err(Problem::gateway_timeout("no response head in time").into());
            }
            Turn::ClientLeft => return Err(Stop::Left),
        };
        if let Some(broken) = self.progress.and_then(|progress| progress.broken.get()) {
            return Err(broken.into());
        }
        let Lease { upstream, in_flight, .. } = lease;
        let again = match spare {
            Some(body) => replay::request(&upstream.wire().record.borrow(), body),
            None => None,
        };
        let failed = Failed {
            was_stale: upstream.is_reused() && !upstream.wire().has_answered.get(),
            refusal: upstream.wire().refusal.get(),
            again,
        };
        drop(upstream);
        // Dropping the connection has given back what it never wrote.
        let error = error.or_else(|| match answer.poll(&mut noop()) {
            Poll::Ready(Err(error)) => Some(error),
            _ => None,
        });
        self.failed(failed, error, in_flight)
    }

    /// What now? The request is kept for another attempt, or lost.
    fn failed(
        &mut self,
        failed: Failed,
        error: Option<TrySendError<Request<RequestBody>>>,
        in_flight: InFlight,
    ) -> Result<Option<Answered>, Stop> {
        let backend = in_flight.backend().clone();
        let (unsent, error) = match error {
            Some(mut error) => (error.take_message(), error.into_error().to_string()),
            None => (None, "the connection was closed".to_owned()),
        };
        let was_sent = unsent.is_none();
        if failed.was_stale && (!was_sent || failed.again.is_some()) {
            tracing::debug!(backend = backend.name(), error, "an idle connection was stale");
            self.needs_new_connection = true;
            self.client.worker.forget_idle(backend.id());
            self.request = unsent.or(failed.again);
            return Ok(None);
        }
        in_flight.finish(Outcome::Failure);
        if !was_sent {
            self.could_not_reach(&backend, &error);
            self.request = unsent;
            return Ok(None);
        }
        let error = failed.refusal.map_or(error, |refusal| refusal.as_str().to_owned());
        let pool = self.destination.pool.name();
        Err(Problem::bad_gateway(format!("{pool}/{}: {error}", backend.name())).into())
    }

    /// The body to send a second time, if this request may be repeated and may have to be.
    fn spare(&self, upstream: &Upstream, body: &RequestBody) -> Option<Option<Bytes>> {
        match body {
            RequestBody::Whole(body) if upstream.is_reused() && self.is_idempotent => {
                Some(body.clone())
            }
            _ => None,
        }
    }

    fn poll_answer(
        &self,
        lease: &mut Option<Lease>,
        answer: Pin<&mut impl Future<Output = super::upstream::Answer>>,
        cx: &mut Context<'_>,
    ) -> Poll<Turn> {
        let progress = self.progress;
        let Some(mut held) = lease.take() else { return Poll::Pending };
        let mut is_over = held.upstream.poll_drive(cx).is_ready();
        if interim::pass_on(self.client, held.upstream.wire(), progress) {
            is_over = held.upstream.poll_drive(cx).is_ready(); // the body may go now
        }
        // The answer comes from the connection just driven: there is nobody else to wake us.
        match answer.poll(&mut noop()) {
            Poll::Ready(Ok(response)) => {
                Poll::Ready(Turn::Answered(answered(response, held, progress, cx)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Turn::Failed(error, held)),
            Poll::Pending if is_over => Poll::Ready(Turn::Closed(held)),
            Poll::Pending if self.client.has_left() => Poll::Ready(Turn::ClientLeft),
            Poll::Pending if self.client.watch.has_fired(Side::Backend) => {
                Poll::Ready(Turn::TimedOut(held))
            }
            Poll::Pending => {
                if !progress.is_some_and(|progress| progress.waits_for_client.get()) {
                    let timeout = self.destination.timeouts.response_header;
                    let worker = &self.client.worker;
                    self.client.watch.ensure(Side::Backend, || worker.after(timeout));
                }
                *lease = Some(held);
                Poll::Pending
            }
        }
    }
}

fn answered(
    response: Response<Incoming>,
    lease: Lease,
    progress: Option<&Progress>,
    cx: &mut Context<'_>,
) -> Answered {
    let (head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Answered::Switching(head, lease);
    }
    let is_uploaded = progress.is_none_or(|progress| progress.is_complete.get());
    // A backend that speaks HTTP/1.0 might not understand how the next request is framed.
    let is_reusable = head.version == Version::HTTP_11;
    Answered::Plain(head, Download::begin(incoming, lease, is_reusable, is_uploaded, cx))
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
