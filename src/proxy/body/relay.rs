//! Bodies on a stream of HTTP/2 to a backend.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::Frame;
use tokio::task::{JoinHandle, spawn_local};

use super::{Broken, Upload};
use crate::balance::{InFlight, Outcome};
use crate::http::fields::Found;
use crate::observe::access_log::Phase;
use crate::proxy::client::Client;
use crate::proxy::destination::Destination;
use crate::proxy::shared_upstream::Place;
use crate::proxy::watch::Side;

/// A response's body on its way from the backend. Dropping it resets the stream.
#[derive(Debug)]
pub(crate) struct Relay {
    client: Rc<Client>,
    destination: Arc<Destination>,
    stream: RecvStream,
    /// `None` when the response has ended, or was given up.
    in_flight: Option<InFlight>,
    /// Nothing but trailers can come.
    is_at_trailers: bool,
    /// Sends the rest of the request meanwhile.
    uploader: Option<JoinHandle<()>>,
    _place: Place,
}

impl Relay {
    pub(crate) fn new(
        client: &Rc<Client>,
        destination: &Arc<Destination>,
        stream: RecvStream,
        in_flight: InFlight,
        uploader: Option<JoinHandle<()>>,
        place: Place,
    ) -> Self {
        let is_over = stream.is_end_stream();
        let mut relay = Relay {
            client: client.clone(),
            destination: destination.clone(),
            stream,
            in_flight: Some(in_flight),
            is_at_trailers: false,
            uploader,
            _place: place,
        };
        if is_over {
            relay.end(); // there is no body, so nobody will ask for it
        }
        relay
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.in_flight.is_none() {
            return Poll::Ready(None);
        }
        while !self.is_at_trailers {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.client.watch.clear(Side::Backend);
                    self.client.record.note_sent(data.len());
                    // Who is given it takes it before asking for more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if self.stream.is_end_stream() {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(self.fail(&error)))),
                Poll::Ready(None) => self.is_at_trailers = true,
                Poll::Pending => return self.pending(),
            }
        }
        match self.stream.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => {
                self.end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(cleaned(trailers)))))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(self.fail(&error)))),
            Poll::Pending => self.pending(),
        }
    }

    fn pending(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.client.has_left() {
            return Poll::Ready(Some(Err(self.give_up(Broken::Client))));
        }
        if self.client.watch.has_fired(Side::Deadline) {
            self.client.reset_reason.set(Some(Reason::CANCEL));
            return Poll::Ready(Some(Err(self.give_up(Broken::BackendStalled))));
        }
        if self.client.watch.has_fired(Side::Backend) {
            tracing::warn!("{}", Broken::BackendStalled);
            return Poll::Ready(Some(Err(self.give_up(Broken::BackendStalled))));
        }
        if let Some(broken) = self.client.upload_broke.take() {
            return Poll::Ready(Some(Err(self.give_up(broken))));
        }
        let (worker, timeouts) = (&self.client.worker, &self.destination.timeouts);
        self.client.watch.ensure(Side::Backend, || worker.after(timeouts.response_body));
        Poll::Pending
    }

    fn end(&mut self) {
        self.client.watch.clear(Side::Backend);
        if let Some(in_flight) = self.take_in_flight() {
            in_flight.finish(Outcome::Success);
        }
    }

    /// What is in flight, if anything is: from now on nothing is.
    fn take_in_flight(&mut self) -> Option<InFlight> {
        let mut in_flight = self.in_flight.take()?;
        self.client.record.mark(Phase::Transfer);
        in_flight.took(self.client.record.in_flight());
        Some(in_flight)
    }

    fn fail(&mut self, error: &h2::Error) -> Broken {
        self.client.reset_reason.set(error.reason().filter(may_be_said));
        if let Some(in_flight) = &self.in_flight {
            tracing::warn!(backend = in_flight.backend().name(), %error, "{}", Broken::Backend);
        }
        self.give_up(Broken::Backend)
    }

    /// The response cannot be completed, and the client must not take it for complete.
    fn give_up(&mut self, broken: Broken) -> Broken {
        self.client.break_off();
        self.client.record.note_broken(broken);
        if let Some(in_flight) = self.take_in_flight()
            && matches!(broken, Broken::Backend | Broken::BackendStalled)
        {
            in_flight.finish(Outcome::Failure);
        }
        broken
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.in_flight.is_none()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(uploader) = self.uploader.take() {
            uploader.abort();
        }
        if !self.is_end_stream() {
            self.client.record.note_left();
        }
        drop(self.take_in_flight());
        self.client.end_exchange();
    }
}

/// May a client be told this reason for which a backend has reset a stream? Most are about the
/// connection to the backend. That nothing was done (REFUSED_STREAM) is not true any more.
fn may_be_said(reason: &Reason) -> bool {
    matches!(*reason, Reason::CANCEL | Reason::ENHANCE_YOUR_CALM)
}

/// What trailers may say.
fn cleaned(trailers: HeaderMap) -> HeaderMap {
    let may_pass = |name: &http::HeaderName| Found::may_be_trailer(name.as_str());
    if trailers.keys().all(may_pass) {
        return trailers;
    }
    let pairs = trailers.iter().filter(|(name, _)| may_pass(name));
    let mut clean = HeaderMap::new();
    for (name, value) in pairs {
        clean.append(name.clone(), value.clone());
    }
    clean
}

/// Sends a request's body, as it comes, in a task of its own beside the response.
pub(crate) fn upload(
    mut stream: SendStream<Bytes>,
    mut upload: Box<Upload>,
    client: &Rc<Client>,
) -> JoinHandle<()> {
    let client = client.clone();
    spawn_local(async move {
        loop {
            let frame = poll_fn(|cx| {
                client.watch.attach_uploader(cx.waker());
                upload.poll(cx)
            });
            let sent = match frame.await {
                None => stream.send_data(Bytes::new(), true),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if send(&mut stream, data).await.is_none() {
                            return; // the backend wants no more, and its answer says so
                        }
                        continue;
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => stream.send_trailers(cleaned(trailers)),
                        Err(_) => continue,
                    },
                },
                Some(Err(broken)) => {
                    stream.send_reset(Reason::CANCEL);
                    client.upload_broke.set(Some(broken));
                    return client.watch.wake();
                }
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "the end of a request could not be sent");
            }
            return;
        }
    })
}

/// Sends all of it, as fast as the backend takes it.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(piece, false).ok()?;
    }
    Some(())
}
