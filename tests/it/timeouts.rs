//! Nobody is waited for without end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use stickler::clock::Stopwatch;

use crate::support::{Backend, BlackHole, Client, Gate, PATIENCE, Proxy, get, pool, wait_until};

/// A proxy that waits only so long for this kind of thing from its clients.
fn patient(timeout: &str, backend: &Backend) -> Proxy {
    Proxy::configured(&format!("[server.timeouts]\n{timeout}"), &[backend], "")
}

/// Sends one byte after the other, `pause` apart, on a thread of its own, until all are sent or
/// the proxy has had enough.
fn trickle(client: &Client, bytes: impl Into<Vec<u8>>, pause: Duration) {
    let mut stream: TcpStream = client.stream.get_ref().try_clone().unwrap();
    let bytes = bytes.into();
    thread::spawn(move || {
        for byte in bytes {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(pause);
        }
    });
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_head_must_be_whole_in_time_however_steadily_it_comes() {
    let backend = Backend::named("a");
    let proxy = patient("request_header = \"300ms\"", &backend);
    let mut stalled = Client::connect(proxy.address());
    stalled.send("GET / HTTP/1.1\r\nHost:");
    let mut slow = Client::connect(proxy.address());
    trickle(&slow, "x".repeat(10_000), Duration::from_millis(20));
    let mut second = Client::connect(proxy.address());
    assert_eq!(second.send(GET).response().status, 200);
    second.send("GET / HTTP/1.1\r\n");
    for client in [&mut stalled, &mut slow, &mut second] {
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (408, Some("close")));
        client.assert_closed();
    }
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn a_silent_connection_ends_without_a_word() {
    let backend = Backend::named("a");
    let proxy = patient("request_header = \"200ms\"\nidle = \"200ms\"", &backend);
    Client::connect(proxy.address()).assert_closed();
    let mut used = Client::connect(proxy.address());
    assert_eq!(used.send(GET).response().status, 200);
    used.assert_closed();
}

const SHORT: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc";
const LONG: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc";
const CHUNKED: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

#[test]
fn a_body_that_stalls_is_given_up() {
    let backend = Backend::named("a");
    let proxy = patient("request_body = \"200ms\"", &backend);
    for request in [SHORT, LONG, CHUNKED] {
        let mut client = Client::connect(proxy.address());
        let response = client.send(request).response();
        assert_eq!((response.status, response.field("connection")), (408, Some("close")));
        client.assert_closed();
    }
    proxy.wait_until_quiet();
    assert!(backend.requests().is_empty());
    assert_eq!(proxy.member("b0").outcomes(), [0, 0, 2], "it is not the backend's fault");
}

#[test]
fn a_body_must_come_at_a_minimum_rate_but_need_not_come_fast() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut clients = [SHORT, LONG, CHUNKED].map(|request| {
        let mut client = Client::connect(proxy.address());
        client.send(request);
        let body = if request == CHUNKED { "1\r\nx\r\n".repeat(100) } else { "x".repeat(600) };
        trickle(&client, body, Duration::from_millis(100)); // 10 bytes a second
        client
    });
    let since = Stopwatch::start();
    let mut steady = Client::connect(proxy.address());
    steady.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4500\r\n\r\n");
    trickle(&steady, "x".repeat(4500), Duration::from_millis(1)); // 500 a second at least
    for client in &mut clients {
        assert_eq!(client.response().status, 408);
        assert!(since.elapsed() >= Duration::from_secs(5), "there are 5 s of grace");
        client.assert_closed();
    }
    assert_eq!(steady.response().status, 200);
    proxy.wait_until_quiet();
}

#[test]
fn a_backend_that_does_not_accept_is_given_up_and_another_one_asked() {
    let hole = BlackHole::new();
    let address = hole.address.to_string();
    let settings = "timeouts = { connect = \"200ms\" }\nbalance = \"round_robin\"\neject = false";
    let alone = Proxy::with(&pool(std::slice::from_ref(&address), settings));
    assert_eq!(get(alone.address(), "/", "").status, 502);
    assert_eq!(alone.in_flight(), 0);
    let other = Backend::named("other");
    let together = Proxy::with(&pool(&[address, other.address.to_string()], settings));
    for _ in 0..3 {
        assert_eq!(get(together.address(), "/", "").text(), "other");
    }
}

#[test]
fn a_backend_that_does_not_answer_is_given_up() {
    let closed = Gate::new();
    let is_closed = closed.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        conversation.wait_for_close();
        is_closed.open();
    });
    let proxy = Proxy::before(&[&backend], "timeouts = { response_header = \"200ms\" }");
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").status, 504);
    closed.wait();
    proxy.wait_until_quiet();
    assert_eq!(backend.connections(), 1, "and the request is not sent again");
    assert_eq!(proxy.member("b0").outcomes(), [0, 1, 0]);
    assert_eq!(client.get("/", "").status, 504, "the client's connection goes on");
}

#[test]
fn a_backend_that_does_not_finish_its_head_is_given_up() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\nX: ");
        while conversation.stream.get_mut().write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let proxy = Proxy::before(&[&backend], "timeouts = { response_header = \"200ms\" }");
    assert_eq!(get(proxy.address(), "/", "").status, 504);
}

