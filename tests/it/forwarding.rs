//! What a request and a response look like on the other side.

use crate::support::{Backend, Client, Proxy, get};

/// Names in any case, and blanks as they come,
const FIELDS: &str = "X-B: 1\r\naccept:*/*\r\nX-A:\t2 \r\nx-b: 3\r\n";
/// and how they go on.
const TIDY: &str = "X-B: 1\r\naccept: */*\r\nX-A: 2\r\nx-b: 3\r\n";

#[test]
fn requests_and_responses_pass() {
    let backend = Backend::named("hello");
    let proxy = Proxy::before(&[&backend], "");
    let response = get(proxy.address(), "/path?query=1", "X-Custom: 1\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let request = backend.last_request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/path?query=1"));
    assert_eq!(request.version, "HTTP/1.1");
    assert_eq!(request.field("host"), Some("test"));
    assert_eq!(request.field("x-custom"), Some("1"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("via"), Some("1.1 stickler"));
}

#[test]
fn fields_pass_as_the_client_wrote_them_but_for_blanks() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            conversation.answer(200, if head.contains(TIDY) { "same" } else { &head });
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{FIELDS}\r\n");
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.send(&request).response().text(), "same");
    for cut in 1..request.len() {
        // Whether they arrive as one piece or as two is up to the system: either is fine.
        client.send(&request[..cut]);
        assert_eq!(client.send(&request[cut..]).response().text(), "same", "cut at {cut}");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_requests_fields_of_the_hop_end_here() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    get(
        proxy.address(),
        "/",
        "Connection: keep-alive, X-Trace\r\nconnection:x-second ,\r\nX-Trace: 1\r\nX-Second: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nProxy: evil\r\n\
         Upgrade: websocket\r\nStickler-Affinity: bound\r\nX-Third: 3\r\n",
    );
    let request = backend.last_request();
    let names: Vec<_> = request.fields.iter().map(|(name, _)| name.to_lowercase()).collect();
    for gone in [
        "connection",
        "x-trace",
        "x-second",
        "keep-alive",
        "proxy-connection",
        "te",
        "proxy",
        "upgrade",
        "stickler-affinity",
    ] {
        assert!(!names.contains(&gone.to_owned()), "{gone} passed: {names:?}");
    }
    assert_eq!(request.field("x-third"), Some("3"));
}

#[test]
fn a_responses_fields_of_the_hop_end_here() {
    let backend = Backend::answering(|_| {
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Internal\r\nX-Internal: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n\
         Stickler-Affinity: x\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
            .to_owned()
    });
    let proxy = Proxy::before(&[&backend], "");
    let response = get(proxy.address(), "/", "");
    for gone in [
        "connection",
        "x-internal",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "stickler-affinity",
    ] {
        assert_eq!(response.field(gone), None);
    }
    assert_eq!(response.field("x-kept"), Some("1"));
}

#[test]
fn connection_cannot_name_away_what_frames_routes_or_is_ours() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
         Connection: host, content-length, transfer-encoding, via, x-forwarded-for\r\n\r\nabc",
    );
    assert_eq!(client.response().status, 200);
    let request = backend.last_request();
    assert_eq!((request.field("host"), request.body.as_slice()), (Some("a"), &b"abc"[..]));
    assert_eq!(request.field("via"), Some("1.1 stickler"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn values_pass_as_they_are() {
    const VALUE: &[u8] = b"caf\xc3\xa9 \xff\x80 \t \"a, b\"; c=,";
    let answer =
        [b"HTTP/1.1 200 OK\r\nX-Value: ", VALUE, b"\r\nContent-Length: 0\r\n\r\n"].concat();
    let as_text: String = VALUE.iter().map(|&byte| char::from(byte)).collect();
    let expected = as_text.clone();
    let backend = Backend::new(move |mut conversation| {
        let request = conversation.request().unwrap();
        assert_eq!(request.field("x-value"), Some(expected.as_str()));
        assert_eq!(request.field("x-empty"), Some(""));
        conversation.send(&answer);
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Value:\t", VALUE, b" \r\n\r\n"];
    client.send(head.concat());
    assert_eq!(client.response().field("x-value"), Some(as_text.as_str()));
}

#[test]
fn large_heads_pass_both_ways() {
    let large = "v".repeat(30_000);
    let larger = "w".repeat(60_000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nX-Large: {larger}\r\n{}Content-Length: 0\r\n\r\n",
        "X-Many: y\r\n".repeat(90)
    );
    let backend = Backend::answering(move |_| answer.clone());
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        let response = client.get("/", &format!("X-Large: {large}\r\n"));
        assert!(response.field("x-large") == Some(&larger));
        assert_eq!(response.fields("x-many").len(), 90);
        assert!(backend.last_request().field("x-large") == Some(&large));
    }
}

#[test]
fn repeated_fields_stay_apart_and_in_order() {
    let backend = Backend::answering(|_| {
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX: y\r\nSet-Cookie: b=2\r\n\
         set-cookie: a=3\r\nContent-Length: 0\r\n\r\n"
            .to_owned()
    });
    let proxy = Proxy::before(&[&backend], "");
    let lines = "Accept: a\r\nCookie: c=1\r\naccept: b;q=0.5\r\nCookie: d=2; e=3\r\n";
    let response = get(proxy.address(), "/", lines);
    assert_eq!(response.fields("set-cookie"), ["a=1; Path=/", "b=2", "a=3"]);
    let request = backend.last_request();
    assert_eq!(request.fields("accept"), ["a", "b;q=0.5"]);
    assert_eq!(request.fields("cookie"), ["c=1", "d=2; e=3"]);
}

#[test]
fn statuses_and_reasons_pass() {
    let backend = Backend::answering(|request| {
        let status = request.field("x-status").unwrap();
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for (status, reason) in
        [(200, "OK"), (200, "All Good"), (299, "Odd"), (404, "Not Found"), (503, "x"), (799, "y")]
    {
        let response = client.get("/", &format!("X-Status: {status} {reason}\r\n"));
        assert_eq!((response.status, response.reason.as_str()), (status, reason));
        assert_eq!(response.version, "HTTP/1.1");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_date_is_kept_or_added() {
    let backend = Backend::answering(|request| {
        let date =
            request.field("x-date").map_or("", |_| "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::before(&[&backend], "");
    let dated = get(proxy.address(), "/", "X-Date: 1\r\n");
    assert_eq!(dated.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let undated = get(proxy.address(), "/", "");
    assert!(httpdate::parse_http_date(undated.field("date").unwrap()).is_ok());
}

#[test]
fn via_grows_and_names_the_version_that_was_received() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    get(proxy.address(), "/", "Via: 1.0 fred, 1.1 p.example\r\n");
    let via = backend.last_request().fields("via").join(", ");
    assert_eq!(via, "1.0 fred, 1.1 p.example, 1.1 stickler");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    client.response();
    // RFC 9110, section 7.6.3: the version is that of the message as it was received.
    assert_eq!(backend.last_request().field("via"), Some("1.0 stickler"));
}
