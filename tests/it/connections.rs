//! The connections to backends: kept, shared, limited, and how nothing is lost when one is stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Backend, Client, Conversation, Gate, Proxy, get, wait_until};

/// One worker, so that there is one cache of connections.
const ONE_WORKER: &str = "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"";

/// A backend that counts how many of its connections the proxy has closed, and keeps its answers
/// back until the gate opens.
fn closes_counted(gate: Gate) -> (Backend, Arc<AtomicUsize>) {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            gate.wait();
            conversation.answer(200, "x");
        }
        counter.fetch_add(1, Ordering::SeqCst);
    });
    (backend, closed)
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
fn clients_take_turns_on_a_backends_connection() {
    let backend = Backend::named("a");
    let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
    for _ in 0..5 {
        assert_eq!(get(proxy.address(), "/", "").status, 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed() {
    let gate = Gate::new();
    let (backend, closed) = closes_counted(gate.clone());
    let proxy = Proxy::configured(ONE_WORKER, &[&backend], "max_idle_connections = 2");
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait_until("all requests are in flight", || proxy.in_flight() == 5);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
    wait_until("the others are closed", || closed.load(Ordering::SeqCst) == 3);
    get(proxy.address(), "/", "");
    assert_eq!((backend.connections(), closed.load(Ordering::SeqCst)), (5, 3));
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let gate = Gate::new();
    gate.open();
    let (backend, closed) = closes_counted(gate);
    let proxy = Proxy::before(&[&backend], "timeouts = { idle = \"100ms\" }");
    get(proxy.address(), "/", "");
    wait_until("it is closed", || closed.load(Ordering::SeqCst) == 1);
    assert_eq!(get(proxy.address(), "/", "").status, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_connection_that_may_not_be_kept_is_closed() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1",
        "HTTP/1.1 200 OK\r\nconnection: X, Close\r\nContent-Length: 1",
        "HTTP/1.0 200 OK\r\nContent-Length: 1",
    ] {
        let backend = Backend::new(move |mut conversation| {
            conversation.request().unwrap();
            conversation.send(format!("{head}\r\n\r\nx"));
            conversation.wait_for_close();
        });
        let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
        let mut client = Client::connect(proxy.address());
        for _ in 0..3 {
            let response = client.get("/", "");
            assert_eq!((response.text().as_str(), response.is_complete), ("x", true), "{head}");
            assert_eq!(response.field("connection"), None, "it is not the client's that ends");
        }
        assert_eq!(backend.connections(), 3, "{head}");
    }
}

/// A request of each kind that a stale connection could cost.
fn requests() -> [(&'static str, String); 4] {
    let large = "x".repeat(100_000);
    [
        ("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a short POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".into()),
        (
            "a long POST",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{large}"),
        ),
        (
            "a chunked POST",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                .into(),
        ),
    ]
}

#[test]
fn a_connection_that_the_backend_closed_while_idle_costs_nothing() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    let backend = Backend::new(move |mut conversation| {
        if conversation.request().is_some() {
            conversation.answer(200, "x");
        }
        drop(conversation);
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    let mut sent = 0;
    for _ in 0..10 {
        for (kind, request) in requests() {
            assert_eq!(client.send(request).response().status, 200, "{kind}");
            sent += 1;
            wait_until("the connection is closed", || closed.load(Ordering::SeqCst) == sent);
        }
    }
    assert_eq!(backend.connections(), sent, "no request was sent twice");
    assert_eq!(proxy.in_flight(), 0);
}

/// A backend that serves one request on its first connection and hangs up on the second, once it
/// has read it.
fn hangs_up_on_the_second_request(seen: Arc<AtomicUsize>) -> Backend {
    Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            if nth == 1 {
                return;
            }
            conversation.answer(200, "x");
        }
    })
}

#[test]
fn what_may_be_repeated_survives_a_close_in_its_face() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let seen = Arc::new(AtomicUsize::new(0));
        let backend = hangs_up_on_the_second_request(seen.clone());
        let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
        let mut client = Client::connect(proxy.address());
        for _ in 0..2 {
            let response = client.send(request).response();
            assert_eq!((response.status, response.text().as_str()), (200, "x"), "{request}");
        }
        assert_eq!(seen.load(Ordering::SeqCst), 3);
        assert_eq!(proxy.in_flight(), 0);
    }
}

