//! What requests are called: their ids, and the traces that they belong to.

use crate::support::{Backend, Client, Proxy, Request, get};

const SERVER: &str = "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"\n";
const TRUSTED: &str =
    "[[listeners]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// What a backend sees of a request with these lines.
#[track_caller]
fn seen(tables: &str, lines: &str) -> Request {
    let backend = Backend::named("a");
    let proxy = Proxy::configured(tables, &[&backend], "");
    assert_eq!(get(proxy.address(), "/", lines).status, 200);
    backend.last_request()
}

#[test]
fn backends_are_told_an_id_that_is_ours_unless_a_trusted_proxy_gave_one() {
    let id = |tables, lines| seen(tables, lines).field("x-request-id").unwrap().to_owned();
    let made = |id: &str| id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit());
    let given = "X-Request-ID: from-outside\r\n";
    assert!(made(&id("", "")));
    assert!(made(&id("", given)), "strangers name nothing");
    assert_eq!(id(TRUSTED, given), "from-outside");
    assert!(made(&id(TRUSTED, "X-Request-Id: not \"fit\"\r\n")));
    assert_ne!(id("", ""), id("", ""));
}

#[test]
fn the_field_can_have_another_name_or_none() {
    let other = format!("{SERVER}request_id_header = \"X-Correlation-Id\"\n");
    let request = seen(&other, "X-Correlation-Id: evil\r\nX-Request-Id: mine\r\n");
    assert_eq!(request.field("x-correlation-id").unwrap().len(), 16);
    assert_eq!(request.field("x-request-id"), Some("mine"), "it is the app's business");
    let given = seen(&format!("{other}{TRUSTED}"), "X-Correlation-Id: from-outside\r\n");
    assert_eq!(given.field("x-correlation-id"), Some("from-outside"));
    let off = format!("{SERVER}request_id_header = \"off\"\n");
    assert_eq!(seen(&off, "").field("x-request-id"), None);
    assert_eq!(seen(&off, "X-Request-Id: mine\r\n").field("x-request-id"), Some("mine"));
}

#[test]
fn error_pages_show_the_id_that_a_trusted_proxy_gave() {
    let route = "[[routes]]\nhost = \"elsewhere\"\npool = \"pool\"\n";
    let proxy = Proxy::configured(&format!("{TRUSTED}{route}"), &[&Backend::named("a")], "");
    let page = get(proxy.address(), "/", "X-Request-Id: from-outside\r\n");
    assert_eq!((page.status, page.field("x-request-id")), (404, Some("from-outside")));
    assert!(page.text().contains("\"request_id\":\"from-outside\""));
}

#[test]
fn error_pages_show_the_id_in_the_field_that_backends_find_it_in() {
    let route = "[[routes]]\nhost = \"elsewhere\"\npool = \"pool\"\n";
    let page = |header: &str, request: &str| {
        let server = format!("{SERVER}request_id_header = \"{header}\"\n");
        let proxy = Proxy::configured(&format!("{server}{route}"), &[&Backend::named("a")], "");
        Client::connect(proxy.address()).send(request).response()
    };
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 505), // never becomes a request
    ] {
        let named = page("X-Correlation-Id", request);
        let id = named.field("x-correlation-id").unwrap();
        assert_eq!((named.status, named.field("x-request-id")), (status, None));
        assert!(named.text().contains(id), "{named:?}");
        let off = page("off", request);
        assert_eq!((off.field("x-request-id"), off.field("x-correlation-id")), (None, None));
        assert!(off.text().contains("request_id") || off.text().contains("Request "), "{off:?}");
    }
}

#[test]
fn traces_pass_as_they_are() {
    let lines = format!("traceparent: {TRACE}\r\ntracestate: a=b\r\n");
    for tables in ["", &format!("{SERVER}trace = \"start\"\n")] {
        let request = seen(tables, &lines);
        assert_eq!(request.field("traceparent"), Some(TRACE));
        assert_eq!(request.field("tracestate"), Some("a=b"));
    }
    assert_eq!(seen("", "").field("traceparent"), None);
    assert_eq!(seen("", "traceparent: x\r\n").field("traceparent"), Some("x"));
}

#[test]
fn traces_are_started_where_that_is_wanted_and_what_is_no_trace_is_replaced() {
    let start = format!("{SERVER}trace = \"start\"\n");
    for lines in [
        String::new(),
        "traceparent: x\r\ntracestate: a=b\r\n".into(),
        format!("traceparent: {}\r\n", TRACE.replacen("00", "ff", 1)),
        format!("traceparent: {TRACE}\r\ntraceparent: {TRACE}\r\n"),
    ] {
        let request = seen(&start, &lines);
        let value = request.field("traceparent").unwrap();
        assert!(stickler::http::traceparent::trace_id(value.as_bytes()).is_some(), "{value}");
        assert!(value.ends_with("-01") && !value.contains(&TRACE[3..35]), "{value}");
        assert_eq!(request.field("tracestate"), None, "it belongs to the other trace");
    }
}
