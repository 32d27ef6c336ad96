//! What a request and a response look like on the other side.

use crate::support::{Backend, Client, Proxy, get};

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
fn connections_are_kept_on_both_sides() {
    let backend = Backend::named("hello");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..10 {
        assert_eq!(client.get("/", "").text(), "hello");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn bodies_pass_in_both_directions() {
    let backend = Backend::answering(|request| {
        let body = String::from_utf8_lossy(&request.body);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for size in [1, 1000, 70_000, 1_000_000] {
        let body = "x".repeat(size);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}"));
        assert_eq!(client.response().text(), body, "{size} bytes");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("{size:x}\r\n{body}\r\n0\r\n\r\n"));
        assert_eq!(client.response().text(), body, "{size} bytes in chunks");
    }
}
