//! Backends that speak TLS: who is believed, and who is not.

use std::sync::Arc;

use stickler::balance::BackendState;

use crate::support::{Authority, Client, Gate, Proxy, TlsBackend, get, pool, wait_until};

/// A proxy in front of this backend, with these lines in `[pools.pool.tls]`.
fn proxy(backend: &TlsBackend, lines: &str, settings: &str) -> Proxy {
    let settings = format!("{settings}\n[pools.pool.tls]\n{lines}");
    Proxy::with(&pool(&[backend.address.to_string()], &settings))
}

/// Lines that trust this authority, and look for this name.
fn trusting(authority: &Authority, name: &str) -> String {
    format!("ca = {:?}\nserver_name = \"{name}\"\n", authority.file())
}

#[test]
fn requests_and_answers_pass_and_connections_are_kept() {
    const SIZE: usize = 3_000_000;
    let authority = Authority::new();
    let backend = TlsBackend::echoing(&authority.issue("app", &["app.test"]), None, "hello");
    let proxy = proxy(&backend, &trusting(&authority, "app.test"), "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        assert_eq!(client.get("/", "").text(), "hello");
    }
    assert_eq!(backend.connections(), 1);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(vec![b'x'; SIZE]);
    let response = client.response();
    assert!(response.is_complete && response.body == vec![b'x'; SIZE]);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), "abc");
    proxy.wait_until_quiet();
}

#[test]
fn only_who_is_who_they_should_be_gets_requests() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let backend = TlsBackend::echoing(&authority.issue("app", &["app.test"]), None, "hello");
    let by_address = authority.issue("address", &["127.0.0.1"]);
    let named_by_address = TlsBackend::echoing(&by_address, None, "hello");
    let ca = format!("ca = {:?}", authority.file());
    for (backend, lines, status) in [
        (&backend, trusting(&authority, "app.test"), 200),
        (&backend, trusting(&authority, "other.test"), 502),
        (&backend, trusting(&stranger, "app.test"), 502),
        (&backend, ca.clone(), 502), // its certificate is not for its address
        (&named_by_address, ca.clone(), 200),
        (&backend, "verify = \"danger_accept_anybody\"".into(), 200),
        (&backend, format!("{}min_version = \"1.3\"", trusting(&authority, "app.test")), 200),
    ] {
        let proxy = proxy(backend, &lines, "");
        assert_eq!(get(proxy.address(), "/", "").status, status, "{lines}");
    }
}

#[test]
fn backends_may_ask_who_we_are() {
    let authority = Authority::new();
    let pair = authority.issue("app", &["app.test"]);
    let us = authority.issue("us", &["stickler"]);
    let backend = TlsBackend::echoing(&pair, Some(&authority), "hello");
    let trust = trusting(&authority, "app.test");
    let with_certificate = format!("{trust}certificate = {}", us.toml());
    assert_eq!(get(proxy(&backend, &with_certificate, "").address(), "/", "").status, 200);
    assert_eq!(get(proxy(&backend, &trust, "").address(), "/", "").status, 502);
}

#[test]
fn health_checks_go_the_same_way() {
    let authority = Authority::new();
    let backend = TlsBackend::echoing(&authority.issue("app", &["app.test"]), None, "hello");
    for check in ["path = \"/healthz\"\nbody = \"hello\"", ""] {
        let health = format!("[pools.pool.health]\ninitial = \"down\"\n{check}");
        for (name, state) in [("app.test", BackendState::Ready), ("other.test", BackendState::Down)]
        {
            let proxy = proxy(&backend, &trusting(&authority, name), &health);
            let before = backend.connections();
            wait_until("it has been checked", || backend.connections() > before + 1);
            assert_eq!(proxy.member("b0").state(), state, "{check} {name}");
        }
    }
}

#[test]
fn connections_that_were_closed_meanwhile_are_not_used() {
    let authority = Authority::new();
    let pair = authority.issue("app", &["app.test"]);
    let backend = TlsBackend::new(&pair, None, |mut conversation| {
        let Some(length) = conversation.request_length() else { return };
        conversation.bytes(length);
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        conversation.stream.get_mut().conn.send_close_notify();
        conversation.send("");
    });
    let proxy = proxy(&backend, &trusting(&authority, "app.test"), "");
    let mut client = Client::connect(proxy.address());
    for connections in 1..6 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().text(), "ok");
        assert_eq!(backend.connections(), connections);
    }
}

