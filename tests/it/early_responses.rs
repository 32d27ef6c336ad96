//! Responses that begin, or end, while the request is still on its way.

use std::io::Read;
use std::thread;

use crate::support::{Backend, Client, Gate, Proxy};

const SIZE: usize = 8 * 1024 * 1024;

fn upload_head() -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n")
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_uploading() {
    // The backend reads nothing of the body and closes, so the proxy's writes fail sooner or
    // later: before or after it has read the answer.
    for closes_rudely in [false, true] {
        let backend = Backend::new(move |mut conversation| {
            conversation.head().unwrap();
            conversation.send(
                "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!",
            );
            if !closes_rudely {
                conversation.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
                conversation.wait_for_close();
            }
        });
        let proxy = Proxy::before(&[&backend], "");
        for _ in 0..10 {
            let mut client = Client::connect(proxy.address());
            client.send(upload_head()).send("x".repeat(SIZE));
            let response = client.response();
            assert_eq!((response.status, response.text().as_str()), (413, "no!"));
        }
        proxy.wait_until_quiet();
    }
}

#[test]
fn a_refusal_in_chunks_reaches_it_too() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 401 Who\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n");
        conversation.send("0\r\n\r\n");
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (401, "who"));
    client.assert_closed();
    proxy.wait_until_quiet();
}

#[test]
fn a_large_response_to_a_client_that_uploads_first_is_no_deadlock() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        let mut reader = conversation.stream.get_ref().try_clone().unwrap();
        let mut early = conversation.stream.buffer().len();
        let reading = thread::spawn(move || {
            let mut piece = [0; 64 * 1024];
            while early < SIZE {
                early += reader.read(&mut piece).unwrap();
            }
        });
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        conversation.send("y".repeat(SIZE));
        reading.join().unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(upload_head()).send("x".repeat(SIZE));
    let response = client.response();
    assert_eq!((response.body.len(), response.is_complete), (SIZE, true));
    proxy.wait_until_quiet();
}

#[test]
fn an_upload_goes_on_after_the_head_of_its_response() {
    let backend = Backend::new(|mut conversation| {
        if conversation.head().unwrap().starts_with("GET") {
            return conversation.answer(200, "next");
        }
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let mut body = vec![0; SIZE];
        conversation.stream.read_exact(&mut body).unwrap();
        conversation.send(&body);
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(upload_head());
    client.head();
    let body: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    client.send(&body);
    assert!(client.bytes(SIZE) == body);
    assert_eq!(client.get("/", "").text(), "next", "and the client's connection goes on");
    proxy.wait_until_quiet();
}

#[test]
fn what_follows_an_upload_that_was_cut_short_is_no_request() {
    let backend = Backend::new(|mut conversation| {
        let head = conversation.head().unwrap();
        assert!(head.starts_with("POST"), "smuggled: {head}");
        conversation.answer(400, "early");
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.response().status, 400);
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    client.assert_closed();
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_response_that_ends_before_its_request_frees_the_backend() {
    let gate = Gate::new();
    let is_open = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        conversation.answer(200, "done");
        conversation.wait_for_close();
        is_open.open();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(upload_head()).send("x".repeat(100_000));
    assert_eq!(client.response().text(), "done");
    gate.wait();
    proxy.wait_until_quiet();
}

/// A backend that answers half a body as soon as the head of a request is there, and then waits.
fn half_answering() -> Backend {
    Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        conversation.wait_for_close();
    })
}

const BEGINNING: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

#[test]
fn a_response_that_stalls_after_its_upload_has_ended_is_broken_off() {
    let backend = half_answering();
    let proxy = Proxy::before(&[&backend], "timeouts = { response_body = \"300ms\" }");
    let mut client = Client::connect(proxy.address());
    client.send(BEGINNING).head();
    let (rest, is_orderly) = client.send("0\r\n\r\n").rest();
    assert_eq!((rest.as_slice(), is_orderly), (&b"hello"[..], false));
    proxy.wait_until_quiet();
    assert_eq!(proxy.member("b0").outcomes(), [0, 1, 0]);
}

#[test]
fn an_upload_beside_its_response_is_held_to_its_pace_and_its_size() {
    for (settings, more) in [
        ("[server.timeouts]\nrequest_body = \"300ms\"", String::new()),
        ("[server.limits]\nmin_rate = \"1MiB\"", String::new()),
        ("[server.limits]\nbody_bytes = 1000", format!("3e8\r\n{}\r\n", "x".repeat(1000))),
    ] {
        let backend = half_answering();
        let proxy = Proxy::configured(settings, &[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send(BEGINNING).head();
        let (rest, is_orderly) = client.send(more).rest();
        assert_eq!((rest.as_slice(), is_orderly), (&b"hello"[..], false), "{settings}");
        proxy.wait_until_quiet();
        assert_eq!(proxy.member("b0").outcomes(), [0, 0, 1], "{settings}: not the backend's fault");
    }
}

#[test]
fn who_is_not_listened_to_is_told_that_the_connection_ends() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            let refuses = head.starts_with("PUT");
            conversation.answer(if refuses { 401 } else { 200 }, "x");
        }
    });
    let tables = "[[routes]]\npath = \"/here\"\npool = \"pool\"";
    let proxy = Proxy::configured(tables, &[&backend], "");
    let ask = |request: &str| Client::connect(proxy.address()).send(request).response();
    for (request, status) in [
        ("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 404),
        ("TRACE /here HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 405),
        ("PUT /here HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", 401),
        ("PUT /here HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", 401),
    ] {
        let response = ask(request);
        assert_eq!((response.status, response.field("connection")), (status, Some("close")));
    }
    let mut client = Client::connect(proxy.address());
    for request in [
        "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET /here HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(client.send(request).response().field("connection"), None, "{request}");
    }
}

#[test]
fn who_has_been_heard_to_the_end_is_not() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for body in [
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    ] {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
        let mut head = client.head();
        if head.starts_with("HTTP/1.1 100 ") {
            head = client.head();
        }
        assert!(!head.to_lowercase().contains("\r\nconnection:"), "{body:?}: {head}");
        assert_eq!(client.bytes(1), b"a");
    }
}
