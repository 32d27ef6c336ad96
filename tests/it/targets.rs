//! Methods, the forms of request targets, and the host that they are for.

use crate::support::{Backend, Client, Proxy, Request, Response};

/// What the client gets and what the backend saw of a request with this line and these fields.
fn ask(line: &str, fields: &str) -> (Response, Option<Request>) {
    let backend = Backend::named("hello");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(format!("{line}\r\n{fields}\r\n"));
    let response = match line.starts_with("HEAD") {
        true => client.response_to_head(),
        false => client.response(),
    };
    (response, backend.requests().pop())
}

#[test]
fn every_method_but_two_passes() {
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "x!y"] {
        let (response, request) = ask(&format!("{method} / HTTP/1.1"), "Host: a\r\n");
        assert_eq!(response.status, 200, "{method}");
        assert_eq!(request.unwrap().method, method);
    }
}

#[test]
fn connect_and_trace_are_refused() {
    for line in ["CONNECT a:443 HTTP/1.1", "TRACE / HTTP/1.1"] {
        let (response, request) = ask(line, "Host: a:443\r\n");
        assert_eq!(response.status, 405, "{line}");
        assert!(response.field("allow").unwrap().contains("GET"));
        assert!(request.is_none(), "{line} was forwarded");
    }
}

#[test]
fn targets_pass_as_they_are() {
    for target in [
        "/",
        "//a//b/../c/./d",
        "/%2e%2E/%00%ff",
        "/a;b=c?d=[e]{f}|g^h`i\\j",
        "/?",
        "/a?b?c",
        "/'!$&()*+,;=:@~-._",
        "/http://x/y",
    ] {
        let (response, request) = ask(&format!("GET {target} HTTP/1.1"), "Host: a\r\n");
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(request.unwrap().target, target);
    }
}

#[test]
fn an_absolute_target_passes_in_origin_form_and_its_host_wins() {
    for (target, host, path) in [
        ("http://shop.example:8080/a?b", "shop.example:8080", "/a?b"),
        ("http://shop.example", "shop.example", "/"),
        ("http://shop.example?q", "shop.example", "/?q"),
        ("HTTP://Shop.example/", "Shop.example", "/"),
        ("https://shop.example/x", "shop.example", "/x"),
        ("http://[::1]:80/x", "[::1]:80", "/x"),
    ] {
        let (response, request) = ask(&format!("GET {target} HTTP/1.1"), "Host: other\r\n");
        assert_eq!(response.status, 200, "{target}");
        let request = request.unwrap();
        assert_eq!((request.target.as_str(), request.field("host")), (path, Some(host)));
    }
}

#[test]
fn options_may_be_about_the_whole_server() {
    let (response, request) = ask("OPTIONS * HTTP/1.1", "Host: a\r\n");
    assert_eq!((response.status, request.unwrap().target.as_str()), (200, "*"));
    let (response, request) = ask("OPTIONS http://a/ HTTP/1.1", "Host: a\r\n");
    assert_eq!((response.status, request.unwrap().target.as_str()), (200, "/"));
}

#[test]
fn options_of_a_server_in_absolute_form_are_about_the_whole_server_too() {
    // RFC 9112, section 3.2.4: so says an absolute target without path and query.
    let (response, request) = ask("OPTIONS http://a HTTP/1.1", "Host: a\r\n");
    assert_eq!((response.status, request.unwrap().target.as_str()), (200, "*"));
}

#[test]
fn max_forwards_of_options_is_counted() {
    let (response, request) = ask("OPTIONS / HTTP/1.1", "Host: a\r\nMax-Forwards: 0\r\n");
    assert_eq!(response.status, 200);
    assert!(response.field("allow").is_some() && request.is_none(), "it was for us");
    let (_, request) = ask("OPTIONS / HTTP/1.1", "Host: a\r\nMax-Forwards: 2\r\n");
    assert_eq!(request.unwrap().field("max-forwards"), Some("1"));
    let (_, request) = ask("GET / HTTP/1.1", "Host: a\r\nMax-Forwards: 0\r\n");
    assert_eq!(request.unwrap().field("max-forwards"), Some("0"), "of no meaning for GET");
}

#[test]
fn an_old_request_without_host_is_served() {
    let (response, request) = ask("GET / HTTP/1.0", "");
    assert_eq!(response.status, 200);
    let request = request.unwrap();
    // What we send is HTTP/1.1, which must have one (RFC 9112, section 3.2).
    assert!(request.version == "HTTP/1.1" && request.field("host").is_some(), "{request:?}");
}

#[test]
fn the_backend_sees_the_host_that_the_pool_says() {
    let backend = Backend::named("a");
    let seen_host = |policy: &str| {
        let proxy = Proxy::before(&[&backend], &format!("forward = {{ host = \"{policy}\" }}"));
        let mut client = Client::connect(proxy.address());
        client.send("GET / HTTP/1.1\r\nHost: shop.example:80\r\n\r\n").response();
        let request = backend.last_request();
        let field = |name| request.field(name).map(str::to_owned);
        (field("host"), field("x-forwarded-host"))
    };
    assert_eq!(seen_host("client").0.as_deref(), Some("shop.example:80"));
    let client = Some("shop.example:80".to_owned());
    assert_eq!(seen_host("backend"), (Some(backend.address.to_string()), client.clone()));
    assert_eq!(seen_host("app.internal"), (Some("app.internal".to_owned()), client));
}
