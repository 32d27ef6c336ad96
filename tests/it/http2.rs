//! HTTP/2 from clients: the same exchanges, many at a time on one connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Frame;
use stickler::server::Shutdown;

use crate::support::browser::Browser;
use crate::support::http2::{ask, connect, echo, get, of_frames, open_tunnel, run, text, whole};
use crate::support::{Authority, Backend, Client, Gate, PATIENCE, Process, Proxy, wait_until};

const H2C: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";
const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"";

#[test]
fn requests_become_those_of_http_1() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(H2C, &[&backend], COOKIE);
    run(async {
        let mut sender = connect(proxy.address()).await;
        let request = get("/a?b").header("cookie", "a=b").header("cookie", "c=d");
        let response = ask(&mut sender, request.body(whole("")).unwrap()).await;
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            assert_eq!(response.headers().get(name), None);
        }
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert_eq!(text(response).await, "hello");
        let seen = backend.last_request();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a?b"));
        assert_eq!(
            (seen.field("host"), seen.field("cookie")),
            (Some("shop.test"), Some("a=b; c=d"))
        );
        assert_eq!(seen.field("via"), Some("2.0 stickler"));
        assert_eq!(seen.field("stickler-affinity"), Some("new"));

        // Our cookie is found among crumbs, and the app does not see it.
        let token = cookie.split(';').next().unwrap();
        let request = get("/").header("cookie", "a=b").header("cookie", token);
        let response = ask(&mut sender, request.body(whole("")).unwrap()).await;
        assert_eq!(response.headers().get("set-cookie"), None);
        let seen = backend.last_request();
        assert_eq!(seen.field("stickler-affinity"), Some("bound"));
        assert_eq!(seen.field("cookie"), Some("a=b"));
    });
    assert_eq!(backend.connections(), 1);
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let backend = Backend::answering(|request| {
        let body = String::from_utf8_lossy(&request.body);
        let length = body.len();
        let trailer = request.trailers.first().cloned().unwrap_or_default();
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\
             x-said: {trailer}\r\n\r\n"
        )
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        for size in [1, 1_000, 300_000, 3_000_000] {
            let body = "x".repeat(size);
            let request = Request::post("http://shop.test/").body(whole(body.clone())).unwrap();
            let response = ask(&mut sender, request).await;
            assert!(text(response).await == body, "{size}");
            assert_eq!(backend.last_request().field("content-length"), Some(&*size.to_string()));
        }
        // Of unknown length, with trailers.
        let (sent, body) = tokio::sync::mpsc::channel::<Frame<Bytes>>(4);
        let frames = of_frames(body);
        let request = Request::post("http://shop.test/").body(frames).unwrap();
        let response = sender.send_request(request);
        for piece in ["one ", "two "] {
            sent.send(Frame::data(Bytes::from(piece))).await.unwrap();
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        sent.send(Frame::trailers(trailers)).await.unwrap();
        drop(sent);
        let response = response.await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-said"], "x-sum: 7");
        assert_eq!(collected.to_bytes(), "one two ");
        assert_eq!(backend.last_request().field("transfer-encoding"), Some("chunked"));
        let nothing = Request::post("http://shop.test/").body(whole("")).unwrap();
        ask(&mut sender, nothing).await;
        assert_eq!(backend.last_request().field("content-length"), Some("0"));
    });
}

#[test]
fn streams_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let is_open = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            if request.target == "/slow" {
                is_open.wait();
            }
            conversation.answer(200, &request.target);
        }
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let slow = sender.send_request(get("/slow").body(whole("")).unwrap());
        let slow = tokio::spawn(slow);
        for i in 0..50 {
            let path = format!("/{i}");
            let response = ask(&mut sender, get(&path).body(whole("")).unwrap()).await;
            assert_eq!(text(response).await, path);
        }
        gate.open();
        assert_eq!(text(slow.await.unwrap().unwrap()).await, "/slow");
    });
    proxy.wait_until_quiet();
}

#[test]
fn a_stream_that_is_reset_is_cancelled_alone() {
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            match request.target.as_str() {
                "/never" => return conversation.wait_for_close(),
                target => conversation.answer(200, target),
            }
        }
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let never = tokio::spawn(sender.send_request(get("/never").body(whole("")).unwrap()));
        tokio::task::spawn_blocking({
            let pool = proxy.pool();
            move || wait_until("it is in flight", || in_flight(&pool) == 1)
        })
        .await
        .unwrap();
        never.abort();
        let _ = never.await;
        let pool = proxy.pool();
        tokio::task::spawn_blocking(move || wait_until("it is not", || in_flight(&pool) == 0))
            .await
            .unwrap();
        let response = ask(&mut sender, get("/after").body(whole("")).unwrap()).await;
        assert_eq!(text(response).await, "/after");
    });
}

