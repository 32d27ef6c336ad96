//! Responses are compressed for clients that want that, and nothing else changes.

use std::io::{Read, Write};
use std::process::Command;

use http_body_util::BodyExt;

use crate::support::http2;
use crate::support::{Backend, Client, Gate, Proxy, Response, get};

const ON: &str = "compression = true\n";

/// So many bytes of text that gets shorter.
fn text(length: usize) -> String {
    let line = "All work and no play makes Jack a dull boy. ";
    line.repeat(length / line.len() + 1)[..length].to_owned()
}

/// A backend that has this text, with these field lines besides.
fn backend(body: &str, lines: &str) -> Backend {
    let (length, body, lines) = (body.len(), body.to_owned(), lines.to_owned());
    Backend::answering(move |request| {
        let body = if request.method == "HEAD" { "" } else { &body };
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             ETag: \"e\"\r\nAccept-Ranges: bytes\r\n{lines}\r\n{body}"
        )
    })
}

/// What a body says, whatever it is in.
fn decoded(response: &Response) -> String {
    let mut plain = String::new();
    let body = &response.body[..];
    match response.field("content-encoding") {
        None => return response.text(),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut plain).unwrap(),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut plain).unwrap(),
        Some("zstd") => return String::from_utf8(zstd::stream::decode_all(body).unwrap()).unwrap(),
        Some(other) => panic!("nobody asked for {other}"),
    };
    plain
}

#[test]
fn clients_get_what_they_like_best_long_and_short() {
    for length in [2000, 3_000_000] {
        let plain = text(length);
        let backend = backend(&plain, "");
        let proxy = Proxy::before(&[&backend], ON);
        let mut client = Client::connect(proxy.address());
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip;q=0.9, br;q=0.8", Some("gzip")),
            ("br", Some("br")),
            ("gzip;q=0, *;q=0", None),
            ("identity", None),
        ] {
            let response = client.get("/", &format!("Accept-Encoding: {accept}\r\n"));
            assert_eq!(response.field("content-encoding"), coding, "{accept}");
            assert_eq!(response.field("vary"), Some("accept-encoding"));
            assert!(response.is_complete && decoded(&response) == plain, "{accept}");
            let (etag, ranges) = (response.field("etag"), response.field("accept-ranges"));
            match coding {
                Some(_) => {
                    assert!(response.body.len() < length / 10);
                    assert_eq!((etag, ranges), (Some("W/\"e\""), None));
                }
                None => assert_eq!((etag, ranges), (Some("\"e\""), Some("bytes"))),
            }
        }
        let without = client.get("/", "");
        assert_eq!((without.field("content-encoding"), without.body.len()), (None, length));
    }
}

#[test]
fn curl_reads_every_coding() {
    let plain = text(100_000);
    let backend = backend(&plain, "");
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";
    let proxy = Proxy::configured(listener, &[&backend], ON);
    let url = format!("http://{}/", proxy.address());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for coding in ["gzip", "br", "zstd"] {
            let accept = format!("Accept-Encoding: {coding}");
            let arguments = ["-sS", "-i", "--compressed", version, "-H", &accept, &url];
            let output = Command::new("curl").args(arguments).output();
            let output = output.expect("curl (Debian: curl)");
            let shown = String::from_utf8(output.stdout).unwrap();
            let (head, body) = shown.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-encoding: {coding}")), "{version} {head}");
            assert!(body == plain, "{version} {coding}: {} bytes", body.len());
        }
    }
}

#[test]
fn some_responses_stay_as_they_are() {
    let plain = text(5000);
    for lines in [
        "Content-Encoding: gzip\r\n",
        "Content-Range: bytes 0-4999/9000\r\n",
        "Cache-Control: public, no-transform\r\n",
    ] {
        let backend = backend(&plain, lines);
        let proxy = Proxy::before(&[&backend], ON);
        let response = get(proxy.address(), "/", "Accept-Encoding: br\r\n");
        assert_eq!(response.text(), plain, "{lines}");
        assert_eq!((response.field("vary"), response.field("etag")), (None, Some("\"e\"")));
    }
    for (status, media, length) in [
        ("206 Partial Content", "text/plain", 5000),
        ("200 OK", "image/png", 5000),
        ("200 OK", "text/css", 500),
    ] {
        let backend = Backend::answering(move |_| {
            let body = text(length);
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        });
        let proxy = Proxy::before(&[&backend], ON);
        let response = get(proxy.address(), "/", "Accept-Encoding: gzip\r\n");
        assert_eq!((response.field("content-encoding"), response.body.len()), (None, length));
    }
    for status in ["204 No Content", "304 Not Modified"] {
        let backend = Backend::answering(move |_| {
            format!("HTTP/1.1 {status}\r\nContent-Type: text/css\r\n\r\n")
        });
        let proxy = Proxy::before(&[&backend], ON);
        let response = get(proxy.address(), "/", "Accept-Encoding: gzip\r\n");
        assert_eq!((response.field("content-encoding"), response.body.len()), (None, 0));
    }
}

#[test]
fn a_head_is_that_of_the_get() {
    let backend = backend(&text(5000), "");
    let proxy = Proxy::before(&[&backend], ON);
    let mut client = Client::connect(proxy.address());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(
        (head.field("content-encoding"), head.field("content-length")),
        (Some("gzip"), None)
    );
    assert_eq!(head.field("etag"), Some("W/\"e\""));
    assert_eq!(client.get("/", "").status, 200, "and the connection goes on");
}

