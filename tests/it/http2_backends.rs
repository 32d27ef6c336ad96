//! HTTP/2 to backends: shared connections, and gRPC over them.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::support::http2::{Http2Backend, ask, connect, get, of_frames, run, text, whole};
use crate::support::{Address, Authority, Backend, Client, Process, Proxy, pool, wait_until};

const ONE: &str = "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"\n";
const H2C: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";

fn proxy(backend: &Http2Backend, settings: &str) -> Proxy {
    let settings = format!("http2 = true\n{settings}");
    Proxy::with(&format!("{ONE}{H2C}{}", pool(&[backend.address.to_string()], &settings)))
}

/// Answers with what it got.
fn mirror() -> Http2Backend {
    Http2Backend::new(100, usize::MAX, |request| async move {
        let (head, body) = request.into_parts();
        let told = format!("{} {} {:?}", head.method, head.uri, head.version);
        let cookie = head.headers.get("cookie").cloned();
        let body = body.collect().await.unwrap();
        let mut response = Response::new(whole(body.to_bytes()));
        response.headers_mut().insert("x-told", told.parse().unwrap());
        if let Some(cookie) = cookie {
            response.headers_mut().insert("x-cookie", cookie);
        }
        response
    })
}

#[test]
fn clients_of_http_1_share_a_connection() {
    let backend = mirror();
    let proxy = proxy(&backend, "[pools.pool.affinity]\nmode = \"cookie\"");
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(proxy.address())).collect();
    let first = clients[0].get("/a?b", "Cookie: x=y\r\n");
    assert_eq!(first.field("x-told"), Some("GET http://test/a?b HTTP/2.0"));
    assert_eq!(first.field("x-cookie"), Some("x=y"));
    assert!(first.cookie().is_some_and(|cookie| cookie.starts_with("stickler=")));
    for client in &mut clients {
        for size in [0, 1, 1_000, 100_000, 2_000_000] {
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
            client.send(vec![b'x'; size]);
            let response = client.response();
            assert!(response.is_complete && response.body == vec![b'x'; size], "{size}");
        }
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to_head().status, 200);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(client.response().text(), "abc");
    }
    proxy.wait_until_quiet();
    assert_eq!(backend.connections(), 1);
}

#[test]
fn there_are_more_connections_when_streams_run_out() {
    let (release, released) = tokio::sync::watch::channel(false);
    let backend = Http2Backend::new(2, usize::MAX, move |request| {
        let mut released = released.clone();
        async move {
            if request.uri().path() == "/slow" {
                released.wait_for(|&released| released).await.unwrap();
            }
            Response::new(whole("ok"))
        }
    });
    let proxy = proxy(&backend, "");
    assert_eq!(Client::connect(proxy.address()).get("/", "").status, 200);
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(proxy.address())).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("it is in flight", || proxy.in_flight() as usize == i + 1);
        // Its connection, if it is a new one, has said how many streams it takes.
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until("there are three connections", || backend.connections() == 3);
    release.send(true).unwrap();
    for client in &mut clients {
        assert_eq!(client.response().text(), "ok");
    }
    proxy.wait_until_quiet();
}

#[test]
fn a_backend_that_ends_its_connections_loses_nothing() {
    let backend = Http2Backend::new(100, 3, |_| async { Response::new(whole("ok")) });
    let proxy = proxy(&backend, "");
    let mut client = Client::connect(proxy.address());
    for i in 0..30 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().text(), "ok", "{i}");
    }
    assert!(backend.connections() >= 10, "{}", backend.connections());
}

/// A gRPC server: says every message back as it comes, and then how it went.
fn grpc() -> Http2Backend {
    Http2Backend::new(100, usize::MAX, |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let mut body = request.into_body();
        let (frames, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut messages = 0;
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(data) = frame.into_data() {
                    messages += usize::from(!data.is_empty());
                    let _ = frames.send(Frame::data(data)).await;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("grpc-message", format!("{messages}").parse().unwrap());
            trailers.insert("x-forwarded-for", "forged".parse().unwrap());
            let _ = frames.send(Frame::trailers(trailers)).await;
        });
        let response = Response::builder().header("content-type", "application/grpc");
        response.body(of_frames(receiver)).unwrap()
    })
}