#[test]
fn a_backend_that_stops_reading_is_given_up() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        // Holds the connection without reading from it, until the proxy has answered.
        let stream = conversation.stream.get_ref();
        wait_until("the proxy has gone", || (&mut &*stream).write(b"").is_err());
    });
    let proxy = Proxy::before(&[&backend], "timeouts = { response_header = \"200ms\" }");
    let mut client = Client::connect(proxy.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 30));
    let mut stream = client.stream.get_ref().try_clone().unwrap();
    thread::spawn(move || while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {});
    assert_eq!(client.response().status, 504);
    proxy.wait_until_quiet();
}

#[test]
fn a_slow_upload_is_not_the_backends_fault() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "timeouts = { response_header = \"200ms\" }");
    let mut client = Client::connect(proxy.address());
    client.send(CHUNKED);
    let rest = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(5));
    trickle(&client, rest, Duration::from_millis(25));
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last_request().body, b"abcxxxxx");
}

#[test]
fn a_response_that_stalls_is_broken_off() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "timeouts = { response_body = \"200ms\" }");
    let response = get(proxy.address(), "/", "");
    assert_eq!((response.text().as_str(), response.is_complete), ("hello", false));
    proxy.wait_until_quiet();
    assert_eq!(proxy.member("b0").outcomes(), [0, 1, 0]);
}

#[test]
fn a_slow_and_steady_response_is_not() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        for _ in 0..20 {
            conversation.send("x");
            thread::sleep(Duration::from_millis(50));
        }
    });
    let proxy = Proxy::before(&[&backend], "timeouts = { response_body = \"500ms\" }");
    assert!(get(proxy.address(), "/", "").is_complete);
}

/// More than all buffers between a backend and a client that does not read.
const LARGE: usize = 64 * 1024 * 1024;

/// A backend whose response is that large; the gate opens when it has been sent, or given up.
fn sending_much(done: Gate) -> Backend {
    Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        conversation.send("x".repeat(LARGE));
        done.open();
    })
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let given_up = Gate::new();
    let backend = sending_much(given_up.clone());
    let proxy = patient("response_write = \"200ms\"", &backend);
    let mut client = Client::connect(proxy.address());
    client.send(GET).head();
    given_up.wait();
    proxy.wait_until_quiet();
    assert_eq!(proxy.member("b0").outcomes(), [0, 0, 1], "it is not the backend's fault");
    let (rest, is_orderly) = client.rest();
    assert!(rest.len() < LARGE && !is_orderly);
}

#[test]
fn a_client_may_take_its_time_over_what_the_backend_has_finished() {
    let backend = Backend::answering(|request| {
        let length: usize = request.target[1..].parse().unwrap();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    });
    let timeouts = "[server.timeouts]\nidle = \"200ms\"\nrequest_header = \"200ms\"";
    // Long enough for a backend on a busy machine, which has megabytes to make up.
    let settings = "timeouts = { response_body = \"600ms\" }";
    let proxy = Proxy::configured(timeouts, &[&backend], settings);
    // Some fit into the kernel's buffers, some do not, and of some a part waits in the proxy.
    let sizes = (1..=40).map(|steps| steps * 200_000);
    let begin = |size: usize| {
        let mut client = Client::connect(proxy.address());
        client.send(format!("GET /{size} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    let clients: Vec<_> = sizes.clone().map(begin).collect();
    wait_until("the smaller ones are finished", || proxy.in_flight() < 30);
    thread::sleep(Duration::from_millis(1_200)); // longer than any of these timeouts
    for (mut client, size) in clients.into_iter().zip(sizes) {
        let response = client.response();
        assert_eq!((response.body.len(), response.is_complete), (size, true));
    }
}

#[test]
fn many_slow_uploads_tie_up_no_backend() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        client.send(SHORT);
    }
    assert_eq!(get(proxy.address(), "/", "").status, 200);
    assert_eq!((backend.connections(), proxy.in_flight()), (1, 0));
    for client in &mut clients {
        client.send("x".repeat(997));
    }
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn timeouts_are_not_early() {
    let backend = Backend::new(|mut conversation| conversation.wait_for_close());
    let settings = "timeouts = { response_header = \"400ms\" }";
    let proxy = Proxy::before(&[&backend], settings);
    let since = Stopwatch::start();
    assert_eq!(get(proxy.address(), "/", "").status, 504);
    assert!((Duration::from_millis(400)..PATIENCE).contains(&since.elapsed()));
}

/// The first backend is a black hole for longer than the grace of the minimum rate, and only then
/// is the client asked for its body.
#[test]
fn the_minimum_rate_begins_when_the_client_is_asked() {
    let hole = BlackHole::new();
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 100 Continue\r\n\r\n");
        let mut body = [0; 3];
        conversation.stream.read_exact(&mut body).unwrap();
        conversation.answer(200, "got it");
    });
    let addresses = [hole.address.to_string(), backend.address.to_string()];
    let settings = "balance = \"round_robin\"\ntimeouts = { connect = \"5500ms\" }";
    let proxy = Proxy::with(&pool(&addresses, settings));
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 100 "));
    thread::sleep(Duration::from_millis(350)); // a distant client's answer takes its time
    assert_eq!(client.send("abc").response().text(), "got it");
}
