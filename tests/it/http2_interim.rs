//! Interim (1xx) responses where HTTP/2 is spoken: from clients, and to backends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::thread;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::support::http2::run;
use crate::support::{Backend, Client, Proxy, pool};

const H2C: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";

/// A connection on which interim responses can be seen.
async fn connect(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The next interim response.
async fn interim(response: &mut h2::client::ResponseFuture) -> Response<()> {
    poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap()
}

/// An app server of HTTP/2 that gives a hint before it answers every request.
fn hinting() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let hint = Response::builder().status(103).header("link", "</a.css>");
                        let hint = hint.header("stickler-affinity", "pin").body(()).unwrap();
                        respond.send_informational(hint).unwrap();
                        let mut body = respond.send_response(Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"late"), true).unwrap();
                    }
                });
            }
        })
    });
    address
}

#[test]
fn hints_reach_clients_of_http_2() {
    let backend = Backend::new(|mut conversation| {
        while conversation.request().is_some() {
            conversation
                .send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nKeep-Alive: 5\r\n\r\n");
            conversation.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n");
            conversation.answer(200, "late");
        }
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let request = Request::get("http://shop.test/").body(()).unwrap();
        let (mut response, _) = sender.send_request(request, true).unwrap();
        for link in ["</a.css>", "</b.css>"] {
            let hint = interim(&mut response).await;
            assert_eq!(hint.status(), 103);
            assert_eq!(hint.headers()["link"], link);
            assert_eq!(hint.headers().len(), 1, "{hint:?}");
        }
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn hints_of_backends_of_http_2_reach_everybody() {
    let backend = hinting();
    let proxy = Proxy::with(&format!("{H2C}{}", pool(&[backend.to_string()], "http2 = true")));
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hint = client.response();
    assert_eq!((hint.status, hint.field("link")), (103, Some("</a.css>")));
    assert_eq!(hint.field("stickler-affinity"), None);
    assert_eq!(client.response().text(), "late");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let request = Request::get("http://shop.test/").body(()).unwrap();
        let (mut response, _) = sender.send_request(request, true).unwrap();
        assert_eq!(interim(&mut response).await.headers()["link"], "</a.css>");
        assert_eq!(response.await.unwrap().status(), 200);
    });
    // Who does not know them does not get them.
    let mut old = Client::connect(proxy.address());
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(old.response().status, 200);
}

#[test]
fn who_waits_to_be_asked_for_a_body_is_asked() {
    let backend = Backend::answering(|request| {
        let length = request.body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        for length in [3, 100_000] {
            let request = Request::post("http://shop.test/")
                .header("expect", "100-continue")
                .header("content-length", length)
                .body(())
                .unwrap();
            let (mut response, mut body) = sender.send_request(request, false).unwrap();
            assert_eq!(interim(&mut response).await.status(), StatusCode::CONTINUE);
            body.send_data(vec![b'x'; length].into(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
            assert_eq!(backend.last_request().body.len(), length);
        }
        // And who is refused at once is not.
        let request = Request::post("http://shop.test/").header("expect", "100-continue");
        let request = request.header("te", "trailers").method("TRACE").body(()).unwrap();
        let (mut response, _body) = sender.send_request(request, false).unwrap();
        let none = poll_fn(|cx| match response.poll_informational(cx) {
            std::task::Poll::Ready(Some(_)) => std::task::Poll::Ready(false),
            _ => std::pin::Pin::new(&mut response).poll(cx).map(|r| r.unwrap().status() == 405),
        });
        assert!(none.await);
    });
}
