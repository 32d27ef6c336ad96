//! A request's way over a connection that it shares: HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use h2::client::ResponseFuture;
use http::Response;
use tokio::task::JoinHandle;

use super::attempt::{Answered, Attempt, Turn};
use super::body::{self, Relay, RequestBody, ResponseBody};
use super::error::Problem;
use super::exchange::Stop;
use super::shared_upstream::{self, Lane};
use super::watch::Side;
use crate::balance::{InFlight, Placement};
use crate::clock;
use crate::http::affinity::SessionWord;
use crate::http::fields::STICKLER_AFFINITY;
use crate::http::response_head::{BodyFraming, ResponseHead};
use crate::observe::access_log::Phase;

impl Attempt<'_> {
    /// Sends the request and waits for the head of the answer. `None` if nobody has seen the
    /// request, so that it may be tried again.
    pub(super) async fn send_shared(
        &mut self,
        placement: &Placement,
        lane: Lane,
        mut in_flight: InFlight,
    ) -> Result<Option<Answered>, Stop> {
        let Lane { mut sender, place } = lane;
        self.finish_head(placement);
        let is_https = self.destination.transport.tls.is_some();
        let request = shared_upstream::request(&self.head, is_https);
        let request = request.ok_or_else(|| Problem::bad_gateway("no request for HTTP/2"))?;
        let ends = matches!(&self.body, RequestBody::Whole(body) if body.is_empty());
        let begun = match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => sender.send_request(request, ends),
            Err(error) => Err(error),
        };
        let (mut response, mut stream) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.shared_failed(&error, placement, in_flight, true),
        };
        let uploader = match &mut self.body {
            RequestBody::Whole(body) if body.is_empty() => None,
            RequestBody::Whole(body) => {
                // No more than the buffer of requests holds. An error shows in the answer.
                let _ = stream.send_data(body.clone(), true);
                None
            }
            body @ RequestBody::Streamed(_) => {
                if let Some(progress) = &self.progress {
                    progress.is_detached.set(true);
                    progress.is_wanted.set(true);
                }
                match std::mem::replace(body, RequestBody::Whole(Bytes::new())) {
                    RequestBody::Streamed(upload) => {
                        Some(body::upload(stream, upload, self.client))
                    }
                    RequestBody::Whole(_) => None,
                }
            }
        };
        let guard = Abort(uploader);
        let turn = poll_fn(|cx| self.poll_shared(&mut response, cx)).await;
        self.client.watch.clear(Side::Backend);
        match turn {
            Turn::Answered(response) => {
                self.client.record.answered();
                self.destination.pool.connect_succeeded(&placement.backend);
                if let Some(placed_at) = self.placed_at {
                    let now = clock::now();
                    in_flight.answered(now.since(placed_at), now);
                }
                let (head, stream) = response.into_parts();
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
                let relay = Relay::new(
                    self.client,
                    self.destination,
                    stream,
                    in_flight,
                    guard.keep(),
                    place,
                );
                Ok(Some(Answered::Relayed(head, ResponseBody::Relayed(Box::new(relay)))))
            }
            Turn::ClientBroke(broken) => {
                self.cancel(&mut in_flight);
                Err(broken.into())
            }
            Turn::TimedOut => {
                self.client.record.mark(Phase::Failed);
                self.fail(in_flight);
                Err(Problem::gateway_timeout("no response head in time").into())
            }
            Turn::Failed(error) => {
                // Of these the protocol says that nothing was done with the request.
                let is_unseen = error.reason() == Some(Reason::REFUSED_STREAM)
                    || (error.is_go_away() && error.is_remote());
                self.shared_failed(&error, placement, in_flight, is_unseen)
            }
        }
    }

    fn poll_shared(
        &self,
        response: &mut ResponseFuture,
        cx: &mut Context<'_>,
    ) -> Poll<Turn<Response<h2::RecvStream>, h2::Error>> {
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