fn in_flight(pool: &stickler::balance::Pool) -> u32 {
    pool.backends().iter().map(|member| member.in_flight()).sum()
}

#[test]
fn requests_that_are_not_served() {
    let backend = Backend::named("hello");
    let limits = "[server.limits]\nheader_count = 10\nuri_length = \"300B\"\nbody_bytes = 100\n";
    let proxy = Proxy::configured(&(limits.to_owned() + H2C), &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let long = format!("/{}", "x".repeat(400));
        let mut many = get("/");
        for i in 0..20 {
            many = many.header(format!("x-{i}"), "y");
        }
        let connect = Request::builder().method(Method::CONNECT).uri("shop.test:443");
        for (request, status) in [
            (get(&long).body(whole("")), 414),
            (many.body(whole("")), 431),
            (get("/").header("host", "other.test").body(whole("")), 400),
            (get("/").header("x-blank", "a ").body(whole("")), 400),
            (connect.body(whole("")), 405),
            (Request::builder().method("TRACE").uri("http://a/").body(whole("")), 405),
            (Request::post("http://a/").body(whole("x".repeat(200))), 413),
        ] {
            let response = ask(&mut sender, request.unwrap()).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().get("connection"), None);
        }
        assert_eq!(ask(&mut sender, get("/").body(whole("")).unwrap()).await.status(), 200);
    });
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn a_response_that_breaks_off_resets_its_stream_only() {
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            if request.target == "/broken" {
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                thread::sleep(Duration::from_millis(200));
                return;
            }
            conversation.answer(200, "whole");
        }
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let broken = ask(&mut sender, get("/broken").body(whole("")).unwrap()).await;
        assert_eq!(broken.status(), 200);
        assert!(broken.into_body().collect().await.is_err());
        let response = ask(&mut sender, get("/").body(whole("")).unwrap()).await;
        assert_eq!(text(response).await, "whole");
    });
}

#[test]
fn connections_end_after_so_many_requests_and_when_idle() {
    let backend = Backend::named("hello");
    let server =
        "[server.limits]\nrequests_per_connection = 3\n[server.timeouts]\nidle = \"500ms\"\n";
    let proxy = Proxy::configured(&(server.to_owned() + H2C), &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        for _ in 0..3 {
            assert_eq!(ask(&mut sender, get("/").body(whole("")).unwrap()).await.status(), 200);
        }
        while sender.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut idle = connect(proxy.address()).await;
        assert_eq!(ask(&mut idle, get("/").body(whole("")).unwrap()).await.status(), 200);
        while idle.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn shutting_down_lets_streams_finish() {
    let gate = Gate::new();
    let is_open = gate.clone();
    let begun = Gate::new();
    let has_begun = begun.clone();
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            has_begun.open();
            is_open.wait();
            conversation.answer(200, "late");
        }
    });
    let server = "[server]\nworkers = 1\nshutdown_timeout = \"20s\"\n";
    let proxy = Proxy::configured(&(server.to_owned() + H2C), &[&backend], "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let response = tokio::spawn(sender.send_request(get("/").body(whole("")).unwrap()));
        let ended = tokio::task::spawn_blocking(move || {
            begun.wait();
            let ending = thread::spawn(|| proxy.shut_down());
            thread::sleep(Duration::from_millis(300));
            gate.open();
            ending.join().unwrap()
        });
        assert_eq!(text(response.await.unwrap().unwrap()).await, "late");
        assert_eq!(ended.await.unwrap(), Shutdown::Complete);
    });
}

