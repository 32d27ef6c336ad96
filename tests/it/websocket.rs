//! A WebSocket client and server that are not ours, with the proxy between them.

use std::net::TcpStream;

use tokio_tungstenite::tungstenite;
use tungstenite::handshake::client::Response;
use tungstenite::{Bytes, Message, WebSocket};

use crate::support::{Backend, PATIENCE, Proxy};

/// An app that tells who it is, gives back what it gets, and ends when the client does.
fn chat(name: &'static str) -> Backend {
    Backend::new(move |conversation| {
        let stream = conversation.stream.into_inner();
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        socket.send(Message::text(name)).unwrap();
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                socket.send(message).unwrap();
            }
        }
    })
}

fn open(proxy: &Proxy, cookie: Option<&str>) -> (WebSocket<TcpStream>, Response) {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let uri = format!("ws://{}/chat", proxy.address()).parse().unwrap();
    let mut request = tungstenite::ClientRequestBuilder::new(uri);
    if let Some(cookie) = cookie {
        request = request.with_header("Cookie", cookie);
    }
    tungstenite::client(request, stream).unwrap()
}

#[test]
fn messages_pass_and_reconnecting_leads_to_the_same_app() {
    let backends = ["app-0", "app-1", "app-2"].map(chat);
    let settings = "[pools.pool.affinity]\nmode = \"cookie\"";
    let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]], settings);
    let (mut first, response) = open(&proxy, None);
    let home = first.read().unwrap();
    for message in [Message::text("caf\u{e9}"), Message::binary(vec![0; 1_000_000])] {
        first.send(message.clone()).unwrap();
        assert_eq!(first.read().unwrap(), message);
    }
    first.send(Message::Ping(Bytes::from_static(b"?"))).unwrap();
    assert_eq!(first.read().unwrap(), Message::Pong(Bytes::from_static(b"?")));
    assert_eq!(proxy.in_flight(), 1);

    // The answer that opened the tunnel has bound the session.
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    for open_already in 1..4 {
        let (mut again, _) = open(&proxy, Some(cookie));
        assert_eq!(again.read().unwrap(), home);
        assert_eq!(proxy.in_flight(), open_already + 1);
        std::mem::forget(again); // stays open
    }

    first.close(None).unwrap();
    assert!(matches!(first.read(), Ok(Message::Close(_))));
    assert!(matches!(first.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn a_tunnel_that_ends_is_no_longer_in_flight() {
    let backend = chat("app");
    let proxy = Proxy::before(&[&backend], "");
    let (mut socket, _) = open(&proxy, None);
    socket.read().unwrap();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    proxy.wait_until_quiet();
    assert_eq!(proxy.member("b0").outcomes(), [1, 0, 0]);
}
