//! A response's body on its way from the backend, and the connection that it comes over.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use super::Broken;
use crate::balance::{InFlight, Outcome};
use crate::proxy::client::Client;
use crate::proxy::destination::Destination;
use crate::proxy::upstream::Upstream;
use crate::proxy::watch::{Side, Tick};

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
        let Lease { mut upstream, in_flight, destination, client } = self;
        let backend = in_flight.backend().id();
        in_flight.finish(Outcome::Success);
        if is_reusable && upstream.is_ready() {
            let worker = &client.worker;
            upstream.put_away(worker.tick(), worker.after(destination.timeouts.idle));
            worker.keep_idle(backend, upstream, destination.max_idle_connections);
        }
    }

    /// The request failed, and that is the backend's fault.
    pub(crate) fn fail(self) {
        self.in_flight.finish(Outcome::Failure);
    }
}

/// A response's body on its way from the backend.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: Incoming,
    /// Frames that had arrived with the head.
    arrived: [Option<Frame<Bytes>>; 2],
    source: Source,
    client: Rc<Client>,
    timeout: Tick,
}

/// Who drives the connection.
#[derive(Debug)]
enum Source {
    /// Whoever polls the body. The connection may be used again if the flag says so.
    Polled(Lease, bool),
    /// A task, since the client is still sending its request: it must go on even while the client
    /// takes nothing of the response. Such connections are not used again.
    Task(JoinHandle<()>, InFlight),
    /// Nobody: the response is complete, or was given up.
    Done,
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
        mut incoming: Incoming,
        mut lease: Lease,
        is_reusable: bool,
        is_uploaded: bool,
        cx: &mut Context<'_>,
    ) -> Begun {
        let mut arrived = [None, None];
        let mut has_ended = incoming.is_end_stream();
        if !has_ended && let Poll::Ready(Some(Ok(frame))) = lease.upstream.poll_body(&mut incoming)
        {
            arrived[0] = Some(frame);
            has_ended = incoming.is_end_stream();
            if !has_ended && incoming.size_hint().exact().is_none() {
                // The end of a body of one chunk is received, but hyper has not decoded it yet.
                let _ = lease.upstream.poll_drive(cx);
                match lease.upstream.poll_body(&mut incoming) {
                    Poll::Ready(None) => has_ended = true,
                    Poll::Ready(Some(Ok(frame))) => arrived[1] = Some(frame),
                    Poll::Ready(Some(Err(_))) | Poll::Pending => {}
                }
            }
        }
        if has_ended && arrived[0].as_ref().is_none_or(Frame::is_data) {
            lease.end(is_reusable && is_uploaded);
            let [frame, _] = arrived;
            return Begun::Whole(frame.and_then(|frame| frame.into_data().ok()));
        }
        let client = lease.client.clone();
        let timeout = lease.destination.timeouts.response_body;
        let source = match is_uploaded {
            true => Source::Polled(lease, is_reusable),
            false => detach(lease),
        };
        Begun::More(Box::new(Download { incoming, arrived, source, client, timeout }))
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        for frame in &mut self.arrived {
            if let Some(frame) = frame.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        let polled = match &mut self.source {
            Source::Polled(lease, _) => match lease.upstream.poll_body(&mut self.incoming) {
                Poll::Pending => {
                    let _ = lease.upstream.poll_drive(cx);
                    lease.upstream.poll_body(&mut self.incoming)
                }
                ready => ready,
            },
            Source::Task(..) => Pin::new(&mut self.incoming).poll_frame(cx),
            Source::Done => return Poll::Ready(None),
        };
        match polled {
            Poll::Ready(frame) => {
                self.client.watch.clear(Side::Backend);
                Poll::Ready(self.took(frame, cx))
            }
            Poll::Pending => self.wait(),
        }
    }

    /// Takes note of a frame, or of the end.
    fn took(
        &mut self,
        frame: Option<hyper::Result<Frame<Bytes>>>,
        cx: &mut Context<'_>,
    ) -> Option<Result<Frame<Bytes>, Broken>> {
        match frame {
            Some(Ok(frame)) => {
                if self.incoming.is_end_stream() {
                    self.end(cx);
                }
                Some(Ok(frame))
            }
            Some(Err(_)) => Some(Err(self.give_up(Broken::Backend))),
            None => {
                self.end(cx);
                None
            }
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        match std::mem::replace(&mut self.source, Source::Done) {
            Source::Polled(mut lease, is_reusable) => {
                // The end was decoded, but the connection may still have to come to rest.
                let is_open = lease.upstream.is_ready() || lease.upstream.is_alive(cx);
                lease.end(is_reusable && is_open);
            }
            Source::Task(driver, in_flight) => {
                driver.abort();
                in_flight.finish(Outcome::Success);
            }
            Source::Done => {}
        }
    }

    fn wait(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.client.has_left() {
            return Poll::Ready(Some(Err(self.give_up(Broken::Client))));
        }
        if self.client.watch.has_fired(Side::Backend) {
            return Poll::Ready(Some(Err(self.give_up(Broken::BackendStalled))));
        }
        let worker = &self.client.worker;
        self.client.watch.ensure(Side::Backend, || worker.after(self.timeout));
        Poll::Pending
    }

    /// The response cannot be completed, and the client must not take it for complete.
    fn give_up(&mut self, broken: Broken) -> Broken {
        self.client.break_off();
        let is_backends_fault = broken != Broken::Client;
        match std::mem::replace(&mut self.source, Source::Done) {
            Source::Polled(lease, _) if is_backends_fault => {
                log(broken, &lease.in_flight);
                lease.fail();
            }
            Source::Task(driver, in_flight) => {
                driver.abort();
                if is_backends_fault {
                    log(broken, &in_flight);
                    in_flight.finish(Outcome::Failure);
                }
            }
            Source::Polled(..) | Source::Done => {}
        }
        broken
    }

    pub(super) fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Done) && self.arrived.iter().all(Option::is_none)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        // What has arrived was already taken from what hyper expects.
        let arrived = self.arrived.iter().flatten().filter_map(Frame::data_ref).map(Bytes::len);
        let arrived = arrived.sum::<usize>() as u64;
        match self.incoming.size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + arrived),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Source::Task(driver, _) = &self.source {
            driver.abort();
        }
        self.client.end_exchange();
    }
}

fn detach(lease: Lease) -> Source {
    let Lease { mut upstream, in_flight, .. } = lease;
    let driver = tokio::task::spawn_local(async move {
        let _ = std::future::poll_fn(|cx| upstream.poll_drive(cx)).await;
    });
    Source::Task(driver, in_flight)
}

fn log(broken: Broken, in_flight: &InFlight) {
    tracing::warn!(backend = in_flight.backend().name(), "{broken}");
}
