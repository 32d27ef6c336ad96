//! A response's body on its way from the backend, and the connection that it comes over.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::Broken;
use crate::balance::{InFlight, Outcome};
use crate::http::body_decoder::{BodyDecoder, Decoded};
use crate::observe::access_log::Phase;
use crate::proxy::client::Client;
use crate::proxy::destination::Destination;
use crate::proxy::upstream::{Failure, Upstream};
use crate::proxy::watch::Side;

/// Chunks that arrive together go out together, up to so many bytes.
const GATHERED: usize = 16 * 1024;

/// A backend's connection while a request is in flight on it. Dropping it closes the connection,
/// which cancels the request; [`Lease::end`] puts it away for the next one.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) upstream: Box<Upstream>,
    pub(crate) in_flight: InFlight,
    pub(crate) destination: Arc<Destination>,
    pub(crate) client: Rc<Client>,
}

impl Lease {
    /// The whole response has arrived.
    fn end(self, is_reusable: bool) {
        let Lease { mut upstream, mut in_flight, destination, client } = self;
        let backend = destination.transport.line_to(in_flight.backend());
        in_flight.took(client.record.in_flight());
        in_flight.finish(Outcome::Success);
        let worker = &client.worker;
        if is_reusable && upstream.put_away(worker.tick(), worker.after(destination.timeouts.idle))
        {
            match destination.transport.proxy_protocol {
                None => worker.keep_idle(backend, upstream, destination.max_idle_connections),
                Some(_) => client.keep_own(backend, upstream),
            }
        }
    }

    /// The request failed, and that is the backend's fault.
    pub(crate) fn fail(mut self) {
        self.in_flight.took(self.client.record.in_flight());
        self.in_flight.finish(Outcome::Failure);
    }

    /// The rest of the response is of no use to anybody.
    fn give_up(mut self) {
        self.in_flight.took(self.client.record.in_flight());
    }
}

/// A response's body on its way from the backend.
#[derive(Debug)]
pub(crate) struct Download {
    client: Rc<Client>,
    /// `None` when the response has ended, or was given up.
    lease: Option<Lease>,
    decoder: BodyDecoder,
    /// What had arrived with the head.
    arrived: Arrived,
    /// May the connection be used again after this?
    is_reusable: bool,
    /// Sends the rest of the request meanwhile: it must go on even while the client takes nothing
    /// of the response.
    uploader: Option<JoinHandle<()>>,
}

/// What had arrived with the head, and has not been passed on.
#[derive(Debug)]
struct Arrived {
    first: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// What a look at the body right after the head has found.
#[derive(Debug)]
pub(crate) enum Begun {
    /// All of it has arrived.
    Whole(Option<Bytes>),
    /// There is more to come.
    More(Box<Download>),
}

impl Download {
    /// Takes what has arrived together with the head. Nearly every small response is complete by
    /// now and needs no body that streams; a chunked one then goes out with its end in the same
    /// write. Never waits.
    pub(crate) fn begin(
        mut decoder: BodyDecoder,
        mut lease: Lease,
        is_reusable: bool,
        uploader: Option<JoinHandle<()>>,
    ) -> Result<Begun, Failure> {
        let mut first = None;
        let mut trailers = None;
        while !decoder.is_ended() {
            match lease.upstream.body_now(&mut decoder) {
                Ok(Decoded::Data(data)) => first = Some(joined(first, data)),
                Ok(Decoded::Trailers(map)) => trailers = Some(map),
                Ok(Decoded::Nothing | Decoded::End) => break,
                Err(failure) => {
                    stop(uploader);
                    lease.fail();
                    return Err(failure);
                }
            }
            if first.as_ref().is_some_and(|first: &Bytes| first.len() > GATHERED) {
                break;
            }
        }
        if decoder.is_ended() && trailers.is_none() {
            lease.end(is_reusable && uploader.is_none());
            stop(uploader);
            return Ok(Begun::Whole(first));
        }
        let client = lease.client.clone();
        let lease = Some(lease);
        let arrived = Arrived { first, trailers };
        let mut download = Download { client, lease, decoder, arrived, is_reusable, uploader };
        if download.decoder.is_ended() {
            download.end();
        }
        Ok(Begun::More(Box::new(download)))
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(first) = self.arrived.first.take() {
            self.client.record.note_sent(first.len());
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(trailers) = self.arrived.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
        match lease.upstream.poll_body(cx, &mut self.decoder) {
            Poll::Ready(Ok(decoded)) => {
                self.client.watch.clear(Side::Backend);
                if self.decoder.is_ended() {
                    self.end();
                }
                Poll::Ready(match decoded {
                    Decoded::Data(data) => {
                        self.client.record.note_sent(data.len());
                        Some(Ok(Frame::data(data)))
                    }
                    Decoded::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
                    Decoded::Nothing | Decoded::End => None,
                })
            }
            Poll::Ready(Err(failure)) => {
                Poll::Ready(Some(Err(self.give_up(Broken::Backend, Some(failure)))))
            }
            Poll::Pending if self.client.has_left() => {
                Poll::Ready(Some(Err(self.give_up(Broken::Client, None))))
            }
            Poll::Pending if self.client.watch.has_fired(Side::Backend) => {
                Poll::Ready(Some(Err(self.give_up(Broken::BackendStalled, None))))
            }
            Poll::Pending => {
                if let Some(broken) = self.client.upload_broke.take() {
                    return Poll::Ready(Some(Err(self.give_up(broken, None))));
                }
                let (worker, timeouts) = (&self.client.worker, &lease.destination.timeouts);
                self.client.watch.ensure(Side::Backend, || worker.after(timeouts.response_body));
                Poll::Pending
            }
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.take_lease() {
            lease.end(self.is_reusable && self.uploader.is_none());
        }
        stop(self.uploader.take());
    }

    /// The connection, if it is still needed: from now on it is not.
    fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take().inspect(|_| self.client.record.mark(Phase::Transfer))
    }

    /// The response cannot be completed, and the client must not take it for complete.
    fn give_up(&mut self, broken: Broken, failure: Option<Failure>) -> Broken {
        self.client.break_off();
        self.client.record.note_broken(broken);
        match (self.take_lease(), broken) {
            (Some(lease), Broken::Backend | Broken::BackendStalled) => {
                let backend = lease.in_flight.backend().name();
                let failure = failure.map(tracing::field::display);
                tracing::warn!(backend, failure, "{broken}");
                lease.fail();
            }
            (Some(lease), _) => lease.give_up(),
            (None, _) => {}
        }
        broken
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.lease.is_none() && self.arrived.first.is_none() && self.arrived.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let first = self.arrived.first.as_ref().map_or(0, |first| first.len() as u64);
        match self.decoder.remaining() {
            Some(left) if self.arrived.trailers.is_none() => SizeHint::with_exact(left + first),
            _ => SizeHint::default(),
        }
    }
}

fn joined(first: Option<Bytes>, more: Bytes) -> Bytes {
    match first {
        None => more,
        Some(first) => [first, more].concat().into(),
    }
}

fn stop(uploader: Option<JoinHandle<()>>) {
    if let Some(uploader) = uploader {
        uploader.abort();
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        stop(self.uploader.take());
        if !self.is_end_stream() {
            self.client.record.note_left();
        }
        if let Some(lease) = self.take_lease() {
            lease.give_up();
        }
        self.client.end_exchange();
    }
}