#[test]
fn what_may_not_be_repeated_is_sent_once() {
    let seen = Arc::new(AtomicUsize::new(0));
    let backend = hangs_up_on_the_second_request(seen.clone());
    let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(client.send(post).response().status, 200);
    assert_eq!(client.send(post).response().status, 502);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert_eq!(proxy.in_flight(), 0);
}

#[test]
fn a_new_connection_that_ends_without_an_answer_is_not_tried_again() {
    let backend = Backend::new(|mut conversation| drop(conversation.request()));
    let proxy = Proxy::before(&[&backend], "");
    assert_eq!(get(proxy.address(), "/", "").status, 502);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_unreachable_backend_is_passed_over_whatever_the_request() {
    let (dead, alive) = (Backend::named("dead"), Backend::named("alive"));
    dead.stop();
    let settings = "balance = \"round_robin\"\neject = false";
    let proxy = Proxy::before(&[&dead, &alive], settings);
    let mut client = Client::connect(proxy.address());
    for (kind, request) in requests().into_iter().chain(requests()) {
        assert_eq!(client.send(request).response().text(), "alive", "{kind}");
    }
    let bodies: Vec<_> = alive.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(bodies, [0, 3, 100_000, 3, 0, 3, 100_000, 3]);
    assert_eq!(proxy.in_flight(), 0);
}

#[test]
fn attempts_are_limited() {
    let (dead, alive) = (Backend::named("dead"), Backend::named("alive"));
    dead.stop();
    let settings = "balance = \"round_robin\"\neject = false\nattempts = 1";
    let proxy = Proxy::before(&[&dead, &alive], settings);
    let mut statuses: Vec<_> = (0..4).map(|_| get(proxy.address(), "/", "").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[test]
fn a_bound_request_is_not_retried_elsewhere_where_its_pool_says_so() {
    let backends = [Backend::named("b0"), Backend::named("b1")];
    let settings =
        "eject = false\n[pools.pool.affinity]\nmode = \"cookie\"\nwhen_unavailable = \"reject\"";
    let proxy = Proxy::before(&[&backends[0], &backends[1]], settings);
    let first = get(proxy.address(), "/", "Connection: close\r\n");
    let home = backends.iter().position(|backend| !backend.requests().is_empty()).unwrap();
    backends[home].stop();
    let cookie = format!("Cookie: {}\r\n", first.cookie().unwrap());
    // The connection that was kept may still serve; a new one cannot be made.
    let mut statuses = (0..3).map(|_| get(proxy.address(), "/", &cookie).status);
    assert!(statuses.all(|status| matches!(status, 200 | 502 | 503)));
    assert!(backends[1 - home].requests().is_empty(), "it went elsewhere");
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    let script = |mut conversation: Conversation| {
        if conversation.request().is_some() {
            conversation.answer(200, "x");
        }
    };
    let backend = Backend::new(script);
    let proxy = Proxy::before(&[&backend], "eject = false");
    assert_eq!(get(proxy.address(), "/", "").status, 200);
    backend.stop();
    assert_eq!(get(proxy.address(), "/", "").status, 502);
    let _again = Backend::at(&backend.address.to_string(), script);
    assert_eq!(get(proxy.address(), "/", "").status, 200);
}

#[test]
fn what_a_backend_says_beyond_its_answer_reaches_nobody() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
    ] {
        let backend = Backend::new(move |mut conversation| {
            while conversation.request().is_some() {
                conversation.send(answer);
            }
        });
        let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
        let mut client = Client::connect(proxy.address());
        for _ in 0..3 {
            let response = client.get("/", "");
            assert!(!response.text().contains("evil"), "{answer}: {response:?}");
        }
        assert_eq!(backend.connections(), 3, "{answer}: such a connection is not kept");
    }
}

#[test]
fn an_answer_before_the_question_is_not_taken_for_one() {
    let sent = Gate::new();
    let has_sent = sent.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        conversation.answer(200, "first");
        if conversation.number == 0 {
            conversation.answer(200, "evil");
            has_sent.open();
        }
        while conversation.request().is_some() {
            conversation.answer(200, "first");
        }
    });
    let proxy = Proxy::configured(ONE_WORKER, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").text(), "first");
    sent.wait();
    for _ in 0..3 {
        assert_eq!(client.get("/", "").text(), "first");
    }
}
