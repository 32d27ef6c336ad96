//! Requests that two parsers might read differently are refused, and never forwarded.

use std::io::Read;
use std::sync::mpsc;

use crate::support::{Backend, Client, Gate, PATIENCE, Proxy, Response};

/// The field line without which every request would be wrong already.
const HOST: &str = "Host: a\r\n";

/// Sends this, whole and byte by byte: it is refused with 400, the connection ends, and no
/// backend ever hears of it.
#[track_caller]
fn assert_refused(request: impl AsRef<[u8]>) {
    let request = request.as_ref();
    let shown = String::from_utf8_lossy(request);
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut whole = Client::connect(proxy.address());
    assert_is_refusal(whole.send(request).try_response(false), &shown);
    whole.assert_closed();
    let mut in_bytes = Client::connect(proxy.address());
    assert_is_refusal(in_bytes.send_in_bytes(request).try_response(false), &shown);
    in_bytes.assert_closed();
    assert!(backend.requests().is_empty(), "forwarded: {shown:?}");
}

#[track_caller]
fn assert_is_refusal(response: Option<Response>, request: &str) {
    let response = response.unwrap_or_else(|| panic!("no answer to {request:?}"));
    assert_eq!(response.status, 400, "{request:?}: {}", response.text());
    assert_eq!(response.field("connection"), Some("close"), "{request:?}");
    assert!(
        response.is_complete && response.field("x-request-id").is_some(),
        "{request:?}: {response:?}"
    );
}

#[test]
fn two_lengths_are_refused() {
    let length = "Content-Length: 3\r\n";
    let coding = "Transfer-Encoding: chunked\r\n";
    for fields in [
        format!("{length}{coding}"),
        format!("{coding}{length}"),
        format!("{length}{length}"),
        format!("{length}Content-Length: 4\r\n"),
        format!("{length}content-LENGTH:3\r\n"),
        format!("{coding}{coding}"),
        format!("Content-Length: 0\r\n{coding}"),
    ] {
        assert_refused(format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n3\r\nabc\r\n0\r\n\r\n"));
    }
}

#[test]
fn odd_lengths_are_refused() {
    for length in [
        "",
        "+3",
        "-3",
        "3, 3",
        "3,3",
        "3 3",
        "0x3",
        "3.0",
        "3;",
        "\"3\"",
        "three",
        "3\u{a0}",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        assert_refused(format!("POST / HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\nabc"));
    }
}

#[test]
fn unknown_and_misplaced_codings_are_refused() {
    for coding in [
        "",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        ", chunked",
        "chunked,",
        "chunked;q=1",
        "\"chunked\"",
        "xchunked",
        "chunked\u{b}",
        "\u{b}chunked",
        "chunke\u{17f}d",
    ] {
        let fields = format!("{HOST}Transfer-Encoding: {coding}\r\n");
        assert_refused(format!("POST / HTTP/1.1\r\n{fields}\r\n3\r\nabc\r\n0\r\n\r\n"));
    }
    let old = format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_refused(old);
}

#[test]
fn odd_request_lines_are_refused() {
    for line in [
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/\tHTTP/1.1",
        "GET /",
        "GET / HTTP/1.1x",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1",
        "GET / ICY/1.1",
        "G@T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "/ HTTP/1.1",
        " / HTTP/1.1",
        "\u{0}GET / HTTP/1.1",
        "GET / HTTP/1.1\rX",
    ] {
        assert_refused(format!("{line}\r\n{HOST}\r\n"));
    }
}

#[test]
fn targets_with_bytes_that_none_may_have_are_refused() {
    for target in [
        "/a\tb",
        "/a\u{b}b",
        "/a\0b",
        "/a\x7fb",
        "/a#b",
        "/a\"b",
        "/<b>",
        "/caf\u{e9}",
        "/a\rb",
        "/a b",
    ] {
        assert_refused(format!("GET {target} HTTP/1.1\r\n{HOST}\r\n"));
    }
    assert_refused([b"GET /\xff HTTP/1.1\r\n", HOST.as_bytes(), b"\r\n"].concat());
}

/// These are framed well, so only the request is refused and not the connection.
#[test]
fn targets_of_no_known_form_are_refused() {
    for target in [
        "a",
        "*",
        "a:80",
        "http:",
        "http://",
        "http:///a",
        "http://a:b:c/",
        "http://u@a/",
        "http://[::1/",
        "http://a:99999999/",
        "?a",
        "://a",
        "ftp://a/",
        "1http://a/",
    ] {
        assert_refused_for_its_head(&format!("GET {target} HTTP/1.1\r\n{HOST}\r\n"));
    }
}

#[track_caller]
fn assert_refused_for_its_head(request: &str) {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let response = Client::connect(proxy.address()).send(request).response();
    assert_eq!(response.status, 400, "{request:?}");
    assert!(backend.requests().is_empty(), "forwarded: {request:?}");
}

#[test]
fn a_request_needs_one_valid_host() {
    for fields in [
        "",
        "Host:\r\n",
        "Host: \r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@a\r\n",
        "Host: a:b\r\n",
        "Host: a:80:80\r\n",
        "Host: :80\r\n",
        "Host: http://a\r\n",
        "Host: [::1\r\n",
        "Host: [a]\r\n",
        "Host: caf\u{e9}\r\n",
        "Host: a\\b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
    ] {
        for line in ["GET / HTTP/1.1", "GET http://a/ HTTP/1.1"] {
            assert_refused_for_its_head(&format!("{line}\r\n{fields}\r\n"));
        }
    }
}

#[test]
fn field_lines_that_are_none_are_refused() {
    for line in [
        "X : y",
        "X\t: y",
        "X y",
        "X",
        ": y",
        "X(: y",
        "X\u{e9}: y",
        "X: a\r\n b",
        "X: a\r\n\tb",
        " X: y",
        "X: a\0b",
        "X: a\x01b",
        "X: a\x7fb",
        "X: a\rb",
        "X: a\u{b}b",
        "Content-Length : 3",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\u{b}: chunked",
    ] {
        assert_refused(format!("POST / HTTP/1.1\r\n{HOST}{line}\r\n\r\n"));
        assert_refused(format!("POST / HTTP/1.1\r\n{line}\r\n{HOST}\r\n"));
    }
}

#[test]
fn lines_that_end_in_a_bare_line_feed_are_refused() {
    for request in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_refused(request);
    }
}

