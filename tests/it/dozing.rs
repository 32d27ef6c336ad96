//! A connection that has been idle for a while gives its buffers back. Nobody notices.

use std::thread;
use std::time::Duration;

use stickler::clock::Stopwatch;
use stickler::server::Shutdown;

use crate::support::{Backend, Client, Files, Gate, Proxy, pool, wait_until};

/// Time enough for a connection to fall asleep. There is nothing to wait for: it shows nowhere.
fn nap() {
    thread::sleep(Duration::from_millis(1400));
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn requests_are_served_after_each_nap() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(
        "[server.limits]\nrequests_per_connection = 5",
        &[&backend],
        "[pools.pool.affinity]\nmode = \"cookie\"",
    );
    let mut client = Client::connect(proxy.address());
    nap();
    let first = client.get("/", "");
    let cookie = format!("Cookie: {}\r\n", first.cookie().unwrap());
    nap();
    client.send(POST);
    assert_eq!(client.response().text(), "hello");
    nap();
    let again = client.get("/", &cookie);
    assert_eq!((again.text().as_str(), again.cookie()), ("hello", None));
    assert_eq!(backend.last_request().field("stickler-affinity"), Some("bound"));
    nap();
    client.send([GET, GET].concat());
    assert_eq!(client.response().field("connection"), None);
    assert_eq!(client.response().field("connection"), Some("close"), "all of them are counted");
    client.assert_closed();
}

#[test]
fn what_comes_in_pieces_is_put_together() {
    let backend = Backend::named("hello");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for pieces in [["\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"], ["G", &GET[1..]], [GET, GET]] {
        for piece in pieces {
            client.send(piece);
            nap();
        }
        assert_eq!(client.response().text(), "hello", "{pieces:?}");
    }
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_head_that_wakes_it_must_still_be_whole_in_time() {
    let backend = Backend::named("a");
    let timeouts = "[server.timeouts]\nrequest_header = \"300ms\"";
    let proxy = Proxy::configured(timeouts, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").status, 200);
    nap();
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(client.response().status, 408);
    client.assert_closed();
}

#[test]
fn it_wakes_up_to_refuse_as_well() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    for wrong in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "\x16\x03"] {
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.get("/", "").status, 200);
        nap();
        let response = client.send(wrong).finish().response();
        assert_eq!((response.status, response.field("connection")), (400, Some("close")));
        client.assert_closed();
    }
    proxy.wait_until_quiet();
    assert_eq!(backend.requests().len(), 3);
}

#[test]
fn it_ends_when_its_client_does() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut fresh = Client::connect(proxy.address());
    let mut used = Client::connect(proxy.address());
    assert_eq!(used.get("/", "").status, 200);
    nap();
    fresh.finish().assert_closed();
    used.finish().assert_closed();
}

#[test]
fn it_ends_at_its_idle_timeout_and_not_before() {
    let backend = Backend::named("a");
    let timeouts = "[server.timeouts]\nidle = \"2500ms\"\nrequest_header = \"2500ms\"";
    let proxy = Proxy::configured(timeouts, &[&backend], "");
    let since = Stopwatch::start();
    let mut fresh = Client::connect(proxy.address());
    let mut used = Client::connect(proxy.address());
    assert_eq!(used.get("/", "").status, 200);
    for mut client in [fresh, used] {
        client.assert_closed();
        assert!(since.elapsed() >= Duration::from_millis(2500));
    }
    fresh = Client::connect(proxy.address());
    assert_eq!(fresh.get("/", "").status, 200);
}

#[test]
fn it_does_not_hold_up_a_shutdown() {
    let backend = Backend::named("a");
    let patient = "[server]\nworkers = 2\nshutdown_timeout = \"15s\"";
    let proxy = Proxy::configured(patient, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").status, 200);
    nap();
    let since = Stopwatch::start();
    assert_eq!(proxy.shut_down(), Shutdown::Complete);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    client.assert_closed();
}

#[test]
fn nobody_falls_asleep_over_an_exchange() {
    let gate = Gate::new();
    let is_open = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            is_open.wait();
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n");
            conversation.send("x".repeat(30_000_000));
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        client.send(POST);
        nap();
        gate.open();
        nap(); // the response is larger than all buffers, and nobody reads it
        assert!(client.response().is_complete);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn it_needs_little_memory() {
    const CLIENTS: usize = 500;
    let backend = Backend::named("hello");
    let files = Files::with(&pool(&[backend.address.to_string()], ""));
    let (proxy, address) = files.run();
    let connected = || {
        let mut client = Client::connect(address);
        assert_eq!(client.get("/", "").status, 200);
        client
    };
    drop(connected());
    let before = proxy.resident_memory();
    let clients: Vec<_> = (0..CLIENTS).map(|_| connected()).collect();
    wait_until("they need little", || {
        let each = proxy.resident_memory().saturating_sub(before) / CLIENTS;
        each < 8 * 1024 // awake it is twice as much for the buffers alone
    });
    drop(clients);
}