#[test]
fn a_response_that_breaks_off_does_not_look_complete() {
    let authority = Authority::new();
    let pair = authority.issue("app", &["app.test"]);
    let gate = Gate::new();
    let seen = gate.clone();
    let backend = TlsBackend::new(&pair, None, move |mut conversation| {
        conversation.request_length();
        conversation.send("HTTP/1.1 200 OK\r\n\r\nhalf of it");
        seen.wait(); // and then no goodbye
    });
    let proxy = proxy(&backend, &trusting(&authority, "app.test"), "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head();
    assert_eq!(client.bytes(15), b"A\r\nhalf of it\r\n");
    gate.open();
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "that would be a good end: {rest:?}");
}

#[test]
fn web_sockets_pass_over_tls_on_both_sides() {
    use tokio_tungstenite::tungstenite;

    let authority = Authority::new();
    let pair = authority.issue("app", &["app.test"]);
    let backend = TlsBackend::new(&pair, None, |conversation| {
        let Ok(mut socket) = tungstenite::accept(conversation.stream.into_inner()) else { return };
        while let Ok(message) = socket.read() {
            if message.is_text() {
                socket.send(message).unwrap();
            }
        }
    });
    let listener = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n",
        pair.toml()
    );
    let settings = format!("[pools.pool.tls]\n{}", trusting(&authority, "app.test"));
    let proxy = Proxy::with(&(listener + &pool(&[backend.address.to_string()], &settings)));
    let config = Arc::new(authority.client(None));
    let client = crate::support::TlsClient::secured(proxy.address(), "app.test", &config).unwrap();
    let request = tungstenite::ClientRequestBuilder::new("wss://app.test/".parse().unwrap());
    let (mut socket, _) = tungstenite::client(request, client.stream.into_inner()).unwrap();
    for text in ["a", &"long".repeat(100_000)] {
        socket.send(tungstenite::Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), tungstenite::Message::text(text));
    }
}

#[test]
fn backends_may_choose_the_protocol() {
    let authority = Authority::new();
    let backend = TlsBackend::echoing(&authority.issue("app", &["app.test"]), None, "hello");
    for (http2, status) in [("false", 200), ("true", 502), ("\"auto\"", 200)] {
        let settings = format!("http2 = {http2}");
        let proxy = proxy(&backend, &trusting(&authority, "app.test"), &settings);
        assert_eq!(get(proxy.address(), "/", "").status, status, "{http2}");
    }
    let before = backend.connections();
    let proxy = proxy(&backend, &trusting(&authority, "app.test"), "http2 = \"auto\"");
    let mut client = Client::connect(proxy.address());
    (0..5).for_each(|_| assert_eq!(client.get("/", "").text(), "hello"));
    assert_eq!(backend.connections(), before + 1, "it is kept");
}

#[test]
fn who_is_not_believed_any_more_is_not_used_any_more() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let backend = TlsBackend::echoing(&authority.issue("app", &["app.test"]), None, "hello");
    let ca = authority.path().join("bundle.pem");
    std::fs::copy(authority.file(), &ca).unwrap();
    let tls = format!("[pools.pool.tls]\nca = {ca:?}\nserver_name = \"app.test\"\n");
    let config = |tls: &str| {
        let server = "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"\n";
        format!("{server}{}", pool(&[backend.address.to_string()], tls))
    };
    let proxy = Proxy::with(&config(&tls));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").text(), "hello");
    proxy.reload(&config(&tls)).unwrap();
    assert_eq!(client.get("/", "").text(), "hello");
    assert_eq!(backend.connections(), 1, "nothing has changed");

    proxy.reload(&config(&tls.replace("app.test", "other.test"))).unwrap();
    assert_eq!(client.get("/", "").status, 502, "another name");
    proxy.reload(&config(&tls)).unwrap();
    assert_eq!(client.get("/", "").status, 200);
    std::fs::copy(stranger.file(), &ca).unwrap();
    proxy.reload(&config(&tls)).unwrap();
    assert_eq!(client.get("/", "").status, 502, "the same file with others in it");
}
