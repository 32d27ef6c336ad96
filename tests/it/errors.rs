//! The answers that the proxy gives by itself.

use std::collections::HashSet;

use crate::support::{Backend, Client, Proxy, Response};

/// A proxy with a pool for every way to fail, by host, and no route for other hosts.
struct Site {
    proxy: Proxy,
    /// One that never answers, and one that is not there.
    _backends: [Backend; 2],
}

impl Site {
    fn new() -> Self {
        let silent = Backend::new(|mut conversation| conversation.wait_for_close());
        let dead = Backend::named("dead");
        dead.stop();
        let pool = |name: &str, backend: &Backend, health: &str| {
            format!(
                "[[routes]]\nhost = \"{name}\"\npool = \"{name}\"\n\
                 [pools.{name}]\neject = false\ntimeouts = {{ response_header = \"100ms\" }}\n{health}\n\
                 [[pools.{name}.backends]]\nname = \"secret\"\naddress = \"{}\"\n",
                backend.address
            )
        };
        let proxy = Proxy::with(&format!(
            "[server.timeouts]\nrequest_body = \"100ms\"\n[server.limits]\nbody_bytes = 1000\n{}{}{}",
            pool("silent", &silent, ""),
            pool("dead", &dead, ""),
            pool("down", &dead, "health = { initial = \"down\" }"),
        ));
        Site { proxy, _backends: [silent, dead] }
    }

    /// The answer to a request with this line and these fields.
    fn ask(&self, line: &str, fields: &str) -> Response {
        let mut client = Client::connect(self.proxy.address());
        client.send(format!("{line} HTTP/1.1\r\n{fields}\r\n"));
        match line.starts_with("HEAD") {
            true => client.response_to_head(),
            false => client.response(),
        }
    }
}

/// Every status of the table that an admitted request can get, and a request that gets it.
const PROBLEMS: [(u16, &str, &str); 9] = [
    (400, "GET /", "Host: a b\r\n"),
    (404, "GET /", "Host: nowhere\r\n"),
    (405, "CONNECT a:443", "Host: a:443\r\n"),
    (405, "TRACE /", "Host: silent\r\n"),
    (408, "POST /", "Host: silent\r\nContent-Length: 5\r\n"),
    (413, "POST /", "Host: silent\r\nContent-Length: 5000\r\n"),
    (502, "GET /", "Host: dead\r\n"),
    (503, "GET /", "Host: down\r\n"),
    (504, "GET /", "Host: silent\r\n"),
];

#[test]
fn every_problem_has_its_status_and_an_id_and_names_no_server() {
    let site = Site::new();
    let mut ids = HashSet::new();
    for (status, line, fields) in PROBLEMS {
        let response = site.ask(line, fields);
        assert_eq!(response.status, status, "{line} {fields:?}");
        let id = response.field("x-request-id").unwrap().to_owned();
        assert!(response.text().contains(&id), "{status}: {}", response.text());
        assert!(ids.insert(id), "an id came twice");
        assert_eq!(response.field("cache-control"), Some("no-store"));
        assert!(response.field("date").is_some());
        for secret in ["secret", "127.0.0.1", "dead", "silent", "down"] {
            let told = format!("{response:?}{}", response.text());
            assert!(!told.contains(secret), "{status} tells {secret}: {told}");
        }
    }
}

#[test]
fn programs_get_json_and_browsers_html() {
    let site = Site::new();
    for (status, line, fields) in PROBLEMS {
        let json = site.ask(line, &format!("{fields}Accept: application/json\r\n"));
        assert_eq!(json.field("content-type"), Some("application/json"), "{status}");
        let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
        assert_eq!((value["status"].as_u64(), json.status), (Some(status.into()), status));
        let html = site.ask(line, &format!("{fields}Accept: text/html,*/*;q=0.8\r\n"));
        assert_eq!(html.field("content-type"), Some("text/html; charset=utf-8"), "{status}");
        let page = html.text();
        assert!(
            page.starts_with("<!doctype html>") && page.contains(&status.to_string()),
            "{page}"
        );
    }
}

#[test]
fn some_problems_say_more() {
    let site = Site::new();
    let unavailable = site.ask("GET /", "Host: down\r\n");
    assert!(unavailable.field("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert!(site.ask("TRACE /", "Host: silent\r\n").field("allow").is_some());
    for (line, fields) in [
        ("POST /", "Host: silent\r\nContent-Length: 5\r\n"),
        ("POST /", "Host: silent\r\nContent-Length: 5000\r\n"),
    ] {
        assert_eq!(site.ask(line, fields).field("connection"), Some("close"), "{fields:?}");
    }
}

#[test]
fn a_problem_with_head_has_no_body() {
    let site = Site::new();
    let mut client = Client::connect(site.proxy.address());
    for host in ["nowhere", "dead", "down", "silent"] {
        client.send(format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response_to_head();
        assert!(response.status >= 400 && response.field("x-request-id").is_some());
        assert_ne!(response.field("content-length"), Some("0"), "it is that of a GET");
    }
}

#[test]
fn a_connection_outlives_problems_that_do_not_spoil_it() {
    let site = Site::new();
    let mut client = Client::connect(site.proxy.address());
    for _ in 0..2 {
        for (host, status) in [("nowhere", 404), ("dead", 502), ("down", 503), ("silent", 504)] {
            client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(client.response().status, status);
        }
    }
}

#[test]
fn the_body_of_a_request_that_nobody_takes_is_no_request() {
    let site = Site::new();
    for smuggled in ["GET / HTTP/1.1\r\nHost: dead\r\n\r\n", "x"] {
        let mut client = Client::connect(site.proxy.address());
        let body = smuggled.repeat(900 / smuggled.len());
        let length = body.len();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: nowhere\r\nContent-Length: {length}\r\n\r\n{body}\
             GET / HTTP/1.1\r\nHost: down\r\n\r\n"
        ));
        assert_eq!(client.response().status, 404);
        // The connection may end here; if it goes on, then with the real second request.
        if let Some(response) = client.try_response(false) {
            assert_eq!(response.status, 503);
        }
    }
}