#[test]
fn calls_stream_both_ways_at_the_same_time() {
    let backend = grpc();
    let proxy = proxy(&backend, "");
    run(async {
        let mut sender = connect(proxy.address()).await;
        let (messages, body) = mpsc::channel(4);
        let request = Request::post("http://shop.test/pkg.Service/Method")
            .version(Version::HTTP_2)
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        let response = ask(&mut sender, request.body(of_frames(body)).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        for i in 0..5 {
            let message = format!("message {i}");
            messages.send(Frame::data(Bytes::from(message.clone()))).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), message);
        }
        drop(messages);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"5".parse().unwrap())
        );
        assert_eq!(trailers.get("x-forwarded-for"), None);
    });
    proxy.wait_until_quiet();
}

#[test]
fn errors_are_told_in_terms_of_grpc() {
    let nobody = Address::free();
    let nobodys = nobody.address.to_string();
    let proxy = Proxy::with(&format!("{ONE}{H2C}{}", pool(&[nobodys], "http2 = true\n")));
    run(async {
        let mut sender = connect(proxy.address()).await;
        let call = get("/").header("content-type", "application/grpc+proto").body(whole(""));
        let response = ask(&mut sender, call.unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let other = ask(&mut sender, get("/").body(whole("")).unwrap()).await;
        assert_eq!(other.status(), StatusCode::BAD_GATEWAY);
    });
}

#[test]
fn who_leaves_cancels_the_call() {
    let backend = Http2Backend::new(100, usize::MAX, |_| async {
        std::future::pending::<()>().await;
        Response::new(whole(""))
    });
    let proxy = proxy(&backend, "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    drop(client);
    proxy.wait_until_quiet();
    assert_eq!(backend.connections(), 1);
}

#[test]
fn backends_that_do_not_speak_it_cannot_be_used() {
    let backend = Backend::named("hello");
    let settings = "http2 = true\ntimeouts = { response_header = \"2s\" }";
    let proxy = Proxy::with(&format!("{ONE}{}", pool(&[backend.address.to_string()], settings)));
    let status = Client::connect(proxy.address()).get("/", "").status;
    assert!(matches!(status, 502 | 504), "{status}");
}

#[test]
fn other_peoples_servers_are_content() {
    let authority = Authority::new();
    let pair = authority.issue("app", &["app.test"]);
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("large"), vec![b'x'; 3_000_000]).unwrap();
    for (over_tls, http2) in [(false, "true"), (true, "true"), (true, "\"auto\"")] {
        let kept = Address::free();
        let address = kept.address;
        let mut command = Command::new("nghttpd");
        command.arg("-d").arg(files.path()).args(["-a", "127.0.0.1"]);
        let settings = if over_tls {
            command.arg(address.port().to_string()).arg(&pair.key).arg(&pair.cert);
            let ca = authority.file();
            format!("[pools.pool.tls]\nca = {ca:?}\nserver_name = \"app.test\"\n")
        } else {
            command.arg("--no-tls").arg(address.port().to_string());
            String::new()
        };
        let mut server = Process::of_package("nghttp2-server", &mut command);
        wait_until("nghttpd listens", || {
            assert!(!server.has_ended(), "{}", server.stderr());
            TcpStream::connect(address).is_ok()
        });
        let settings = format!("http2 = {http2}\n{settings}");
        let proxy = Proxy::with(&format!("{ONE}{H2C}{}", pool(&[address.to_string()], &settings)));
        let mut client = Client::connect(proxy.address());
        for _ in 0..3 {
            let response = client.get("/large", "");
            assert!(response.is_complete && response.body.len() == 3_000_000, "{over_tls}");
        }
        run(async {
            let mut sender = connect(proxy.address()).await;
            let response = ask(&mut sender, get("/large").body(whole("")).unwrap()).await;
            assert_eq!(text(response).await.len(), 3_000_000);
        });
    }
}
