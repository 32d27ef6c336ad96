//! A request's way over a connection that it shares: HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT};
use http::{Response, StatusCode};
use tokio::task::JoinHandle;

use super::attempt::{Answered, Attempt, Turn, is_home};
use super::body::{self, Lease, Relay, RequestBody, ResponseBody};
use super::error::Problem;
use super::exchange::Stop;
use super::shared_upstream::{self, Lane, Translated};
use super::stream_io::StreamIo;
use super::upstream::Upstream;
use super::upstream_socket::Socket;
use super::watch::Side;
use super::websocket;
use crate::balance::{Backend, BackendState, InFlight, Placement};
use crate::clock;
use crate::http::affinity::SessionWord;
use crate::http::fields::STICKLER_AFFINITY;
use crate::http::request_head::field;
use crate::http::response_head::{self, BodyFraming, ResponseHead};
use crate::observe::access_log::Phase;

/// How a call of gRPC went.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Attempt<'_> {
    /// Sends the request and waits for the head of the answer. `None` if nobody has seen the
    /// request, so that it may be tried again.
    pub(super) async fn send_shared(
        &mut self,
        placement: &Placement,
        lane: Lane,
        in_flight: InFlight,
    ) -> Result<Option<Answered>, Stop> {
        self.finish_head(placement);
        let is_https = self.destination.transport.tls.is_some();
        let translated = shared_upstream::request(&self.head, is_https);
        let translated = translated.ok_or_else(|| Problem::bad_gateway("no request for HTTP/2"))?;
        let Translated { request, websocket_key } = translated;
        if websocket_key.is_some() && !self.takes_tunnels(&lane).await? {
            let why = "it takes no WebSockets over HTTP/2";
            return Err(self.bad_gateway(&placement.backend, &why).into());
        }
        let Lane { mut sender, place, .. } = lane;
        let has_body = !matches!(&self.body, RequestBody::Whole(body) if body.is_empty());
        let ends = !has_body && websocket_key.is_none();
        let begun = match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => sender.send_request(request, ends),
            Err(error) => Err(error),
        };
        let (mut response, stream) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.shared_failed(&error, placement, in_flight, true),
        };
        let (guard, stream) = match has_body {
            true => (Abort(self.send_body(stream)), None),
            false => (Abort(None), Some(stream)),
        };
        let turn = poll_fn(|cx| self.poll_shared(&mut response, cx)).await;
        self.client.watch.clear(Side::Backend);
        match turn {
            Turn::Answered(response) => {
                self.destination.pool.connect_succeeded(&placement.backend);
                if let (true, Some(status)) =
                    (response.body().is_end_stream(), response.headers().get(GRPC_STATUS))
                    && self.may_go_elsewhere(placement, status)
                {
                    self.client.record.mark(Phase::Failed);
                    self.fail(in_flight);
                    return Ok(None);
                }
                self.client.record.answered();
                if let Some(placed_at) = self.placed_at {
                    let now = clock::now();
                    in_flight.answered(now.since(placed_at), now);
                }
                let (head, body) = shared_head(response);
                if let (Some(key), Some(stream), true) =
                    (websocket_key, stream, head.status.is_success())
                {
                    let stream = StreamIo::new(stream, body, Some(place));
                    return Ok(Some(self.opened(head, &key, stream, in_flight)));
                }
                let (client, destination) = (self.client, self.destination);
                let relay = Relay::new(client, destination, body, in_flight, guard.keep(), place);
                Ok(Some(Answered::Relayed(head, ResponseBody::Relayed(Box::new(relay)))))
            }
            Turn::ClientBroke(broken) => Err(self.broke(broken, in_flight)),
            Turn::TimedOut => Err(self.timed_out(in_flight)),
            Turn::Failed(error) => {
                // Of these the protocol says that nothing was done with the request.
                let is_unseen = error.reason() == Some(Reason::REFUSED_STREAM)
                    || (error.is_go_away() && error.is_remote());
                self.shared_failed(&error, placement, in_flight, is_unseen)
            }
        }
    }

    /// The backend has answered with nothing but a status of gRPC that sends the call elsewhere. Is
    /// there somewhere else, and is all of it there to be sent again? Not from where a session is
    /// at home.
    fn may_go_elsewhere(&mut self, placement: &Placement, status: &HeaderValue) -> bool {
        let Some(retry) = &self.destination.retry else { return false };
        let backend = &placement.backend;
        let is_other = |other: &Arc<Backend>| {
            other.id() != backend.id()
                && !self.tried.contains(&other.id())
                && other.state() == BackendState::Ready
        };
        if !retry.is_for(status)
            || is_home(placement.cause)
            || self.tried.len() + 1 >= self.destination.attempts
            || !self.destination.pool.backends().iter().any(is_other)
        {
            return false;
        }
        let kept = self.progress.as_ref().map(|progress| progress.kept());
        match (kept, &self.body) {
            (Some(None), _) | (None, RequestBody::Streamed(_)) => return false,
            (Some(Some(kept)), _) if retry.budget.withdraw() => {
                self.body = RequestBody::Whole(kept);
                self.progress = None;
            }
            (None, RequestBody::Whole(_)) if retry.budget.withdraw() => {}
            _ => return false,
        }
        let pool = self.destination.pool.name();
        self.failure = format!("{pool}/{}: gRPC status {status:?}", backend.name());
        self.tried.push(backend.id());
        true
    }

    /// Does the backend take WebSockets? It has as long to say so as for a connection.
    async fn takes_tunnels(&self, lane: &Lane) -> Result<bool, Stop> {
        let says = tokio::time::timeout(self.destination.timeouts.connect, lane.takes_tunnels());
        let says = self.client.unless_left(Box::pin(says)).await.ok_or(Stop::Left)?;
        Ok(says.unwrap_or(false))
    }

    /// Sends the body. One that streams goes on by itself.
    fn send_body(&mut self, mut stream: SendStream<Bytes>) -> Option<JoinHandle<()>> {
        match std::mem::replace(&mut self.body, RequestBody::Whole(Bytes::new())) {
            RequestBody::Whole(body) => {
                // No more than the buffer of requests holds. An error shows in the answer.
                let _ = stream.send_data(body.clone(), true);
                self.body = RequestBody::Whole(body);
                None
            }
            RequestBody::Streamed(upload) => {
                if let Some(progress) = &self.progress {
                    progress.is_detached.set(true);
                    progress.is_wanted.set(true);
                }
                Some(body::upload(stream, upload, self.client))
            }
        }
    }

    /// A WebSocket's stream is open: what HTTP/1.1 would say then.
    fn opened(
        &self,
        mut head: ResponseHead,
        key: &HeaderValue,
        stream: StreamIo,
        in_flight: InFlight,
    ) -> Answered {
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        head.upgrade = Some(HeaderValue::from_static("websocket"));
        if let Some(accept) = websocket::accept(key.as_bytes()) {
            head.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        let (worker, pool) = (&self.client.worker, &self.destination.pool);
        let meter = worker.witness.meters.backend(pool, in_flight.backend());
        let upstream = Upstream::of(Socket::Stream(Box::new(stream)), worker, &meter);
        let (destination, client) = (self.destination.clone(), self.client.clone());
        Answered::Switching(head, Box::new(Lease { upstream, in_flight, destination, client }))
    }

    /// Passes on what came before the answer. False if that is too much.
    fn pass_interim(&mut self, response: &mut ResponseFuture, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            if self.has_had_enough() {
                return false;
            }
            let (head, ()) = interim.into_parts();
            let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
            for (name, value) in &head.headers {
                field(&mut bytes, name.as_str(), value.as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            self.interim(head.status, &response_head::interim(&bytes, head.status));
        }
        true
    }

    fn poll_shared(
        &mut self,
        response: &mut ResponseFuture,
        cx: &mut Context<'_>,
    ) -> Poll<Turn<Response<RecvStream>, h2::Error>> {
        if !self.pass_interim(response, cx) {
            return Poll::Ready(Turn::Failed(Reason::ENHANCE_YOUR_CALM.into()));
        }
        match Pin::new(response).poll(cx) {
            Poll::Ready(Ok(response)) => return Poll::Ready(Turn::Answered(response)),
            Poll::Ready(Err(error)) => return Poll::Ready(Turn::Failed(error)),
            Poll::Pending => {}
        }
        if let Some(broken) = self.client.upload_broke.take() {
            return Poll::Ready(Turn::ClientBroke(broken));
        }
        self.poll_patience()
    }

    /// What now? The request is kept for another attempt, or lost.
    fn shared_failed(
        &mut self,
        error: &h2::Error,
        placement: &Placement,
        mut in_flight: InFlight,
        is_unseen: bool,
    ) -> Result<Option<Answered>, Stop> {
        self.client.record.mark(Phase::Failed);
        in_flight.took(self.client.record.in_flight());
        let is_intact = self.progress.as_ref().is_none_or(|progress| !progress.has_begun.get())
            && !self.progress.as_ref().is_some_and(|progress| progress.is_detached.get());
        if is_intact && is_unseen && !self.needs_new_connection {
            // The connection was about to end; a new one, to the same backend, may do.
            self.needs_new_connection = true;
            return Ok(None);
        }
        self.fail(in_flight);
        if is_intact && (is_unseen || (self.is_idempotent && error.is_io())) {
            self.could_not_reach(&placement.backend, &error.to_string());
            return Ok(None);
        }
        Err(self.bad_gateway(&placement.backend, error).into())
    }
}

/// A response's head as HTTP/1.1 has it, and its body.
fn shared_head(response: Response<RecvStream>) -> (ResponseHead, RecvStream) {
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    let mut word = SessionWord::default();
    let said = headers.get_all(STICKLER_AFFINITY);
    said.iter().for_each(|value| word.hear(value.as_bytes()));
    headers.remove(STICKLER_AFFINITY);
    let head = ResponseHead {
        status: head.status,
        reason: None,
        headers,
        body: BodyFraming::None,
        keeps_alive: true,
        upgrade: None,
        word,
    };
    (head, body)
}

/// Ends an upload with its exchange, unless a response has taken it over.
struct Abort(Option<JoinHandle<()>>);

impl Abort {
    fn keep(mut self) -> Option<JoinHandle<()>> {
        self.0.take()
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(uploader) = &self.0 {
            uploader.abort();
        }
    }
}
