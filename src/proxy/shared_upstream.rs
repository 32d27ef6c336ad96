//! A connection of HTTP/2 to a backend, which requests share.
//!
//! Each worker has one to each backend, and more while the streams of one do not suffice. A task
//! drives it; what happens on a stream happens in the exchange that it belongs to, so dropping that
//! resets the stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::ext::Protocol;
use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING,
};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::SetOnce;
use tokio::task::spawn_local;

use super::upstream_socket::Socket;
use super::watch::Tick;
use crate::http::fields::Found;
use crate::observe::metrics::{Meter, Tally};

/// Bytes of a response that may be on their way before its client has taken any.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all responses on a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What the fields of a response may take, with 32 bytes more for each: what they may in HTTP/1.1,
/// and as many as there.
const MAX_HEAD_LIST: u32 = 64 * 1024 + 500 * 32;
/// Fields of a request that fit its head; the limits of clients are lower.
const MAX_FIELDS: usize = 1100;

/// A connection of HTTP/2 to a backend.
#[derive(Debug)]
pub(crate) struct SharedUpstream {
    sender: SendRequest<Bytes>,
    /// The backend has said what it can do.
    settled: Rc<SetOnce<()>>,
    /// Streams on it.
    streams: Rc<Cell<usize>>,
    /// When it was last seen with a stream on it.
    busy_at: Tick,
    /// Ticks that it is kept without.
    patience: Tick,
}

impl SharedUpstream {
    /// Begins HTTP/2 on a socket.
    pub(crate) async fn begin(
        socket: Socket,
        meter: &Arc<Meter>,
        now: Tick,
        patience: Tick,
    ) -> io::Result<Self> {
        if !socket.agrees_on_http2() {
            let error = "the backend does not agree to speak HTTP/2";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD_LIST)
            .enable_push(false);
        let socket = Metered { socket, meter: meter.clone() };
        let (sender, connection) = builder.handshake(socket).await.map_err(io::Error::other)?;
        let settled = Rc::new(SetOnce::new());
        // It ends when the last of its senders does.
        spawn_local(drive(connection, settled.clone()));
        Ok(SharedUpstream { sender, settled, streams: Rc::default(), busy_at: now, patience })
    }

    /// Has it room for one more stream?
    pub(crate) fn has_room(&self) -> bool {
        self.streams.get() < self.sender.current_max_send_streams()
    }

    /// A place for one more stream.
    pub(crate) fn lane(&self) -> Lane {
        self.streams.set(self.streams.get() + 1);
        let (sender, settled) = (self.sender.clone(), self.settled.clone());
        Lane { sender, settled, place: Place(self.streams.clone()) }
    }

    /// Can it take requests at all, as far as is known?
    pub(crate) fn is_alive(&mut self) -> bool {
        !matches!(
            self.sender.poll_ready(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Err(_))
        )
    }

    /// Has it been without a stream for too long?
    pub(crate) fn is_over(&mut self, now: Tick) -> bool {
        if self.streams.get() > 0 {
            self.busy_at = now;
        }
        self.busy_at.saturating_add(self.patience) <= now
    }
}

/// Reads and writes a connection's frames until it ends. Its settings come first, so they are known
/// when the first ping is answered.
async fn drive(mut connection: Connection<Metered>, settled: Rc<SetOnce<()>>) {
    let mut ping = connection.ping_pong();
    if let Some(ping) = &mut ping {
        let _ = ping.send_ping(h2::Ping::opaque()); // if that fails, so does the connection
    }
    let mut connection = pin!(connection);
    let ended = poll_fn(|cx| {
        if let Some(waits) = &mut ping
            && waits.poll_pong(cx).is_ready()
        {
            ping = None;
            let _ = settled.set(()); // it is set here only
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an HTTP/2 connection to a backend has failed");
    }
}

/// A socket whose bytes are counted.
#[derive(Debug)]
struct Metered {
    socket: Socket,
    meter: Arc<Meter>,
}

impl Metered {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = written {
            self.meter.add(Tally::Sent, length as u64);
        }
        written
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.meter.add(Tally::Received, (buf.filled().len() - before) as u64);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A place for one stream on a shared connection.
#[derive(Debug)]
pub(crate) struct Lane {
    /// What begins the stream.
    pub(crate) sender: SendRequest<Bytes>,
    settled: Rc<SetOnce<()>>,
    /// Kept for as long as the stream.
    pub(crate) place: Place,
}

impl Lane {
    /// Does the backend take WebSockets (RFC 8441)? Waits until it has said so or not.
    pub(crate) async fn takes_tunnels(&self) -> bool {
        self.settled.wait().await;
        self.sender.is_extended_connect_protocol_enabled()
    }
}

/// Counts a stream for as long as it is there.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A request as HTTP/2 has it.
pub(crate) struct Translated {
    pub(crate) request: Request<()>,
    /// The client's key, if it asks for a WebSocket.
    pub(crate) websocket_key: Option<HeaderValue>,
}

/// A request of HTTP/2 from the head that would be sent in HTTP/1.1. `None` if it is none.
pub(crate) fn request(head: &[u8], is_https: bool) -> Option<Translated> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let (mut authority, mut upgrade) = (None, None);
    for field in parsed.headers.iter() {
        let flag = Found::of_text(field.name);
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        if name == HOST {
            authority = Some(value);
        } else if name == TE {
            headers.insert(TE, HeaderValue::from_static("trailers")); // nothing else is sent
        } else if flag.has(Found::UPGRADE) {
            upgrade = Some(value);
        } else if name != CONNECTION && name != TRANSFER_ENCODING {
            headers.try_append(name, value).ok()?;
        }
    }
    let target = PathAndQuery::try_from(parsed.path?).ok()?;
    let mut uri = http::uri::Builder::new().path_and_query(target);
    uri = uri.scheme(if is_https { Scheme::HTTPS } else { Scheme::HTTP });
    uri = uri.authority(authority?.to_str().ok()?);
    let uri: Uri = uri.build().ok()?;
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    let is_websocket = |value: HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    let websocket_key = match method == Method::GET && upgrade.is_some_and(is_websocket) {
        true => headers.remove(SEC_WEBSOCKET_KEY),
        false => None,
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    if websocket_key.is_some() {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(Translated { request, websocket_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_translated() {
        let head =
            b"POST /a?b HTTP/1.1\r\nHost: a:1\r\nX-B: c\r\nconnection: te\r\nte: trailers\r\n\
                     transfer-encoding: chunked\r\ncookie: d=e\r\n\r\n";
        let Translated { request, websocket_key } = request(head, true).unwrap();
        assert_eq!(websocket_key, None);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://a:1/a?b");
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-b", "te", "cookie"]);
        assert!(super::request(b"GET / HTTP/1.1\r\n\r\n", false).is_none(), "no host");
    }

    #[test]
    fn web_sockets_become_tunnels() {
        let head = |upgrade: &str| {
            let head = format!(
                "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n\
                 sec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n"
            );
            request(head.as_bytes(), false).unwrap()
        };
        let Translated { request, websocket_key } = head("WebSocket");
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["sec-websocket-version"]);
        assert_eq!(websocket_key.unwrap().as_bytes(), b"k");
        assert_eq!(head("other").request.method(), Method::GET, "an upgrade may be ignored");
    }
}
