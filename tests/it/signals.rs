//! `stickler run` and the signals that end it.

use std::net::{SocketAddr, TcpStream};

use stickler::clock::Stopwatch;

use crate::support::{Backend, Client, Files, Gate, Process, get, pool, wait_until};

/// A proxy that gives what is in flight so long, a request in flight, and the gate that its answer
/// waits for.
struct Busy {
    proxy: Process,
    address: SocketAddr,
    client: Client,
    gate: Gate,
    _files: Files,
    _backend: Backend,
}

fn busy(shutdown_timeout: &str) -> Busy {
    let (gate, asked) = (Gate::new(), Gate::new());
    let (opens, arrived) = (gate.clone(), asked.clone());
    let backend = Backend::answering(move |_| {
        arrived.open();
        opens.wait();
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone".into()
    });
    let config = format!(
        "[server]\nworkers = 2\nshutdown_timeout = \"{shutdown_timeout}\"\n{}",
        pool(&[backend.address.to_string()], "")
    );
    let files = Files::with(&config);
    let (proxy, address) = files.run();
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.wait();
    Busy { proxy, address, client, gate, _files: files, _backend: backend }
}

impl Busy {
    /// Sends a signal; when this returns, nobody can connect any more.
    fn signal(&self, name: &str) {
        self.proxy.signal(name);
        wait_until("nothing listens", || TcpStream::connect(self.address).is_err());
    }
}

#[test]
fn what_is_in_flight_is_finished_and_the_exit_code_is_0() {
    for signal in ["TERM", "INT"] {
        let mut busy = busy("20s");
        busy.signal(signal);
        busy.gate.open();
        let response = busy.client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "done"));
        assert_eq!(response.field("connection"), Some("close"));
        busy.client.assert_closed();
        drop(busy.client);
        let ended = busy.proxy.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn what_does_not_finish_is_cut_off_and_the_exit_code_is_1() {
    let mut busy = busy("500ms");
    let since = Stopwatch::start();
    busy.signal("TERM");
    let ended = busy.proxy.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cut off"), "{ended:?}");
    assert!(since.elapsed().as_millis() >= 500, "too early: {:?}", since.elapsed());
    assert!(busy.client.try_response(false).is_none());
    busy.gate.open();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let busy = busy("10m");
        busy.signal(first);
        busy.proxy.signal(second);
        let ended = busy.proxy.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        busy.gate.open();
    }
}

#[test]
fn a_hang_up_reloads() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let files = Files::with(&pool(&[a.address.to_string()], ""));
    let (proxy, address) = files.run();
    files.configure("nonsense");
    proxy.signal("HUP");
    wait_until("it says why not", || proxy.stderr().contains("expected"));
    assert!(proxy.stderr().contains("stays in force"), "{}", proxy.stderr());
    assert_eq!(get(address, "/", "").text(), "a");
    files.configure(&pool(&[b.address.to_string()], ""));
    proxy.signal("HUP");
    wait_until("it says so", || proxy.stderr().contains("was reloaded"));
    assert_eq!(get(address, "/", "").text(), "b");
    proxy.signal("TERM");
    assert_eq!(proxy.end().code, Some(0));
}

#[test]
fn without_work_it_ends_at_once() {
    let backend = Backend::named("a");
    let files = Files::with(&pool(&[backend.address.to_string()], ""));
    let (proxy, address) = files.run();
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/", "").status, 200);
    let since = Stopwatch::start();
    proxy.signal("TERM");
    let ended = proxy.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(since.elapsed().as_secs() < 10, "it waited for an idle client");
    idle.assert_closed();
}

#[test]
fn another_proxy_can_take_the_address_over_at_once() {
    let backend = Backend::named("a");
    let config = pool(&[backend.address.to_string()], "");
    let files = Files::with(&config);
    let (mut proxy, mut address) = files.run();
    for _ in 0..3 {
        let mut client = Client::connect(address);
        assert_eq!(client.get("/", "").status, 200);
        proxy.signal("TERM");
        assert_eq!(proxy.end().code, Some(0));
        files.configure(&format!("[[listeners]]\naddress = \"{address}\"\n{config}"));
        (proxy, address) = files.run();
        assert_eq!(get(address, "/", "").status, 200);
    }
}

#[test]
fn an_address_that_is_taken_is_said_to_be() {
    let taken = Backend::named("a");
    let address = taken.address.to_string();
    let listener = format!("[[listeners]]\naddress = \"{address}\"\n");
    let files = Files::with(&format!("{listener}{}", pool(&["127.0.0.1:1".into()], "")));
    let ended = files.start().end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("another process"));
}
