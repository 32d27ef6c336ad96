//! What breaks off on one side never looks complete on the other.

use crate::support::{Backend, Client, Conversation, Gate, Proxy, get};

/// A backend that sends these bytes and then ends its connection.
fn breaking_off(bytes: &'static str, with_reset: bool, when: Gate) -> Backend {
    Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        conversation.send(bytes);
        when.wait();
        if with_reset {
            conversation.reset();
        }
    })
}

const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
const IN_A_SIZE: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0";
const IN_A_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello";
const IN_TRAILERS: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n";

#[test]
fn a_body_that_the_backend_breaks_off_is_not_complete() {
    for answer in [SIZED, CHUNKED, IN_A_SIZE, IN_A_CHUNK, IN_TRAILERS] {
        for with_reset in [false, true] {
            let gate = Gate::new();
            let backend = breaking_off(answer, with_reset, gate.clone());
            let proxy = Proxy::before(&[&backend], "");
            let mut client = Client::connect(proxy.address());
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.head();
            gate.open();
            let (rest, _) = client.rest();
            let rest = String::from_utf8(rest).unwrap();
            assert!(rest.contains("hello"), "what came is passed on: {answer}");
            assert!(rest.len() < 10 + 5 && !rest.ends_with("0\r\n\r\n"), "{answer} became {rest}");
            proxy.wait_until_quiet();
            assert_eq!(proxy.member("b0").outcomes(), [0, 1, 0], "{answer}");
        }
    }
}

#[test]
fn an_old_client_sees_a_reset_since_its_body_ends_with_the_connection() {
    for answer in [CHUNKED, IN_A_SIZE, IN_A_CHUNK, IN_TRAILERS] {
        let gate = Gate::new();
        let backend = breaking_off(answer, false, gate.clone());
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send("GET / HTTP/1.0\r\n\r\n");
        client.head();
        gate.open();
        let (_, is_orderly) = client.rest();
        assert!(!is_orderly, "{answer} looked complete");
    }
}

#[test]
fn a_body_that_ends_with_the_connection_does_not_end_with_a_reset() {
    for version in ["1.0", "1.1"] {
        let gate = Gate::new();
        let backend = breaking_off("HTTP/1.1 200 OK\r\n\r\nhello", true, gate.clone());
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        client.head();
        gate.open();
        let (rest, is_orderly) = client.rest();
        assert!(!is_orderly && !rest.ends_with(b"0\r\n\r\n"), "HTTP/{version} looked complete");
    }
}

#[test]
fn a_head_that_the_backend_breaks_off_is_a_bad_gateway() {
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"] {
        for with_reset in [false, true] {
            let gate = Gate::new();
            gate.open();
            let backend = breaking_off(answer, with_reset, gate);
            let proxy = Proxy::before(&[&backend], "");
            assert_eq!(get(proxy.address(), "/", "").status, 502, "{answer:?}");
            assert_eq!(proxy.in_flight(), 0);
        }
    }
}

#[test]
fn an_upload_that_the_backend_breaks_off_is_a_bad_gateway() {
    for with_reset in [false, true] {
        let backend = Backend::new(move |mut conversation: Conversation| {
            conversation.head().unwrap();
            if with_reset {
                conversation.reset();
            }
        });
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        assert_eq!(client.response().status, 502);
        proxy.wait_until_quiet();
        assert_eq!(proxy.member("b0").outcomes(), [0, 1, 0]);
    }
}

/// What a backend gets of an upload that its client breaks off: the body, and nothing after it.
fn upload(request: &'static str, leave: impl FnOnce(Client)) -> String {
    let (got, gets) = std::sync::mpsc::channel();
    let reading = Gate::new();
    let is_reading = reading.clone();
    let backend = Backend::new(move |mut conversation: Conversation| {
        conversation.head().unwrap();
        let mut body = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(length) = std::io::Read::read(&mut conversation.stream, &mut piece) {
            body.extend_from_slice(&piece[..length]);
            is_reading.open();
            if length == 0 {
                break;
            }
        }
        got.send(String::from_utf8(body).unwrap()).unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(request);
    reading.wait();
    leave(client);
    let body = gets.recv_timeout(crate::support::PATIENCE).unwrap();
    proxy.wait_until_quiet();
    body
}

#[test]
fn an_upload_that_the_client_breaks_off_is_not_complete() {
    const SIZED: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello";
    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    type Leave = fn(Client);
    const WAYS: [(&str, Leave); 3] = [
        ("closes", drop),
        ("resets", Client::reset),
        ("says no more", |mut client| drop(client.finish().rest())),
    ];
    for request in [SIZED, CHUNKED] {
        for (how, leave) in WAYS {
            let body = upload(request, leave);
            assert!(body.contains("hello") && !body.contains("0\r\n"), "{how}: {body}");
        }
    }
}