#[test]
fn who_opens_streams_only_to_reset_them_is_cut_off() {
    let backend = Backend::new(|mut conversation| conversation.wait_for_close());
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // GET http / with the authority `a`, of indexed and literal fields.
    let block = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let mut id = 1_u32;
    let is_cut = |stream: &mut TcpStream, id: u32| {
        let mut frames = vec![0, 0, block.len() as u8, 1, 5];
        frames.extend_from_slice(&id.to_be_bytes());
        frames.extend_from_slice(&block);
        stream.write_all(&frames).is_err() || {
            thread::sleep(Duration::from_millis(1));
            let mut reset = vec![0, 0, 4, 3, 0];
            reset.extend_from_slice(&id.to_be_bytes());
            reset.extend_from_slice(&8_u32.to_be_bytes());
            stream.write_all(&reset).is_err()
        }
    };
    while !is_cut(&mut stream, id) {
        id += 2;
        assert!(id < 20_000, "it may go on for ever");
    }
    proxy.wait_until_quiet();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn http_1_is_spoken_beside_it() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").text(), "hello");
    // A method that begins as HTTP/2 does.
    let mut slow = Client::connect(proxy.address());
    slow.send_in_bytes("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(slow.response().text(), "hello");
    // Where it is not switched on, it is not spoken.
    let plain = Proxy::before(&[&backend], "");
    let mut refused = Client::connect(plain.address());
    refused.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(refused.response().status, 505);
}

#[test]
fn other_peoples_clients_choose_it() {
    let authority = Authority::new();
    let pair = authority.issue("shop", &["shop.test"]);
    let backend = Backend::named("hello");
    let tls = format!("tls = {{ certificates = [{}] }}\n", pair.toml());
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    for (http2, version) in [("", "2"), ("http2 = false\n", "1.1")] {
        let proxy = Proxy::configured(&format!("{listener}{http2}{tls}"), &[&backend], COOKIE);
        let port = proxy.address().port();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(authority.file());
        curl.args(["--resolve", &format!("shop.test:{port}:127.0.0.1")]);
        curl.args(["-w", " %{http_version}", "-d", "posted"]);
        let ended =
            Process::of_package("curl", curl.arg(format!("https://shop.test:{port}/"))).end();
        assert_eq!(ended.stdout, format!("hello {version}"), "{}", ended.stderr);
        assert_eq!(backend.last_request().body, b"posted");
        assert_eq!(backend.last_request().field("x-forwarded-proto"), Some("https"));
    }
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let url = format!("http://{}/", proxy.address());
    let mut nghttp = Command::new("nghttp");
    let ended = Process::of_package("nghttp2-client", nghttp.args(["-nv", &url, &url])).end();
    assert!(ended.stdout.contains(":status: 200"), "{}{}", ended.stdout, ended.stderr);
    let mut load = Command::new("h2load");
    let ended =
        Process::of_package("nghttp2-client", load.args(["-n2000", "-c4", "-m50", &url])).end();
    assert!(ended.stdout.contains("2000 succeeded, 0 failed"), "{}", ended.stdout);
    proxy.wait_until_quiet();
}

#[test]
fn web_sockets_are_streams() {
    let backend = Backend::new(|conversation| {
        use tokio_tungstenite::tungstenite;
        let Ok(mut socket) = tungstenite::accept(conversation.stream.into_inner()) else { return };
        while let Ok(message) = socket.read() {
            if message.is_text() {
                socket.send(message).unwrap();
            }
        }
    });
    let proxy = Proxy::configured(H2C, &[&backend], COOKIE);
    run(async {
        let mut sender = connect(proxy.address()).await;
        let (response, socket) = open_tunnel(&mut sender, "/chat").await;
        assert!(response.contains_key("set-cookie"));
        assert_eq!(response.get("sec-websocket-accept"), None);
        echo(socket).await;
        let mut other = Request::connect("http://shop.test/").body(whole("")).unwrap();
        other.extensions_mut().insert(hyper::ext::Protocol::from_static("connect-udp"));
        assert_eq!(sender.send_request(other).await.unwrap().status(), 501);
    });
    proxy.wait_until_quiet();
}

/// A browser that is neither ours nor simulated keeps our cookie, over one connection of HTTP/2.
#[test]
fn chromium_keeps_its_session() {
    let authority = Authority::new();
    let pair = authority.issue("shop", &["shop.test"]);
    let backends = [0, 1, 2].map(|number| {
        Backend::answering(move |request| {
            let told = request.field("stickler-affinity").unwrap_or("nothing");
            let page = format!("<title>a</title><p>b{number} {told}</p>");
            let length = page.len();
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}")
        })
    });
    let tls = format!("tls = {{ certificates = [{}] }}\n", pair.toml());
    let listener = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{tls}");
    let proxy = Proxy::configured(&listener, &backends.each_ref(), COOKIE);
    let rule = "--host-resolver-rules=MAP shop.test 127.0.0.1".to_owned();
    let url = format!("https://shop.test:{}/", proxy.address().port());
    let browser = Browser::with(&url, &[rule]);
    let first = browser.text("p");
    let home = first.strip_suffix(" new").expect(&first);
    for _ in 0..10 {
        browser.runtime.block_on(browser.page.refresh()).unwrap();
        assert_eq!(browser.text("p"), format!("{home} bound"));
    }
    let spoken = "return performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.evaluate(spoken), "h2");
    assert_eq!(browser.evaluate("return document.cookie"), "", "no script sees it");
    let cookies = browser.runtime.block_on(browser.page.get_all_cookies()).unwrap();
    let ours = cookies.iter().find(|cookie| cookie.name() == "stickler").unwrap();
    assert_eq!((ours.secure(), ours.http_only()), (Some(true), Some(true)));
}
