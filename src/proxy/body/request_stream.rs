//! A request's body, as the protocol of its client brings it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::Broken;
use crate::proxy::client::Client;

/// A request's body, as the protocol of its client brings it.
#[derive(Debug)]
pub(crate) enum RequestStream {
    /// There is none.
    Empty,
    /// In HTTP/1.1, out of hyper's hands.
    Http1(Incoming),
    /// As a stream of HTTP/2.
    Http2(Http2Stream),
}

/// The client's half of a stream of HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Stream {
    stream: RecvStream,
    client: Rc<Client>,
    /// What its head says; h2 sees to it that this is true.
    length: Option<u64>,
    /// The client waits to be asked for it.
    waits_to_be_asked: bool,
    /// Nothing but trailers can come.
    is_at_trailers: bool,
}

impl Http2Stream {
    pub(crate) fn new(
        stream: RecvStream,
        client: Rc<Client>,
        length: Option<u64>,
        waits_to_be_asked: bool,
    ) -> Self {
        Http2Stream { stream, client, length, waits_to_be_asked, is_at_trailers: false }
    }

    /// Asks for the body, if that is waited for.
    fn ask(&mut self) {
        if std::mem::take(&mut self.waits_to_be_asked) && !self.client.has_answered() {
            let mut ask = Response::new(());
            *ask.status_mut() = StatusCode::CONTINUE;
            self.client.say_interim(ask);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.ask();
        if !self.is_at_trailers {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Who is given it takes it before asking for more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.client.note_payload(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Broken::Client))),
                None => self.is_at_trailers = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(_) => Some(Err(Broken::Client)),
        })
    }
}

impl RequestStream {
    /// Is nothing of it to come?
    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            RequestStream::Empty => true,
            RequestStream::Http1(incoming) => incoming.is_end_stream(),
            RequestStream::Http2(stream) => stream.stream.is_end_stream(),
        }
    }

    /// How long it is, if that has been said. Asked before the first frame.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            RequestStream::Empty => Some(0),
            RequestStream::Http1(incoming) => incoming.size_hint().exact(),
            RequestStream::Http2(stream) => stream.length,
        }
    }

    /// The next frame.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            RequestStream::Empty => Poll::Ready(None),
            RequestStream::Http1(incoming) => {
                let frame = Pin::new(incoming).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|_| Broken::Client)))
            }
            RequestStream::Http2(stream) => stream.poll_frame(cx),
        }
    }
}