/// Chunks that are not framed as they must be, after a good one.
const BAD_CHUNKS: &[&str] = &[
    "3 \r\nabc\r\n0\r\n\r\n",
    "3\t\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "3;\r\nabc\r\n0\r\n\r\n",
    "3;a b\r\nabc\r\n0\r\n\r\n",
    "3; a\r\nabc\r\n0\r\n\r\n",
    "3;a=\r\nabc\r\n0\r\n\r\n",
    "3;a=\"b\r\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "g\r\nabc\r\n0\r\n\r\n",
    "3,\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nab\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nHost: b\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\nno colon\r\n\r\n",
    "0\r\nX: a\r\n b\r\n\r\n",
    "0\r\nX: a\n\r\n",
    "0\r\nX: a\0\r\n\r\n",
    "0\n\r\n",
];

#[test]
fn bad_chunks_that_come_with_the_head_are_refused() {
    for chunks in BAD_CHUNKS {
        let backend = Backend::named("a");
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send(format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
        assert_is_refusal(client.try_response(false), chunks);
        client.assert_closed();
        assert!(backend.requests().is_empty(), "forwarded: {chunks:?}");
    }
}

#[test]
fn bad_chunks_that_come_later_are_refused_and_the_backend_does_not_see_the_end() {
    for chunks in BAD_CHUNKS {
        let begun = Gate::new();
        let has_begun = begun.clone();
        let (seen, is_seen) = mpsc::channel();
        let backend = Backend::new(move |mut conversation| {
            conversation.head().unwrap();
            conversation.stream.read_exact(&mut [0; 8]).unwrap();
            has_begun.open();
            let mut rest = Vec::new();
            let _ = conversation.stream.read_to_end(&mut rest);
            seen.send(rest).unwrap();
        });
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send(format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"));
        client.send("3\r\nabc\r\n");
        begun.wait();
        client.send(chunks);
        assert_is_refusal(client.try_response(false), chunks);
        client.assert_closed();
        let seen = is_seen.recv_timeout(PATIENCE).unwrap();
        assert!(!seen.ends_with(b"0\r\n\r\n"), "{chunks:?} looked complete");
        proxy.wait_until_quiet();
    }
}

#[test]
fn other_versions_are_refused() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    for request in [
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.send(request).response().status, 505, "{request:?}");
        client.assert_closed();
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn what_is_not_http_at_all_is_refused() {
    for bytes in ["\x16\x03\x01\x02\x00\x01\x00\x01\n\n", "\0\0\0\r\n\r\n", "SSH-2.0-x\r\n"] {
        assert_refused(bytes);
    }
}
