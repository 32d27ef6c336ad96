//! Tunnels, byte by byte: what an upgraded connection carries, and how it ends.

use std::io::Read;
use std::net::Shutdown;

use crate::support::{Backend, Client, Conversation, Files, Gate, Proxy, get, wait_until};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A backend that switches protocols, and what it then does with each tunnel.
fn switching(tunnel: impl Fn(Conversation) + Send + Sync + 'static) -> Backend {
    Backend::new(move |mut conversation| {
        let head = conversation.head().unwrap().to_lowercase();
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        conversation.send(SWITCH);
        tunnel(conversation);
    })
}

/// Gives back every byte until the other side has no more to say.
fn echo(mut conversation: Conversation) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length) = conversation.stream.read(&mut piece) {
        if length == 0 {
            return;
        }
        conversation.send(&piece[..length]);
    }
}

/// A client at the end of an open tunnel.
fn tunnelled(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address());
    let head = client.send(ASK).head().to_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    client
}

#[test]
fn bytes_pass_both_ways_and_count_as_one_request_in_flight() {
    let backend = switching(echo);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = tunnelled(&proxy);
    for round in 0..100 {
        let bytes = [round; 1000];
        assert_eq!(client.send(bytes).bytes(1000), bytes);
        assert_eq!(proxy.in_flight(), 1);
    }
    drop(client);
    proxy.wait_until_quiet();
}

#[test]
fn what_passes_is_counted_and_logged() {
    let backend = switching(echo);
    let files = Files::with("");
    let log = files.write("access.log", "");
    let tables = format!("[server.access_log]\npath = \"{log}\"\n");
    let proxy = Proxy::configured(&tables, &[&backend], "");
    let mut client = tunnelled(&proxy);
    assert_eq!(client.send([7; 5_000]).bytes(5_000), [7; 5_000]);
    let sum = |name: &str| proxy.scrape().sum(&format!("stickler_{name}_bytes_total"), &[]);
    for name in ["backend_received", "backend_sent", "listener_received", "listener_sent"] {
        // And the heads.
        wait_until("it is counted while it goes on", || sum(name) > 5_000.0);
        assert!(sum(name) < 6_000.0, "{name}: {}", sum(name));
    }
    drop(client);
    wait_until("it is logged", || !std::fs::read_to_string(&log).unwrap().is_empty());
    let line = std::fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5_000.into(), &5_000.into()), "{line}");
}

#[test]
fn a_lot_passes_with_back_pressure() {
    const SIZE: usize = 16 * 1024 * 1024;
    let backend = switching(echo);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = tunnelled(&proxy);
    let mut writer =
        Client { stream: std::io::BufReader::new(client.stream.get_ref().try_clone().unwrap()) };
    let sending = std::thread::spawn(move || {
        writer.send("x".repeat(SIZE)).finish();
    });
    assert!(client.bytes(SIZE).iter().all(|&byte| byte == b'x'));
    client.assert_closed();
    sending.join().unwrap();
    proxy.wait_until_quiet();
}

#[test]
fn what_the_client_sends_early_is_not_lost() {
    // With the request's head in one packet, and after it but before the answer.
    let gate = Gate::new();
    let may_answer = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        may_answer.wait();
        conversation.send(SWITCH);
        echo(conversation);
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(format!("{ASK}early \r\n\r\n\0 frames"));
    wait_until("it is in flight", || proxy.in_flight() == 1);
    client.send(", GET / HTTP/1.1\r\n\r\n");
    gate.open();
    client.head();
    let expected = b"early \r\n\r\n\0 frames, GET / HTTP/1.1\r\n\r\n";
    assert_eq!(client.bytes(expected.len()), expected);
}

#[test]
fn what_the_backend_sends_early_is_not_lost() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send(format!("{SWITCH}welcome"));
        echo(conversation);
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = tunnelled(&proxy);
    assert_eq!(client.bytes(7), b"welcome");
    assert_eq!(client.send("x").bytes(1), b"x");
}

#[test]
fn each_side_may_end_before_the_other() {
    let backend = switching(|mut conversation| {
        let mut all = Vec::new();
        conversation.stream.read_to_end(&mut all).unwrap();
        conversation.send([b"got ", &all[..]].concat());
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = tunnelled(&proxy);
    let (rest, is_orderly) = client.send("all").finish().rest();
    assert_eq!((rest.as_slice(), is_orderly), (&b"got all"[..], true));
    proxy.wait_until_quiet();

    let (got, gets) = std::sync::mpsc::channel();
    let backend = switching(move |mut conversation| {
        conversation.send("bye");
        conversation.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        conversation.stream.read_to_string(&mut all).unwrap();
        got.send(all).unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = tunnelled(&proxy);
    assert_eq!(client.rest(), (b"bye".to_vec(), true));
    client.send("and more").finish();
    assert_eq!(gets.recv_timeout(crate::support::PATIENCE).unwrap(), "and more");
    proxy.wait_until_quiet();
}

#[test]
fn the_end_of_one_side_is_the_end_of_the_tunnel() {
    let ended = Gate::new();
    let has_ended = ended.clone();
    let backend = switching(move |mut conversation| {
        conversation.wait_for_close();
        has_ended.open();
    });
    let proxy = Proxy::before(&[&backend], "");
    tunnelled(&proxy).reset();
    ended.wait();
    proxy.wait_until_quiet();

    let backend = switching(Conversation::reset);
    let proxy = Proxy::before(&[&backend], "");
    tunnelled(&proxy).assert_closed();
    proxy.wait_until_quiet();
}

#[test]
fn an_idle_tunnel_ends_in_time_and_a_busy_one_goes_on() {
    let backend = switching(echo);
    let proxy = Proxy::configured(
        "[server.timeouts]\nidle = \"100ms\"\nrequest_header = \"100ms\"",
        &[&backend],
        "timeouts = { tunnel = \"500ms\", response_header = \"100ms\", response_body = \"100ms\" }",
    );
    let mut client = tunnelled(&proxy);
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(client.send("x").bytes(1), b"x");
    }
    client.assert_closed();
    proxy.wait_until_quiet();
}

#[test]
fn a_backend_may_decline() {
    let backend = Backend::named("no");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        let response = client.send(ASK).response();
        assert_eq!((response.status, response.text().as_str()), (200, "no"));
        assert_eq!(client.get("/", "").status, 200, "the connection goes on as before");
    }
    assert_eq!(proxy.in_flight(), 0);
}

#[test]
fn h2c_is_not_tunnelled() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    for upgrade in ["h2c", "H2C", "websocket, h2c", "h2c,websocket", " h2c "] {
        let lines = format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n"
        );
        assert_eq!(get(proxy.address(), "/", &lines).status, 200);
        let request = backend.last_request();
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(request.field(gone), None, "{upgrade}");
        }
    }
}

