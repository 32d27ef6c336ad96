//! HTTPS: what changes when a listener speaks TLS, and what does not.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio_tungstenite::tungstenite;

use crate::support::{
    Authority, Backend, Client, Files, PATIENCE, Pair, Process, Proxy, TlsClient, pool, wait_until,
};

const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"";

/// A listener with these certificates, and more lines for its TLS.
fn listener(pairs: &[&Pair], lines: &str) -> String {
    let pairs: Vec<_> = pairs.iter().map(|pair| pair.toml()).collect();
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [{}]\n{lines}\n",
        pairs.join(", ")
    )
}

/// A proxy with one certificate, for `shop.test`, and a client that trusts it.
struct Shop {
    authority: Authority,
    proxy: Proxy,
}

impl Shop {
    fn before(backend: &Backend, settings: &str) -> Self {
        Shop::with("", backend, settings)
    }

    fn with(lines: &str, backend: &Backend, settings: &str) -> Self {
        let authority = Authority::new();
        let pair = authority.issue("shop", &["shop.test"]);
        let proxy = Proxy::configured(&listener(&[&pair], lines), &[backend], settings);
        Shop { authority, proxy }
    }

    #[track_caller]
    fn connect(&self) -> TlsClient {
        let config = Arc::new(self.authority.client(None));
        TlsClient::secured(self.proxy.address(), "shop.test", &config).unwrap()
    }
}

/// The names in the certificate that a client of this name gets.
fn certificate_for(proxy: &Proxy, authority: &Authority, name: &str) -> String {
    let config = Arc::new(authority.client(None));
    match TlsClient::secured(proxy.address(), name, &config) {
        Ok(client) => {
            let certificate = client.session().peer_certificates().unwrap()[0].clone();
            stickler::tls::subject(&certificate).unwrap()
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn requests_come_in_and_everybody_is_told_how() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, COOKIE);
    let mut client = shop.connect();
    let response = client.get("/", "X-Forwarded-Proto: http\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let cookie = response.field("set-cookie").unwrap();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(backend.last_request().field("x-forwarded-proto"), Some("https"));
    let posted = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client.send([posted, posted].concat());
    assert_eq!((client.response().status, client.response().status), (200, 200));
    assert_eq!(backend.connections(), 1);
}

#[test]
fn forwarded_says_https_too() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, "[pools.pool.forward]\nstyle = \"both\"");
    shop.connect().get("/", "");
    let request = backend.last_request();
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("forwarded"), Some("for=127.0.0.1;proto=https;host=\"test\""));
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let first = authority.issue("first", &["first.test", "*.wild.test"]);
    let second = authority.issue("second", &["second.test"]);
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(&listener(&[&first, &second], ""), &[&backend], "");
    let certificate = |name| certificate_for(&proxy, &authority, name);
    assert!(certificate("second.test").contains("CN=second.test"));
    assert!(certificate("first.test").contains("CN=first.test"));
    assert!(certificate("a.wild.test").contains("CN=first.test"));
    assert!(certificate("other.test").contains("DnsName(\"first.test\")"), "they get the first");
}

#[test]
fn both_versions_are_spoken_unless_one_is_too_old() {
    let versions =
        [("1.2", &rustls::version::TLS12, true), ("1.3", &rustls::version::TLS12, false)];
    for (min, version, is_spoken) in versions {
        let backend = Backend::named("hello");
        let shop = Shop::with(&format!("min_version = \"{min}\""), &backend, "");
        let old = Arc::new(shop.authority.client_of(&[version], None));
        let connected = TlsClient::secured(shop.proxy.address(), "shop.test", &old);
        assert_eq!(connected.is_ok(), is_spoken, "{min}");
        let mut client = shop.connect();
        assert_eq!(client.get("/", "").status, 200);
        let spoken = client.session().protocol_version();
        assert_eq!(spoken, Some(rustls::ProtocolVersion::TLSv1_3));
    }
}

#[test]
fn sessions_are_resumed_by_any_worker() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(shop.authority.client_of(&[version], None));
        for i in 0..10 {
            let mut client =
                TlsClient::secured(shop.proxy.address(), "shop.test", &config).unwrap();
            assert_eq!(client.get("/", "").status, 200);
            let kind = client.session().handshake_kind().unwrap();
            assert_eq!(kind == HandshakeKind::Resumed, i > 0, "{kind:?}");
        }
    }
}

