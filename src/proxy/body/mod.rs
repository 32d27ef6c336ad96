//! Bodies on their way through, both ways, with back-pressure and without copies.

mod compressed;
mod download;
mod relay;
mod request_stream;
mod sending;
mod upload;

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub(crate) use compressed::{Compressed, compressed};
pub(crate) use download::{Begun, Download, Lease};
pub(crate) use relay::{Relay, upload};
pub(crate) use request_stream::{Http2Stream, RequestStream};
pub(crate) use sending::{RequestBody, SendError, Sending};
pub(crate) use upload::{Pace, Progress, Upload};

/// Why a body could not be passed on to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client left, or sent what may not be sent.
    Client,
    /// The client is too slow.
    ClientStalled,
    /// The client's body is larger than allowed.
    TooLarge,
    /// The backend broke off.
    Backend,
    /// The backend is too slow.
    BackendStalled,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broken::Client => "the client broke off",
            Broken::ClientStalled => "the client's body did not arrive in time",
            Broken::TooLarge => "the client's body is too large",
            Broken::Backend => "the backend broke off its response",
            Broken::BackendStalled => "the backend's response did not go on in time",
        })
    }
}

impl Error for Broken {}

/// A response's body, as it goes to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// All of it; `None` when there is none, or no more.
    Whole(Option<Bytes>),
    /// As the backend sends it.
    Streamed(Box<Download>),
    /// The same over a connection of HTTP/2.
    Relayed(Box<Relay>),
    /// One of these, compressed.
    Compressed(Box<Compressed>),
}

impl ResponseBody {
    /// All of it.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        ResponseBody::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            ResponseBody::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            ResponseBody::Streamed(download) => download.poll(cx),
            ResponseBody::Relayed(relay) => relay.poll(cx),
            ResponseBody::Compressed(compressed) => compressed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(bytes) => bytes.is_none(),
            ResponseBody::Streamed(download) => download.is_end_stream(),
            ResponseBody::Relayed(relay) => relay.is_end_stream(),
            ResponseBody::Compressed(compressed) => compressed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            ResponseBody::Streamed(download) => download.size_hint(),
            ResponseBody::Relayed(_) | ResponseBody::Compressed(_) => SizeHint::default(),
        }
    }
}
