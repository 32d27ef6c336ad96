//! How it ends: gracefully, and in time.

use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stickler::clock::Stopwatch;
use stickler::server::Shutdown;

use crate::support::{Backend, Client, Files, Gate, Process, Proxy, get, pool, wait_until};

const UPGRADE: &str =
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A proxy that gives what is in flight a lot of time to finish.
fn patient(backend: &Backend) -> Proxy {
    Proxy::configured("[server]\nworkers = 2\nshutdown_timeout = \"15s\"", &[backend], "")
}

/// A backend that answers when the gate is open.
fn gated(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            gate.wait();
            conversation.answer(200, "done");
        }
    })
}

/// Begins to shut down; when this returns, nobody can connect any more.
fn begin_to_shut_down(proxy: Proxy) -> JoinHandle<Shutdown> {
    let address = proxy.address();
    let shutting_down = thread::spawn(move || proxy.shut_down());
    wait_until("nothing listens any more", || TcpStream::connect(address).is_err());
    shutting_down
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let backend = Backend::named("a");
    let proxy = patient(&backend);
    let mut fresh = Client::connect(proxy.address());
    let mut used = Client::connect(proxy.address());
    assert_eq!(used.get("/", "").status, 200);
    let since = Stopwatch::start();
    assert_eq!(proxy.shut_down(), Shutdown::Complete);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    fresh.assert_closed();
    used.assert_closed();
}

#[test]
fn what_is_in_flight_is_finished_and_its_client_told_to_go() {
    let gate = Gate::new();
    let backend = gated(&gate);
    let proxy = patient(&backend);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    let shutting_down = begin_to_shut_down(proxy);
    gate.open();
    let response = client.response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("done", Some("close")));
    client.assert_closed();
    drop(client);
    assert_eq!(shutting_down.join().unwrap(), Shutdown::Complete);
}

#[test]
fn bodies_on_their_way_are_finished_in_both_directions() {
    const SIZE: usize = 4 * 1024 * 1024;
    let backend = Backend::answering(|request| {
        let body = "x".repeat(request.body.len());
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let proxy = patient(&backend);
    let mut client = Client::connect(proxy.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    wait_until("it is in flight", || proxy.in_flight() == 1);
    let shutting_down = begin_to_shut_down(proxy);
    let response = client.send("x".repeat(SIZE)).response();
    assert_eq!((response.body.len(), response.is_complete), (SIZE, true));
    client.assert_closed();
    drop(client);
    assert_eq!(shutting_down.join().unwrap(), Shutdown::Complete);
}

#[test]
fn a_request_whose_head_has_begun_is_still_served() {
    let backend = Backend::named("a");
    let proxy = patient(&backend);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHo");
    assert_eq!(get(proxy.address(), "/", "").status, 200, "the head before has arrived by now");
    let shutting_down = begin_to_shut_down(proxy);
    client.send("st: a\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    drop(client);
    assert_eq!(shutting_down.join().unwrap(), Shutdown::Complete);
}

#[test]
fn what_does_not_end_is_cut_off_in_time() {
    let backend = gated(&Gate::new());
    let tables = "[server]\nworkers = 2\nshutdown_timeout = \"300ms\"";
    let proxy = Proxy::configured(tables, &[&backend], "");
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait_until("they are in flight", || proxy.in_flight() == 3);
    let since = Stopwatch::start();
    assert_eq!(proxy.shut_down(), Shutdown::Forced { connections: 3 });
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&since.elapsed()));
}

#[test]
fn a_tunnel_that_does_not_end_is_cut_off_in_time() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(UPGRADE).head();
    // It was told, and neither end has answered.
    assert_eq!(proxy.shut_down(), Shutdown::Forced { connections: 1 });
}

#[test]
fn a_tunnel_of_which_we_know_no_last_word_ends_without_one() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        conversation.wait_for_close();
    });
    let proxy = patient(&backend);
    let mut client = Client::connect(proxy.address());
    client.send(UPGRADE.replace("websocket", "x")).head();
    let since = Stopwatch::start();
    assert_eq!(proxy.shut_down(), Shutdown::Complete);
    assert!(since.elapsed() < Duration::from_secs(7), "{:?}", since.elapsed());
    client.assert_closed();
}

/// A `stickler` of its own in front of this backend, and where it listens.
fn process(backend: &Backend) -> (Process, SocketAddr) {
    Files::with(&pool(&[backend.address.to_string()], "")).run()
}

#[test]
fn signals_end_it_gracefully() {
    for signal in ["TERM", "INT"] {
        let gate = Gate::new();
        let backend = gated(&gate);
        let (process, address) = process(&backend);
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("it is in flight", || backend.connections() == 1);
        process.signal(signal);
        wait_until("nothing listens any more", || TcpStream::connect(address).is_err());
        gate.open();
        assert_eq!(client.response().text(), "done", "SIG{signal}");
        drop(client);
        assert_eq!(process.end().code, Some(0), "SIG{signal}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let backend = gated(&Gate::new());
    let (process, address) = process(&backend);
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || backend.connections() == 1);
    process.signal("TERM");
    wait_until("nothing listens any more", || TcpStream::connect(address).is_err());
    process.signal("INT");
    assert_eq!(process.end().code, Some(1));
}

#[test]
fn a_client_that_keeps_its_connection_after_its_answer_was_not_cut_off() {
    let gate = Gate::new();
    let backend = gated(&gate);
    let tables = "[server]\nworkers = 1\nshutdown_timeout = \"1s\"";
    let proxy = Proxy::configured(tables, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    let shutting_down = begin_to_shut_down(proxy);
    gate.open();
    assert_eq!(client.response().field("connection"), Some("close"));
    client.assert_closed();
    assert_eq!(shutting_down.join().unwrap(), Shutdown::Complete);
}

#[test]
fn who_has_connected_before_the_end_is_served() {
    let backend = Backend::named("a");
    let proxy = patient(&backend);
    let address = proxy.address();
    // Some are accepted already when the end comes, others still wait for that.
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(address)).collect();
    let shutting_down = thread::spawn(move || proxy.shut_down());
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        let response = client.response();
        assert_eq!(response.status, 200); // and `close`, unless a worker had not heard of the end
    }
    drop(clients);
    assert_eq!(shutting_down.join().unwrap(), Shutdown::Complete);
}