#[test]
fn renewed_certificates_are_read_and_bad_ones_are_not_used() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, "");
    let mut early = shop.connect();
    assert_eq!(early.get("/", "").status, 200);
    // A key that is not the certificate's, as when only one of the two has been written.
    let pair = shop.authority.issue("shop", &["shop.test", "broken.test"]);
    let other = shop.authority.issue("other", &["shop.test"]);
    std::fs::copy(other.key, &pair.key).unwrap();
    thread::sleep(Duration::from_millis(2500)); // it is looked at every two seconds
    shop.connect();
    assert!(!certificate_for(&shop.proxy, &shop.authority, "broken.test").contains("CN="));
    shop.authority.issue("shop", &["shop.test", "fresh.test"]);
    wait_until("the new certificate is used", || {
        certificate_for(&shop.proxy, &shop.authority, "fresh.test").contains("CN=shop.test")
    });
    assert_eq!(early.get("/", "").status, 200, "who was connected stays connected");
    assert_eq!(shop.connect().get("/", "").status, 200);
}

#[test]
fn a_reload_changes_what_is_said_and_keeps_who_is_there() {
    let backend = Backend::named("hello");
    let authority = Authority::new();
    let pair = authority.issue("shop", &["shop.test"]);
    let pool = pool(&[backend.address.to_string()], "");
    let files = Files::with(&(listener(&[&pair], "") + &pool));
    let (process, address) = files.run();
    let config = Arc::new(authority.client(None));
    let connect = || TlsClient::secured(address, "shop.test", &config).unwrap();
    let mut early = connect();
    assert_eq!(early.get("/", "").field("strict-transport-security"), None);
    files.configure(&(listener(&[&pair], "hsts = {}") + &pool));
    process.signal("HUP");
    wait_until("it was reloaded", || {
        let mut client = connect();
        let response = client.get("/", "");
        assert_eq!(client.session().handshake_kind(), Some(HandshakeKind::Resumed));
        response.field("strict-transport-security").is_some()
    });
    assert_eq!(early.get("/", "").text(), "hello");
}

#[test]
fn clients_show_who_they_are_and_cannot_pretend() {
    let authority = Authority::new();
    let pair = authority.issue("shop", &["shop.test"]);
    let alice = authority.issue("alice", &["alice"]);
    for (mode, may_be_nobody) in [("required", false), ("optional", true)] {
        let backend = Backend::named("hello");
        let ca = authority.file();
        let lines = format!("client_auth = {{ ca = {ca:?}, mode = \"{mode}\" }}");
        let both = listener(&[&pair], &lines) + "[[listeners]]\naddress = \"127.0.0.1:0\"";
        let proxy = Proxy::configured(&both, &[&backend], "");
        let forged = "X-Client-Subject: CN=admin\r\nX-Client-Subject: CN=root\r\n";

        let config = Arc::new(authority.client(Some(&alice)));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let client = TlsClient::secured(proxy.address(), "shop.test", &config);
            let mut client = client.unwrap();
            assert_eq!(client.get("/", forged).status, 200);
            assert_eq!(client.session().handshake_kind(), Some(kind));
            let subject = backend.last_request().field("x-client-subject").unwrap().to_owned();
            assert!(subject.starts_with("CN=alice"), "{subject}");
        }

        let nobody = Arc::new(authority.client(None));
        let response = TlsClient::secured(proxy.address(), "shop.test", &nobody).ok().and_then(
            |mut client| client.send(request(forged)).try_response(false), // refused at the end
        );
        assert_eq!(response.is_some(), may_be_nobody, "{mode}");
        if may_be_nobody {
            assert_eq!(backend.last_request().field("x-client-subject"), None);
        }

        // Nor over plain HTTP.
        Client::connect(proxy.addresses()[1]).get("/", forged);
        assert_eq!(backend.last_request().field("x-client-subject"), None);

        let stranger = Authority::new();
        let mallory = stranger.issue("mallory", &["alice"]);
        let config = Arc::new(authority.client(Some(&mallory)));
        let response = TlsClient::secured(proxy.address(), "shop.test", &config)
            .ok()
            .and_then(|mut client| client.send(request("")).try_response(false));
        assert!(response.is_none(), "{mode}: a stranger's certificate");
    }
}