#[test]
fn a_switch_is_only_for_who_asked() {
    // Each of these is no request to switch (RFC 9110, section 7.8).
    for lines in ["", "Upgrade: websocket\r\n", "Connection: upgrade\r\n"] {
        let backend = Backend::new(|mut conversation| {
            conversation.head().unwrap();
            conversation.send(SWITCH);
            conversation.wait_for_close();
        });
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.get("/", lines).status, 502, "{lines:?}");
        assert_eq!(proxy.in_flight(), 0);
    }
}

#[test]
fn a_tunnel_may_follow_other_requests() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            if head.starts_with("GET /chat") {
                conversation.send(SWITCH);
                return echo(conversation);
            }
            conversation.answer(200, "x");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    // All of it in one packet.
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{ASK}hello"));
    assert_eq!(client.response().text(), "x");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.bytes(5), b"hello");
    assert_eq!(client.send("more").bytes(4), b"more");
}

#[test]
fn a_request_to_switch_may_have_a_body() {
    let backend = Backend::new(|mut conversation| {
        let request = conversation.request().unwrap();
        conversation.send(SWITCH);
        conversation.send(request.body);
        echo(conversation);
    });
    let proxy = Proxy::before(&[&backend], "");
    for framing in
        ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
    {
        let mut client = Client::connect(proxy.address());
        let head = ASK.replace("GET", "POST").replace("\r\n\r\n", &format!("\r\n{framing}early"));
        assert!(client.send(head).head().starts_with("HTTP/1.1 101 "));
        assert_eq!(client.bytes(8), b"abcearly");
        assert_eq!(client.send("late").bytes(4), b"late");
    }
}

#[test]
fn hints_may_come_before_a_switch() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send(format!("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n{SWITCH}welcome"));
        echo(conversation);
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    assert!(client.send(ASK).head().starts_with("HTTP/1.1 103 "));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.bytes(7), b"welcome");
}

#[test]
fn the_last_request_of_a_connection_may_switch_too() {
    let backend = switching(echo);
    let tables = "[server.limits]\nrequests_per_connection = 1";
    let proxy = Proxy::configured(tables, &[&backend], "");
    assert_eq!(tunnelled(&proxy).send("x").bytes(1), b"x");
}

#[test]
fn a_switch_in_the_middle_of_a_shutdown_is_one() {
    let gate = Gate::new();
    let may_answer = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        may_answer.wait();
        conversation.send(SWITCH);
        echo(conversation);
    });
    let tables = "[server]\nworkers = 1\nshutdown_timeout = \"15s\"";
    let proxy = Proxy::configured(tables, &[&backend], "");
    let address = proxy.address();
    let mut client = Client::connect(address);
    client.send(ASK);
    wait_until("it is in flight", || proxy.in_flight() == 1);
    let shutting_down = std::thread::spawn(move || proxy.shut_down());
    wait_until("nothing listens any more", || std::net::TcpStream::connect(address).is_err());
    gate.open();
    let head = client.head().to_lowercase();
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.lines().any(|line| line.starts_with("connection: upgrade")), "{head}");
    // A tunnel that begins at the end ends soon, and in good order.
    assert_eq!(client.bytes(19), b"\x88\x11\x03\xf4service restart");
    drop(client);
    shutting_down.join().unwrap();
}

#[test]
fn a_switch_before_the_end_of_the_request_is_none() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send(SWITCH);
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "");
    let head = ASK.replace("GET", "POST").replace("\r\n\r\n", "\r\n");
    let mut client = Client::connect(proxy.address());
    client.send(head).send("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (502, Some("close")));
    client.assert_closed();
    assert_eq!(proxy.in_flight(), 0);
}

#[test]
fn a_demand_to_upgrade_says_to_which_protocol() {
    let backend = Backend::answering(|_| {
        "HTTP/1.1 426 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
            .into()
    });
    let tables = "[server.limits]\nrequests_per_connection = 2";
    let proxy = Proxy::configured(tables, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    for connection in ["upgrade", "upgrade, close"] {
        let response = client.get("/", "");
        assert_eq!(response.field("upgrade"), Some("websocket"));
        assert_eq!((response.status, response.field("connection")), (426, Some(connection)));
    }
    client.assert_closed();
}
