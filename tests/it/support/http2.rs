use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::PATIENCE;

/// A body of any kind.
pub type AnyBody = BoxBody<Bytes, Infallible>;

/// Runs the client side of a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// A body that is there at once.
pub fn whole(body: impl Into<Bytes>) -> AnyBody {
    Full::new(body.into()).boxed()
}

/// A body of the frames that come out of a channel.
pub fn of_frames(frames: mpsc::Receiver<Frame<Bytes>>) -> AnyBody {
    struct Channel(mpsc::Receiver<Frame<Bytes>>);

    impl Body for Channel {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(cx).map(|frame| frame.map(Ok))
        }
    }

    Channel(frames).boxed()
}

/// A connection that begins with HTTP/2.
pub async fn connect(address: SocketAddr) -> SendRequest<AnyBody> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A GET to come.
pub fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://shop.test{path}")).version(Version::HTTP_2)
}

/// Sends a request.
pub async fn ask(
    sender: &mut SendRequest<AnyBody>,
    request: Request<AnyBody>,
) -> Response<Incoming> {
    sender.ready().await.unwrap();
    sender.send_request(request).await.unwrap()
}

/// A whole body, as text.
pub async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A tunnel over a stream of HTTP/2.
pub type Tunnel = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Opens a WebSocket. Gives the fields of the answer, too.
pub async fn open_tunnel(sender: &mut SendRequest<AnyBody>, path: &str) -> (HeaderMap, Tunnel) {
    sender.ready().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // for the settings to arrive
    let mut request = Request::connect(format!("http://shop.test{path}"))
        .header("sec-websocket-version", "13")
        .body(whole(""))
        .unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    (headers, WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

/// Sends messages and gets them back.
pub async fn echo<S>(mut socket: WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    for message in ["a", &"long".repeat(50_000)] {
        socket.send(Message::text(message)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(message));
    }
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
}

/// An app server that speaks HTTP/2.
pub struct Http2Backend {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Http2Backend {
    /// With this many streams on a connection, which it ends after so many requests.
    pub fn new<F>(
        streams: u32,
        requests: usize,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<AtomicUsize> = Arc::default();
        let counter = connections.clone();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                let served = Arc::new(AtomicUsize::new(0));
                let is_over = served.clone();
                let service = service_fn(move |request| {
                    served.fetch_add(1, Ordering::SeqCst);
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                tokio::spawn(async move {
                    let mut builder =
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    builder.max_concurrent_streams(streams).enable_connect_protocol();
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    let mut connection = std::pin::pin!(connection);
                    let mut has_ended = false;
                    std::future::poll_fn(|cx| {
                        let polled = connection.as_mut().poll(cx);
                        if is_over.load(Ordering::SeqCst) >= requests && !has_ended {
                            has_ended = true;
                            connection.as_mut().graceful_shutdown();
                            cx.waker().wake_by_ref();
                        }
                        polled
                    })
                    .await
                });
            }
        };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve)
        });
        Http2Backend { address, connections }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