fn request(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn plain_http_on_the_port_for_https_is_told_so() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, "");
    let mut client = Client::connect(shop.proxy.address());
    let response = client.get("/", "");
    assert_eq!((response.status, response.field("connection")), (400, Some("close")));
    assert!(response.text().contains("HTTPS"), "{}", response.text());
    client.assert_closed();
    let mut noise = Client::connect(shop.proxy.address());
    noise.send([0xff; 100]);
    noise.assert_closed();
    let mut no_hello = Client::connect(shop.proxy.address());
    no_hello.send([0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]).rest();
    assert_eq!(backend.connections(), 0);
    let scrape = shop.proxy.scrape_after(1);
    let refused = scrape.sum("stickler_requests_total", &[("code", "4xx")]);
    assert_eq!(refused, 1.0, "{}", scrape.text);
}

#[test]
fn handshakes_have_a_time_limit_and_wait_for_a_place() {
    let backend = Backend::named("hello");
    let limits = "handshake_timeout = \"1s\"\nmax_handshakes = 1";
    let shop = Shop::with(limits, &backend, "");
    let mut slow = Client::connect(shop.proxy.address());
    slow.send([0x16, 3, 1]);
    thread::sleep(Duration::from_millis(400));
    // The other one waits for the first one's end.
    assert_eq!(shop.connect().get("/", "").status, 200);
    slow.assert_closed();
}