#[test]
fn old_clients_get_what_they_can_find_the_end_of() {
    let plain = text(5000);
    let backend = backend(&plain, "");
    let proxy = Proxy::before(&[&backend], ON);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = client.response();
    assert_eq!((response.field("content-encoding"), response.text()), (None, plain));
}

#[test]
fn a_route_has_the_last_word() {
    let plain = text(5000);
    let backend = backend(&plain, "");
    let routes = "[[routes]]\npath = \"/plain\"\npool = \"pool\"\ncompression = false\n\
                  [[routes]]\npath = \"/br\"\npool = \"pool\"\n\
                  compression = { algorithms = [\"br\"], min_length = \"4KiB\", types = [\"*/*\"] }\n\
                  [[routes]]\npool = \"pool\"\n";
    let proxy =
        Proxy::configured(routes, &[&backend], "compression = { algorithms = [\"gzip\"] }\n");
    for (target, coding) in [("/plain", None), ("/br", Some("br")), ("/", Some("gzip"))] {
        let response = get(proxy.address(), target, "Accept-Encoding: gzip, br\r\n");
        assert_eq!(response.field("content-encoding"), coding, "{target}");
        assert_eq!(decoded(&response), plain);
    }
}

/// Each event is sent only when the client has read the one before.
#[test]
fn events_flow_at_once_in_every_coding() {
    const EVENTS: usize = 20;

    for coding in ["gzip", "br", "zstd"] {
        let (backend, seen) = Backend::streaming_events(EVENTS);
        let proxy = Proxy::before(&[&backend], ON);
        let mut client = Client::connect(proxy.address());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
        assert!(client.head().contains(&format!("content-encoding: {coding}")));
        let mut decoder = Decoder::new(coding);
        for event in 1..=EVENTS {
            while decoder.plain().len() < event * 9 {
                let length = usize::from_str_radix(client.line().unwrap().trim_end(), 16).unwrap();
                assert_ne!(length, 0, "the end came too early");
                decoder.feed(&client.bytes(length + 2)[..length]);
            }
            seen.send(()).unwrap();
        }
        assert_eq!(decoder.plain(), "data: x\n\n".repeat(EVENTS).as_bytes());
    }
}

/// Decodes what there is, as a browser does.
enum Decoder {
    Gzip(flate2::write::GzDecoder<Vec<u8>>),
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Decoder<'static, Vec<u8>>),
}

impl Decoder {
    fn new(coding: &str) -> Self {
        match coding {
            "gzip" => Decoder::Gzip(flate2::write::GzDecoder::new(Vec::new())),
            "br" => Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 4096))),
            _ => Decoder::Zstd(zstd::stream::write::Decoder::new(Vec::new()).unwrap()),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let decoder: &mut dyn Write = match self {
            Decoder::Gzip(decoder) => decoder,
            Decoder::Brotli(decoder) => decoder,
            Decoder::Zstd(decoder) => decoder,
        };
        decoder.write_all(bytes).unwrap();
        decoder.flush().unwrap();
    }

    fn plain(&self) -> &[u8] {
        match self {
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Brotli(decoder) => decoder.get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref(),
        }
    }
}

#[test]
fn what_breaks_off_does_not_look_complete() {
    let begun = Gate::new();
    let has_begun = begun.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n";
        conversation.send(format!("{head}{}", text(50_000)));
        // Before the head has arrived, a reset may overtake it.
        has_begun.wait();
        conversation.reset();
    });
    let proxy = Proxy::before(&[&backend], ON);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(client.head().to_lowercase().contains("content-encoding: gzip"));
    begun.open();
    let (rest, _) = client.rest();
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "it looks complete");
    proxy.wait_until_quiet();
}

#[test]
fn between_http2_on_both_sides() {
    let plain = text(200_000);
    let body = plain.clone();
    let backend = http2::Http2Backend::new(10, 1000, move |_| {
        let body = body.clone();
        async move {
            http::Response::builder()
                .header("content-type", "application/problem+json")
                .body(http2::whole(body))
                .unwrap()
        }
    });
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";
    let pool =
        crate::support::pool(&[backend.address.to_string()], "http2 = true\ncompression = true\n");
    let proxy = Proxy::with(&format!("{listener}{pool}"));
    http2::run(async {
        let mut sender = http2::connect(proxy.address()).await;
        let request = http2::get("/").header("accept-encoding", "zstd, br");
        let answer = http2::ask(&mut sender, request.body(http2::whole("")).unwrap()).await;
        assert_eq!(answer.headers()["content-encoding"], "zstd");
        assert!(!answer.headers().contains_key("content-length"));
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(zstd::stream::decode_all(&bytes[..]).unwrap() == plain.as_bytes());
    });
}

#[test]
fn the_log_counts_the_bytes_that_leave() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let plain = text(300_000);
    let backend = backend(&plain, "");
    let server = format!(
        "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"\n[server.access_log]\npath = {path:?}\n"
    );
    let proxy = Proxy::configured(&server, &[&backend], ON);
    let response = get(proxy.address(), "/", "Accept-Encoding: gzip\r\n");
    let length = response.body.len();
    proxy.scrape_after(1);
    proxy.shut_down();
    let line = std::fs::read_to_string(&path).unwrap();
    assert!(line.contains(&format!("\"bytes_out\":{length},")), "{length} in {line}");
}
