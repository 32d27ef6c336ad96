//! A request's body on its way from the client.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;

use super::{Broken, RequestStream};
use crate::proxy::client::Client;
use crate::proxy::watch::{Side, TICK, Tick};

/// How long a backend may take to ask for a body that its client holds back (RFC 9110, section
/// 10.1.1). Not every server knows how to ask.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request's body on its way from the client.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: RequestStream,
    client: Rc<Client>,
    pace: Pace,
    /// What became of it, for the exchange.
    progress: Rc<Progress>,
    /// How long we wait for the backend to ask for the body.
    patience: Option<Pin<Box<Sleep>>>,
}

/// What an exchange knows of its upload.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The backend has asked for it.
    pub(crate) is_wanted: Cell<bool>,
    /// It is the client that we wait for, not the backend.
    pub(crate) waits_for_client: Cell<bool>,
    /// A part of it has been taken, so it cannot be sent once more.
    pub(crate) has_begun: Cell<bool>,
    /// It goes on by itself, in a task of its own beside the response.
    pub(crate) is_detached: Cell<bool>,
    /// What has been taken of it, for another attempt, if it is kept at all.
    kept: RefCell<Kept>,
}

/// A body that has been taken, for another attempt.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// How much is kept at most. Nothing is if there is more.
    room: usize,
    is_whole: bool,
}

impl Kept {
    fn see(&mut self, frame: Option<&Frame<Bytes>>) {
        match frame.map(Frame::data_ref) {
            None => self.is_whole = self.room > 0,
            Some(Some(data)) if self.bytes.len() + data.len() <= self.room => {
                self.bytes.extend_from_slice(data);
            }
            // Trailers, or too much.
            Some(_) => *self = Kept::default(),
        }
    }
}

impl Progress {
    /// Keeps what is taken, up to so many bytes.
    pub(crate) fn keep(&self, room: usize) {
        self.kept.borrow_mut().room = room;
    }

    /// The body, if all of it was taken and kept.
    pub(crate) fn kept(&self) -> Option<Bytes> {
        let mut kept = self.kept.borrow_mut();
        kept.is_whole.then(|| std::mem::take(&mut kept.bytes).into())
    }
}

impl Upload {
    /// The body of a client's request. With `expects_continue` it is not read before the backend
    /// asks for it; hyper then asks the client.
    pub(crate) fn new(
        incoming: RequestStream,
        client: Rc<Client>,
        expects_continue: bool,
    ) -> (Box<Self>, Rc<Progress>) {
        let progress = Rc::new(Progress::default());
        let upload = Upload {
            incoming,
            pace: Pace::default(),
            client,
            progress: progress.clone(),
            patience: expects_continue.then(|| Box::pin(tokio::time::sleep(PATIENCE))),
        };
        (Box::new(upload), progress)
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(patience) = &mut self.patience {
            if !self.progress.is_wanted.get() {
                ready!(patience.as_mut().poll(cx));
            }
            self.patience = None;
        }
        let polled = self.pace.poll_frame(&mut self.incoming, &self.client, cx);
        self.progress.waits_for_client.set(polled.is_pending());
        // Either way the backend has done its part for now. Beside a response, whoever waits for
        // more of it sets the deadline anew.
        self.client.watch.clear(Side::Backend);
        if self.progress.is_detached.get() {
            self.client.watch.wake();
        }
        let frame = ready!(polled);
        self.progress.has_begun.set(true);
        let mut kept = self.progress.kept.borrow_mut();
        if kept.room > 0 {
            match &frame {
                Some(Err(_)) => *kept = Kept::default(),
                Some(Ok(frame)) => kept.see(Some(frame)),
                None => kept.see(None),
            }
        }
        drop(kept);
        if let Some(Ok(frame)) = &frame {
            self.client.record.note_received(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }
}

/// Reads a client's body, and holds the client to a pace.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When it was first asked for: before, the client may have been held back.
    began: Option<Tick>,
    received: u64,
}

impl Pace {
    /// The minimum rate does not apply before so long.
    const GRACE: Tick = 5_000 / TICK.as_millis() as Tick;

    /// The next frame. While there is none, a deadline runs: the one for silence, or the one by
    /// which the rate would be too low, whichever is earlier.
    pub(crate) fn poll_frame(
        &mut self,
        incoming: &mut RequestStream,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let site = client.worker.site();
        self.began.get_or_insert_with(|| client.worker.tick());
        let Poll::Ready(frame) = incoming.poll_frame(cx) else {
            if client.watch.has_fired(Side::ClientRead) {
                return Poll::Ready(Some(Err(Broken::ClientStalled)));
            }
            client.watch.ensure(Side::ClientRead, || {
                let silence = client.worker.after(site.timeouts.request_body);
                silence.min(self.too_slow_at(site.limits.min_rate))
            });
            return Poll::Pending;
        };
        client.watch.clear(Side::ClientRead);
        let is_last =
            |frame: &Result<Frame<Bytes>, _>| frame.as_ref().is_ok_and(Frame::is_trailers);
        if frame.as_ref().is_none_or(is_last) || incoming.is_end_stream() {
            client.body_arrived();
        }
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
            if self.received > site.limits.body_bytes { Err(Broken::TooLarge) } else { Ok(frame) }
        }))
    }

    /// The tick at which the average rate falls below the minimum if nothing more comes.
    fn too_slow_at(&self, bytes_per_second: u32) -> Tick {
        if bytes_per_second == 0 {
            return Tick::MAX;
        }
        let ticks_a_second = 1_000 / TICK.as_millis() as u64;
        let covered = self.received * ticks_a_second / u64::from(bytes_per_second);
        let covered = Tick::try_from(covered).unwrap_or(Tick::MAX);
        let began = self.began.unwrap_or_default();
        began.saturating_add(Self::GRACE).saturating_add(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_rate_gives_grace_and_then_counts() {
        let pace = |received| Pace { began: Some(1_000), received };
        assert_eq!(pace(0).too_slow_at(240), 1_050, "five seconds");
        assert_eq!(pace(2_400).too_slow_at(240), 1_150, "ten seconds' worth more");
        assert_eq!(pace(u64::MAX / 1_000).too_slow_at(1), Tick::MAX);
        assert_eq!(pace(0).too_slow_at(0), Tick::MAX, "no minimum");
    }
}
