//! How much a client may ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Backend, Client, Gate, Proxy, Response, wait_until};

/// A proxy with these limits in front of a backend that answers everything.
fn limited(limits: &str) -> (Backend, Proxy) {
    let backend = Backend::named("a");
    let proxy = Proxy::configured(&format!("[server.limits]\n{limits}"), &[&backend], "");
    (backend, proxy)
}

fn ask(proxy: &Proxy, request: &str) -> Response {
    Client::connect(proxy.address()).send(request).response()
}

/// A GET with so many fields.
fn with_fields(count: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1))
}

#[test]
fn fields_are_counted() {
    let (backend, proxy) = limited("");
    assert_eq!(ask(&proxy, &with_fields(100)).status, 200);
    assert_eq!(ask(&proxy, &with_fields(101)).status, 431);
    assert_eq!(ask(&proxy, &with_fields(2000)).status, 431);
    assert_eq!(backend.last_request().fields("x").len(), 99);
    let (backend, proxy) = limited("header_count = 300");
    assert_eq!(ask(&proxy, &with_fields(300)).status, 200);
    assert_eq!(backend.last_request().fields("x").len(), 299);
    assert_eq!(ask(&proxy, &with_fields(301)).status, 431);
}

/// A GET whose head has so many bytes.
fn with_bytes(length: usize) -> String {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
    head.replace("X: ", &format!("X: {}", "y".repeat(length - head.len())))
}

#[test]
fn a_heads_bytes_are_counted() {
    for limit in [8 * 1024, 32 * 1024, 256 * 1024] {
        let (_backend, proxy) = limited(&format!("header_bytes = {limit}\nuri_length = 256"));
        assert_eq!(ask(&proxy, &with_bytes(limit)).status, 200, "{limit}");
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.send(with_bytes(limit + 1)).response().status, 431, "{limit}");
        client.assert_closed();
    }
}

#[test]
fn a_head_without_end_is_cut_off() {
    let (backend, proxy) = limited("");
    for (start, endless, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "x", 431),
        ("GET /", "x", 414),
        ("", "\r\n", 431),
    ] {
        let mut client = Client::connect(proxy.address());
        client.send(start).send(endless.repeat(100_000));
        assert_eq!(client.response().status, status, "{start:?} {endless:?}...");
        client.assert_closed();
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn a_targets_bytes_are_counted() {
    let (_backend, proxy) = limited("uri_length = 256");
    let get =
        |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
    assert_eq!(ask(&proxy, &get(256)).status, 200);
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.send(get(257)).response().status, 414);
    client.assert_closed();
    assert_eq!(ask(&proxy, &get(100_000)).status, 414);
    // What a longer limit allows either passes or is a target too long, never fields too large.
    let (_backend, proxy) = limited("header_bytes = \"256KiB\"\nuri_length = \"65534B\"");
    assert_eq!(ask(&proxy, &get(65_534)).status, 200);
    assert_eq!(ask(&proxy, &get(65_535)).status, 414);
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

#[test]
fn a_bodys_bytes_are_counted_however_it_is_framed() {
    let (backend, proxy) = limited("body_bytes = 100000");
    let body = |length: usize| "x".repeat(length);
    let sized = |length: usize| format!("{POST}Content-Length: {length}\r\n\r\n{}", body(length));
    let chunked = |length: usize| {
        let body = body(length / 2);
        let half = format!("{:x}\r\n{body}\r\n", length / 2);
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n{half}{half}0\r\n\r\n")
    };
    for request in [sized(100_000), chunked(100_000)] {
        assert_eq!(ask(&proxy, &request).status, 200);
    }
    assert_eq!(backend.requests().len(), 2);
    for request in [sized(100_001), chunked(100_002)] {
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.send(request).response().status, 413);
        client.assert_closed();
    }
    proxy.wait_until_quiet();
    assert_eq!(backend.requests().len(), 2, "nothing too large came through whole");
}

#[test]
fn a_body_that_is_too_large_is_not_asked_for() {
    let (backend, proxy) = limited("body_bytes = 10");
    let head = format!("{POST}Expect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(ask(&proxy, &head).status, 413);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn the_largest_length_there_is_is_not_taken_for_another() {
    let (backend, proxy) = limited("");
    let mut client = Client::connect(proxy.address());
    client.send(format!("{POST}Content-Length: {}\r\n\r\nabc", u64::MAX));
    client.finish();
    if let Some(response) = client.try_response(false) {
        assert!(matches!(response.status, 400 | 413), "{}", response.status);
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn trailers_are_as_limited_as_heads() {
    let (backend, proxy) = limited("header_bytes = \"8KiB\"\nuri_length = 256");
    let mut client = Client::connect(proxy.address());
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"));
    client.send(format!("X: {}\r\n\r\n", "y".repeat(8 * 1024)));
    assert_eq!(client.response().status, 431);
    client.assert_closed();
    proxy.wait_until_quiet();
    assert!(backend.requests().is_empty());
}

#[test]
fn how_much_is_read_before_a_backend_is_chosen_is_configurable() {
    for (buffer, streams) in [("0", true), ("999", true), ("1000", false)] {
        let (backend, proxy) = limited(&format!("request_buffer = {buffer}"));
        let mut client = Client::connect(proxy.address());
        client.send(format!("{POST}Content-Length: 1000\r\n\r\nabc"));
        if streams {
            wait_until("it has begun", || proxy.in_flight() == 1);
        } else {
            // Whoever comes later is served before.
            assert_eq!(ask(&proxy, &with_fields(1)).status, 200);
            assert_eq!((backend.connections(), proxy.in_flight()), (1, 0));
        }
        assert_eq!(client.send("x".repeat(997)).response().status, 200);
        assert_eq!(backend.last_request().body.len(), 1000);
    }
}

#[test]
fn requests_on_one_connection_are_counted() {
    let (_backend, proxy) = limited("requests_per_connection = 3");
    let mut client = Client::connect(proxy.address());
    for left in [2, 1, 0] {
        let response = client.get("/", "");
        let expected = (left == 0).then_some("close");
        assert_eq!((response.status, response.field("connection")), (200, expected));
    }
    client.assert_closed();
}

#[test]
fn connections_of_one_listener_are_counted() {
    let gate = Gate::new();
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (is_open, peak) = (gate.clone(), most.clone());
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            is_open.wait();
            now.fetch_sub(1, Ordering::SeqCst);
            conversation.answer(200, "x");
        }
    });
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\nmax_connections = 3";
    let proxy = Proxy::configured(listener, &[&backend], "");
    let mut clients: Vec<_> = (0..12).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    wait_until("it is full", || proxy.in_flight() >= 3);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response().status == 200), "the others wait");
    assert!(most.load(Ordering::SeqCst) <= 3, "{} at once", most.load(Ordering::SeqCst));
}

#[test]
fn endless_extensions_and_trailers_are_answered() {
    let (_backend, proxy) = limited("");
    const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extensions = format!("1;a={}\r\nx\r\n", "b".repeat(900)).repeat(20);
    assert_eq!(ask(&proxy, &format!("{HEAD}{extensions}0\r\n\r\n")).status, 400);
    let trailers = format!("X: {}\r\n", "y".repeat(900)).repeat(20);
    assert_eq!(ask(&proxy, &format!("{HEAD}0\r\n{trailers}\r\n")).status, 431);
}