#[test]
fn plain_listeners_send_clients_to_https() {
    let backend = Backend::named("hello");
    for (port, shown) in [(443, ""), (8443, ":8443")] {
        let listener =
            format!("[[listeners]]\naddress = \"127.0.0.1:0\"\nredirect_to_https = {port}");
        let proxy = Proxy::configured(&listener, &[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send("POST /a?b=c HTTP/1.1\r\nHost: shop.test:80\r\nContent-Length: 0\r\n\r\n");
        let response = client.response();
        let location = format!("https://shop.test{shown}/a?b=c");
        assert_eq!((response.status, response.field("location")), (308, Some(&*location)));
        client.send("GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
        let location = format!("https://[::1]{shown}/x");
        assert_eq!(client.response().field("location"), Some(&*location));
        assert_eq!(client.get("/", "Host: a\r\n").status, 400, "two hosts");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn browsers_are_told_to_stay_with_https() {
    const NAME: &str = "strict-transport-security";
    let backend = Backend::answering(|request| {
        let own =
            if request.target == "/own" { "Strict-Transport-Security: max-age=0\r\n" } else { "" };
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{own}\r\n")
    });
    let shop = Shop::with("hsts = { max_age = \"365d\", include_subdomains = true }", &backend, "");
    let mut client = shop.connect();
    let year = Some("max-age=31536000; includeSubDomains");
    assert_eq!(client.get("/", "").field(NAME), year);
    assert_eq!(client.get("/own", "").field(NAME), Some("max-age=0"));
    client.send("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.field(NAME)), (405, year), "our own answers, too");
    let plain = Shop::before(&backend, "");
    assert_eq!(plain.connect().get("/", "").field(NAME), None);
}

#[test]
fn idle_connections_doze_and_wake_up() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, COOKIE);
    let mut client = shop.connect();
    for pieces in [[&request(""), ""], ["GET", &request("")[3..]]] {
        thread::sleep(Duration::from_millis(1400));
        client.send(pieces[0]);
        thread::sleep(Duration::from_millis(200));
        client.send(pieces[1]);
        assert_eq!(client.response().text(), "hello");
    }
    client.send([request(""), request(""), request("")].concat());
    for _ in 0..3 {
        assert_eq!(client.response().text(), "hello");
    }
    // An end in good order wakes it, too.
    thread::sleep(Duration::from_millis(1400));
    client.stream.get_mut().conn.send_close_notify();
    client.stream.get_mut().flush().unwrap();
    client.assert_closed();
}

#[test]
fn who_leaves_is_noticed() {
    type Leave = fn(TlsClient);
    let says_goodbye: Leave = |mut client| {
        client.stream.get_mut().conn.send_close_notify();
        client.stream.get_mut().flush().unwrap();
        client.assert_closed();
    };
    let is_gone: Leave = drop;
    let cases = [
        (request(""), "", says_goodbye),
        (request(""), "", is_gone),
        (request(""), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", is_gone),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc".into(), "", is_gone),
    ];
    for (request, answer, leave) in cases {
        let (backend, begun, has_ended) = Backend::left_alone_after(answer);
        let shop = Shop::before(&backend, "");
        let mut client = shop.connect();
        client.send(&request);
        begun.wait();
        leave(client);
        has_ended.recv_timeout(PATIENCE).expect("the backend's request goes on");
        shop.proxy.wait_until_quiet();
    }
}

#[test]
fn a_truncated_response_does_not_look_complete() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\n\r\nhalf of it");
        conversation.reset();
    });
    let shop = Shop::before(&backend, "");
    let mut client = shop.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let (_, is_orderly) = client.rest();
    assert!(!is_orderly, "no close_notify may come");
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 5_000_000;
    let backend = Backend::answering(|request| {
        let body = "y".repeat(SIZE);
        assert!(request.body.is_empty() || request.body == vec![b'x'; SIZE]);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n{body}")
    });
    let shop = Shop::before(&backend, "");
    let mut client = shop.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(vec![b'x'; SIZE]);
    let response = client.response();
    assert!(response.is_complete && response.body == vec![b'y'; SIZE]);
    assert_eq!(client.get("/", "").body.len(), SIZE);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let backend = Backend::answering(|_| {
        let body = "y".repeat(50_000_000);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let authority = Authority::new();
    let pair = authority.issue("shop", &["shop.test"]);
    let tables = "[server.timeouts]\nresponse_write = \"300ms\"\n".to_owned();
    let proxy = Proxy::configured(&(tables + &listener(&[&pair], "")), &[&backend], "");
    let config = Arc::new(authority.client(None));
    let mut client = TlsClient::secured(proxy.address(), "shop.test", &config).unwrap();
    client.send(request(""));
    wait_until("it is in flight", || proxy.in_flight() == 1);
    proxy.wait_until_quiet();
}

#[test]
fn web_sockets_pass() {
    let backend = Backend::new(|conversation| {
        let Ok(mut socket) = tungstenite::accept(conversation.stream.into_inner()) else { return };
        while let Ok(message) = socket.read() {
            if message.is_text() {
                socket.send(message).unwrap();
            }
        }
    });
    let shop = Shop::before(&backend, "");
    let stream = shop.connect().stream.into_inner();
    let uri = "wss://shop.test/chat".parse().unwrap();
    let request = tungstenite::ClientRequestBuilder::new(uri);
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    for text in ["a", &"long".repeat(100_000)] {
        socket.send(tungstenite::Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), tungstenite::Message::text(text));
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    shop.proxy.wait_until_quiet();
}

#[test]
fn other_peoples_clients_are_content() {
    let backend = Backend::named("hello");
    let shop = Shop::before(&backend, "");
    let (port, ca) = (shop.proxy.address().port(), shop.authority.file());
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", option, "--cacert"]).arg(&ca);
        curl.args(["--resolve", &format!("shop.test:{port}:127.0.0.1")]);
        curl.args(["-w", " %{http_version} %{ssl_verify_result}"]);
        curl.arg(format!("https://shop.test:{port}/"));
        let ended = Process::of_package("curl", &mut curl).end();
        assert_eq!(ended.stdout, format!("hello {version} 0"), "{}", ended.stderr);
    }

    for version in ["-tls1_2", "-tls1_3"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-verify_return_error", version]);
        openssl.args(["-servername", "shop.test", "-verify_hostname", "shop.test", "-CAfile"]);
        openssl.arg(&ca).args(["-connect", &shop.proxy.address().to_string()]);
        openssl.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut openssl = openssl.stderr(std::process::Stdio::null()).spawn().unwrap();
        let end = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
        openssl.stdin.as_mut().unwrap().write_all(end.as_bytes()).unwrap();
        let mut said = String::new();
        openssl.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.ends_with("\r\n\r\nhello"), "{version}: {said}");
        assert!(openssl.wait().unwrap().success(), "{version}: it ended in good order");
    }
}
