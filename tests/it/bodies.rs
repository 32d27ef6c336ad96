//! Bodies in every framing, both ways, whole and to the last trailer.

use crate::support::{Backend, Client, Proxy, get};

/// A backend that answers each request with these bytes, in one packet or in one for every byte.
fn answering(bytes: &'static str, in_bytes: bool) -> Backend {
    Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            match in_bytes {
                true => bytes.as_bytes().chunks(1).for_each(|byte| conversation.send(byte)),
                false => conversation.send(bytes),
            }
        }
    })
}

/// A backend that gives back what it gets.
fn echo() -> Backend {
    Backend::answering(|request| {
        let body = String::from_utf8_lossy(&request.body);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    })
}

#[test]
fn bodies_pass_in_both_directions() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for size in [1, 1000, 65_536, 65_537, 1_000_000] {
        let body = "x".repeat(size);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}"));
        assert_eq!(client.response().text(), body, "{size} bytes");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("{size:x}\r\n{body}\r\n0\r\n\r\n"));
        assert_eq!(client.response().text(), body, "{size} bytes in chunks");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn requests_keep_their_framing() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    let framing = |client: &mut Client, request: &str| {
        client.send(request).response();
        let request = backend.last_request();
        let field = |name| request.field(name).map(str::to_owned);
        (field("content-length"), field("transfer-encoding"), request.body.len())
    };
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(framing(&mut client, &format!("{head}\r\n")), (None, None, 0));
    let empty = format!("{head}Content-Length: 0\r\n\r\n");
    assert_eq!(framing(&mut client, &empty), (Some("0".into()), None, 0));
    let sized = format!("{head}Content-Length: 3\r\n\r\nabc");
    assert_eq!(framing(&mut client, &sized), (Some("3".into()), None, 3));
    let zeros = format!("{head}Content-Length: 003\r\n\r\nabc");
    assert_eq!(framing(&mut client, &zeros).2, 3);
    let chunked = format!("{head}Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(framing(&mut client, &chunked).2, 3);
    assert_eq!(framing(&mut client, &chunked.replace("3\r\nabc\r\n", "")).2, 0);
    let get = sized.replace("POST", "GET");
    assert_eq!(framing(&mut client, &get), (Some("3".into()), None, 3), "a GET may have one");
}

#[test]
fn a_chunked_request_may_come_in_any_pieces_with_extensions_and_trailers() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                   3;name;a=b;c=\"d \\\" e\"\r\nabc\r\n00A\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n";
    assert_eq!(client.send(request).response().text(), "abc0123456789");
    assert_eq!(client.send_in_bytes(request).response().text(), "abc0123456789");
    for request in backend.requests() {
        assert_eq!(request.body, b"abc0123456789");
        let trailers: Vec<_> = request.trailers.iter().map(|t| t.to_lowercase()).collect();
        assert_eq!(trailers, ["x-sum: 1", "x-sum: 2"]);
    }
    assert_eq!(client.get("/", "").status, 200, "the connection goes on");
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                       3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n";

#[test]
fn a_chunked_response_may_come_in_any_pieces_with_extensions_and_trailers() {
    for in_bytes in [false, true] {
        let backend = answering(CHUNKED, in_bytes);
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        for _ in 0..2 {
            let response = client.get("/", "TE: trailers\r\n");
            assert_eq!((response.text().as_str(), response.is_complete), ("abc0123456789", true));
            assert_eq!(response.trailers, ["x-sum: 1", "x-sum: 2"]);
        }
        assert_eq!(backend.connections(), 1);
    }
}

#[test]
fn trailers_that_are_not_passed_on_do_no_harm() {
    // RFC 9110, section 6.5.1: they need not be if nobody announced them, and must not be merged.
    const UNANNOUNCED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                               3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let backend = answering(UNANNOUNCED, false);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for lines in ["TE: trailers\r\n", ""] {
        let response = client.get("/", lines);
        assert_eq!((response.text().as_str(), response.is_complete), ("abc", true));
        assert_eq!(response.field("x-sum"), None);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn te_trailers_is_passed_on_as_ours() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    get(proxy.address(), "/", "TE: gzip, trailers;q=0.5\r\nConnection: TE\r\n");
    let request = backend.last_request();
    assert_eq!(request.field("te"), Some("trailers"));
    assert!(request.field("connection").unwrap().eq_ignore_ascii_case("te"));
}

#[test]
fn a_response_that_ends_with_the_connection_is_passed_on_whole() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\n\r\n");
        for _ in 0..100 {
            conversation.send("0123456789".repeat(1000));
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        let response = client.get("/", "");
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert_eq!((response.body.len(), response.is_complete), (1_000_000, true));
    }
}

#[test]
fn a_response_without_a_body_ends_with_its_head() {
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        // RFC 9110, section 8.6: a 204 must not have one, so it is not passed on.
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        for in_bytes in [false, true] {
            let backend = answering(answer, in_bytes);
            let proxy = Proxy::before(&[&backend], "");
            let mut client = Client::connect(proxy.address());
            for _ in 0..2 {
                client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
                let response = client.response_to_head();
                assert_eq!(response.field("content-length"), length, "{method} {answer}");
                assert_eq!(response.field("transfer-encoding"), None, "{method} {answer}");
            }
            assert_eq!(backend.connections(), 1, "{method} {answer}");
        }
    }
}

#[test]
fn not_modified_may_say_how_long_it_would_have_been() {
    let backend = answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        let response = client.get("/", "");
        // RFC 9110, section 8.6: if it says a length, then that one.
        assert!(matches!(response.field("content-length"), None | Some("5")));
        assert_eq!(response.status, 304);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn trailers_carry_nothing_that_a_head_may_not() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    client.send("Stickler-Affinity: bound\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6\r\n");
    client.send("Cookie: stickler=x\r\nTE: trailers\r\nUpgrade: h2c\r\nAuthorization: x\r\n");
    client.send("Content-Type: x\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last_request().trailers, ["x-sum: 1"]);
}

#[test]
fn trailers_of_a_response_set_no_cookies() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
                           Trailer: X-Sum, Set-Cookie\r\n\r\n3\r\nabc\r\n0\r\n\
                           Set-Cookie: a=b\r\nX-Sum: 1\r\nStickler-Affinity: release\r\n\r\n";
    let backend = answering(CHUNKED, false);
    let proxy = Proxy::before(&[&backend], "");
    let response = get(proxy.address(), "/", "TE: trailers\r\n");
    assert_eq!((response.text().as_str(), response.is_complete), ("abc", true));
    assert_eq!(response.trailers, ["x-sum: 1"]);
}
