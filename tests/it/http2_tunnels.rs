//! WebSockets where one side or both speak HTTP/2 (RFC 8441).

use std::net::TcpStream;

use http::Response;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::http2::{Http2Backend, connect, echo, open_tunnel, run, whole};
use crate::support::{Backend, PATIENCE, Proxy, get, pool};

const H2C: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";
const COOKIE: &str = "http2 = true\n[pools.pool.affinity]\nmode = \"cookie\"";

/// An app server that takes WebSockets over HTTP/2 and says every message back.
fn chat() -> Http2Backend {
    Http2Backend::new(100, usize::MAX, |request| async move {
        if request.method() != "CONNECT" {
            return Response::new(whole("no WebSocket"));
        }
        let protocol = request.extensions().get::<hyper::ext::Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        assert_eq!(request.uri().path(), "/chat");
        assert_eq!(request.headers()["sec-websocket-version"], "13");
        for name in ["sec-websocket-key", "upgrade", "connection"] {
            assert!(!request.headers().contains_key(name), "{name}");
        }
        tokio::spawn(async move {
            use futures_util::{SinkExt, StreamExt};

            let stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    socket.send(message).await.unwrap();
                }
            }
        });
        let response = Response::builder().header("sec-websocket-protocol", "chat");
        response.body(whole("")).unwrap()
    })
}

fn proxy(backend: &Http2Backend) -> Proxy {
    Proxy::with(&format!("{H2C}{}", pool(&[backend.address.to_string()], COOKIE)))
}

#[test]
fn clients_of_http_1_reach_backends_of_http_2() {
    let backend = chat();
    let proxy = proxy(&backend);
    let mut sockets: Vec<_> = (0..3)
        .map(|_| {
            let stream = TcpStream::connect(proxy.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let uri = format!("ws://{}/chat", proxy.address()).parse().unwrap();
            let request = tungstenite::ClientRequestBuilder::new(uri).with_sub_protocol("chat");
            // It makes sure that its key was answered.
            let (socket, response) = tungstenite::client(request, stream).unwrap();
            assert!(response.headers().contains_key("set-cookie"));
            socket
        })
        .collect();
    assert_eq!(proxy.in_flight(), 3);
    for socket in &mut sockets {
        for text in ["a", &"long".repeat(100_000)] {
            socket.send(Message::text(text)).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text(text));
        }
    }
    assert_eq!(get(proxy.address(), "/", "").text(), "no WebSocket");
    for mut socket in sockets {
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    }
    proxy.wait_until_quiet();
}

#[test]
fn so_do_clients_of_http_2() {
    let backend = chat();
    let proxy = proxy(&backend);
    run(async {
        let mut sender = connect(proxy.address()).await;
        let (response, socket) = open_tunnel(&mut sender, "/chat").await;
        assert_eq!(response["sec-websocket-protocol"], "chat");
        assert!(!response.contains_key("sec-websocket-accept"));
        echo(socket).await;
        // Who leaves without a word is not waited for.
        let (_, socket) = open_tunnel(&mut sender, "/chat").await;
        drop(socket);
    });
    proxy.wait_until_quiet();
}

#[test]
fn a_drain_closes_them_as_well() {
    let backend = chat();
    let server = "[server]\nworkers = 1\nshutdown_timeout = \"10s\"\n";
    let pool = pool(&[backend.address.to_string()], COOKIE);
    let proxy = Proxy::with(&format!("{server}{H2C}{pool}"));
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let uri = format!("ws://{}/chat", proxy.address()).parse().unwrap();
    let request = tungstenite::ClientRequestBuilder::new(uri).with_sub_protocol("chat");
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    socket.send(Message::text("a")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("a"));
    let ending = std::thread::spawn(|| proxy.shut_down());
    let closed = std::iter::from_fn(|| socket.read().ok()).find(Message::is_close);
    ending.join().unwrap();
    assert!(closed.is_some(), "it was told so");
}

#[test]
fn backends_that_take_none_are_named_in_the_answer_only_by_its_status() {
    // One that speaks HTTP/2 and no RFC 8441.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        run(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while connection.accept().await.is_some() {}
        })
    });
    let proxy = Proxy::with(&format!("{H2C}{}", pool(&[address.to_string()], COOKIE)));
    let stream = TcpStream::connect(proxy.address()).unwrap();
    let uri = format!("ws://{}/chat", proxy.address());
    match tungstenite::client(uri, stream) {
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            assert_eq!(response.status(), 502);
        }
        other => panic!("{other:?}"),
    }
    proxy.wait_until_quiet();
}

#[test]
fn a_backend_of_http_1_that_refuses_is_heard() {
    let backend = Backend::named("no WebSocket");
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let mut request = http::Request::connect("http://shop.test/chat").body(whole("")).unwrap();
        request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await; // for the settings
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 502, "a success would be a tunnel");
    });
    proxy.wait_until_quiet();
}
