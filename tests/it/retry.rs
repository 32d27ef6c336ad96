//! A request that nobody has seen goes elsewhere, if its session may; and what that means for the
//! session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stickler::balance::{Ask, Decision, Hint, Reason};
use stickler::clock;

use crate::support::{
    Backend, Client, Conversation, Proxy, Visitor, app_at, apps, get, wait_until,
};

const COOKIE: &str = "balance = \"round_robin\"\neject = false\n\
                      [pools.pool.affinity]\nmode = \"cookie\"\n";

/// Longer than what is buffered, so that it streams.
const LARGE: usize = 200_000;

fn post(length: usize, cookie_line: &str) -> String {
    let body = "x".repeat(length);
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{cookie_line}\r\n{body}")
}

#[test]
fn a_session_begins_where_its_first_request_was_answered() {
    let [b0, b1] = apps();
    b0.die();
    let proxy = Proxy::before(&[&b0, &b1], COOKIE);
    for _ in 0..4 {
        let mut visitor = Visitor::new(proxy.address());
        assert_eq!((visitor.visit(), visitor.visit()), ("b1 new".into(), "b1 bound".into()));
    }
    assert_eq!(proxy.member("b0").sessions(), 0);
    assert_eq!(proxy.member("b1").sessions(), 4);
}

/// Two threads that look for another backend at the same time do not hide it from each other. Over
/// sockets that shows once in thousands of requests, so this asks the pool itself.
#[test]
fn of_many_retries_at_once_each_finds_the_backend_that_is_left() {
    let [b0, b1] = apps();
    for balance in ["round_robin", "least_connections", "random"] {
        let proxy = Proxy::before(&[&b0, &b1], &format!("balance = \"{balance}\"\n"));
        let pool = proxy.pool();
        let tried = [proxy.member("b0").id()];
        let place = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..20_000 {
                let ask =
                    Ask { hint: Hint::Free, tried: &tried, since: clock::now(), let_go: None };
                let decision = pool.place(&ask, ask.since, &mut rng).unwrap();
                let Decision::Place(placement, _) = decision else { panic!("{decision:?}") };
                assert_eq!(placement.backend.name(), "b1", "{balance}");
            }
        };
        let place = &place;
        thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || place(seed)))));
    }
}

#[test]
fn a_post_moves_with_its_session_and_arrives_once_and_whole() {
    for length in [0, 10, LARGE] {
        let [b0, b1] = apps();
        let proxy = Proxy::before(&[&b0, &b1], COOKIE);
        let mut visitor = Visitor::new(proxy.address());
        assert_eq!(visitor.visit(), "b0 new");
        b0.die();
        let mut client = Client::connect(proxy.address());
        let response = client.send(post(length, &visitor.cookie_line())).response();
        assert_eq!(response.text(), "b1 moved;from=\"b0\";reason=ejected", "{length} bytes");
        let bodies: Vec<_> = b1.requests().iter().map(|request| request.body.len()).collect();
        assert_eq!(bodies, [length]);
        visitor.cookie = response.cookie();
        assert_eq!(visitor.visit(), "b1 bound");
    }
}

#[test]
fn a_post_to_a_home_that_rejects_is_sent_nowhere() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], &format!("{COOKIE}when_unavailable = \"reject\"\n"));
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    b0.die();
    for length in [0, 10, LARGE] {
        let mut client = Client::connect(proxy.address());
        let response = client.send(post(length, &visitor.cookie_line())).response();
        assert_eq!(response.status, 503, "{length} bytes");
    }
    assert!(b1.requests().is_empty());
}

#[test]
fn a_key_goes_to_its_second_choice() {
    let backends: [Backend; 3] = apps();
    let settings = "eject = false\n[pools.pool.affinity]\nmode = \"hash\"\nkey = \"path\"\n";
    let proxy = Proxy::before(&backends.each_ref(), settings);
    backends[0].die();
    for path in 0..20 {
        let path = format!("/{path}");
        let first = get(proxy.address(), &path, "").text();
        assert!(first.ends_with(" keyed"), "it has no other home: {first}");
        assert_eq!(get(proxy.address(), &path, "").text(), first);
    }
    let moves: u64 = Reason::ALL.iter().map(|&reason| proxy.pool().count_of(reason)).sum();
    assert_eq!(moves, 0);
}

/// An app server that reads every second request of a connection and closes instead of answering.
fn forgetful(told: Arc<AtomicUsize>) -> Backend {
    Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            if request.field("stickler-affinity") == Some("bound") {
                told.fetch_add(1, Ordering::SeqCst);
            }
            conversation.answer(200, "here");
            if conversation.request().is_some() {
                return;
            }
        }
    })
}

#[test]
fn a_stale_connection_is_no_reason_to_move() {
    let told = Arc::new(AtomicUsize::new(0));
    let home = forgetful(told.clone());
    let [other] = apps();
    let proxy = Proxy::configured(
        "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"",
        &[&home, &other],
        COOKIE,
    );
    let mut visitor = Visitor::new(proxy.address());
    for _ in 0..10 {
        assert_eq!(visitor.get().text(), "here");
    }
    assert_eq!(told.load(Ordering::SeqCst), 9, "every answer was to a bound request");
    assert!(other.requests().is_empty());
    assert_eq!(home.connections(), 10, "each closed connection was replaced");
}

#[test]
fn a_session_whose_home_died_behind_a_kept_connection_moves_once() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], COOKIE);
    let mut visitors: Vec<_> = (0..10).map(|_| Visitor::new(proxy.address())).collect();
    visitors.iter_mut().for_each(|visitor| drop(visitor.visit()));
    b0.die();
    for visitor in &mut visitors {
        let told = visitor.visit();
        assert!(["b1 bound", "b1 moved;from=\"b0\";reason=ejected"].contains(&&*told), "{told}");
        assert_eq!(visitor.visit(), "b1 bound");
    }
    assert_eq!(proxy.pool().count_of(Reason::Ejected), 5);
    assert_eq!(proxy.in_flight(), 0);
}

/// What of a body has been taken from the client cannot be sent once more, so a streamed request
/// is lost with it, never sent without it.
#[test]
fn a_streamed_body_arrives_whole_or_not_at_all() {
    let rude = Backend::new(Conversation::reset);
    let [other] = apps();
    let proxy = Proxy::before(&[&rude, &other], "balance = \"round_robin\"\neject = false\n");
    let body = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    for _ in 0..200 {
        let mut client = Client::connect(proxy.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let status = client.send(body).response().status;
        assert!(matches!(status, 200 | 502), "{status}");
    }
    let requests = other.requests();
    assert!(requests.len() >= 100);
    assert!(requests.iter().all(|request| request.body == b"hello world"));
}

#[test]
fn a_home_that_refuses_for_a_moment_keeps_its_session() {
    let [b0, b1] = apps();
    let address = b0.address.to_string();
    let proxy = Proxy::before(&[&b0, &b1], COOKIE);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    b0.die();
    let mut client = Client::connect(proxy.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", visitor.cookie_line()));
    // In flight at a backend that refuses: that is between the first and the second time.
    wait_until("it has been refused once", || proxy.member("b0").in_flight() == 1);
    let _again = app_at(&address, 0);
    assert_eq!(client.response().text(), "b0 bound");
    assert_eq!(proxy.pool().count_of(Reason::Ejected), 0);
}
