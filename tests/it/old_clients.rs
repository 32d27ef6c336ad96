//! Clients that speak HTTP/1.0.

use crate::support::{Backend, Client, Proxy};

fn answering(bytes: &'static str) -> Backend {
    Backend::answering(move |_| bytes.to_owned())
}

const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n";

#[test]
fn without_keep_alive_the_connection_ends_after_one_response() {
    for answer in [SIZED, CHUNKED] {
        let backend = answering(answer);
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        let response = client.send("GET / HTTP/1.0\r\n\r\n").response();
        assert_eq!((response.text().as_str(), response.is_complete), ("hello", true));
        assert_eq!(response.field("transfer-encoding"), None);
        client.assert_closed();
    }
}

#[test]
fn with_keep_alive_and_a_length_it_goes_on() {
    let backend = answering(SIZED);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        let response = client.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").response();
        assert_eq!(response.text(), "hello");
        let connection = response.field("connection").unwrap_or_default().to_lowercase();
        assert_eq!(connection, "keep-alive", "else the client would close");
    }
}

#[test]
fn with_keep_alive_and_no_length_it_ends_after_the_body() {
    // Large enough not to have arrived as a whole with the head.
    let backend = Backend::new(|mut conversation| {
        while conversation.request().is_some() {
            conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..100 {
                conversation.send(format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000)));
            }
            conversation.send("0\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.field("connection"), Some("close"));
    assert_eq!((response.body.len(), response.is_complete), (1_000_000, true));
}

#[test]
fn a_body_with_a_length_passes() {
    let backend = Backend::answering(|request| {
        let length = request.body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    });
    let proxy = Proxy::before(&[&backend], "");
    for size in [3, 100_000] {
        let mut client = Client::connect(proxy.address());
        client.send(format!("POST / HTTP/1.0\r\nContent-Length: {size}\r\n\r\n"));
        client.send("x".repeat(size));
        assert_eq!(client.response().body.len(), size);
    }
}

#[test]
fn there_are_no_interim_responses_for_them() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        conversation.send("HTTP/1.1 100 Continue\r\n\r\n");
        conversation.answer(200, "x");
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().status, 200);
}

#[test]
fn they_cannot_upgrade() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 200);
    // RFC 9110, section 7.8: to be ignored in a request of HTTP/1.0.
    let request = backend.last_request();
    assert_eq!((request.field("upgrade"), request.field("connection")), (None, None));
}

#[test]
fn the_last_response_of_a_connection_says_so_and_nothing_else() {
    let backend = answering(SIZED);
    let tables = "[server.limits]\nrequests_per_connection = 2";
    let proxy = Proxy::configured(tables, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    for connection in ["keep-alive", "close"] {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.response().field("connection"), Some(connection));
    }
    client.assert_closed();
}
