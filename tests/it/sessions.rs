//! The ledger: how many sessions are bound to which backend, exactly, and within bounds.

use std::thread;

use crate::support::{Backend, Client, Gate, Proxy, Visitor, apps, get, wait_until};

const COOKIE: &str = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n";

/// Sessions bound to `b0`, `b1`, ..., as the proxy counts them.
fn counts(proxy: &Proxy) -> Vec<u32> {
    proxy.pool().backends().iter().map(|backend| backend.sessions()).collect()
}

#[test]
fn sessions_are_counted_where_they_are_bound_and_once() {
    let [b0, b1, b2] = apps();
    let proxy = Proxy::before(&[&b0, &b1, &b2], COOKIE);
    let mut visitors: Vec<_> = (0..10).map(|_| Visitor::new(proxy.address())).collect();
    for _ in 0..3 {
        for visitor in &mut visitors {
            visitor.visit();
        }
        assert_eq!(counts(&proxy), [4, 3, 3]);
    }
    assert_eq!(proxy.pool().ledger().len(), 10);
}

#[test]
fn sessions_that_begin_at_the_same_time_are_all_counted() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], COOKIE);
    let address = proxy.address();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                for _ in 0..25 {
                    let mut visitor = Visitor::new(address);
                    let home = visitor.visit()[..2].to_owned();
                    assert_eq!(visitor.visit(), format!("{home} bound"));
                }
            });
        }
    });
    assert_eq!(counts(&proxy), [100, 100]);
}

#[test]
fn a_session_that_moves_is_counted_at_its_new_home() {
    let [b0, b1] = apps();
    let settings = format!("eject = false\n{COOKIE}");
    let proxy = Proxy::before(&[&b0, &b1], &settings);
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    assert_eq!(counts(&proxy), [1, 0]);
    b0.die();
    visitor.visit();
    assert_eq!(counts(&proxy), [0, 1]);
}

#[test]
fn a_session_that_never_got_an_answer_is_none() {
    let backend = Backend::new(|mut conversation| drop(conversation.request()));
    let proxy = Proxy::before(&[&backend], COOKIE);
    let response = get(proxy.address(), "/", "");
    assert_eq!((response.status, response.field("set-cookie")), (502, None));
    assert_eq!(counts(&proxy), [0]);
}

#[test]
fn a_session_counts_from_its_first_answer_on() {
    let gate = Gate::new();
    let opened = gate.clone();
    let backend = Backend::answering(move |_| {
        opened.wait();
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()
    });
    let proxy = Proxy::before(&[&backend], COOKIE);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is in flight", || proxy.in_flight() == 1);
    assert_eq!(counts(&proxy), [0]);
    gate.open();
    assert_eq!(client.response().status, 200);
    assert_eq!(counts(&proxy), [1]);
}

#[test]
fn idle_sessions_end_by_themselves() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], &format!("{COOKIE}idle_timeout = \"500ms\"\n"));
    (0..20).for_each(|_| drop(get(proxy.address(), "/", "")));
    wait_until("all sessions have ended", || proxy.pool().ledger().is_empty());
    assert_eq!(counts(&proxy), [0, 0]);
}

#[test]
fn the_ledger_is_bounded_and_sessions_beyond_it_stick_all_the_same() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], &format!("{COOKIE}max_sessions = 5\n"));
    let mut visitors: Vec<_> = (0..20).map(|_| Visitor::new(proxy.address())).collect();
    let homes: Vec<_> = visitors.iter_mut().map(|v| v.visit()[..2].to_owned()).collect();
    for (visitor, home) in visitors.iter_mut().zip(&homes) {
        assert_eq!(visitor.visit(), format!("{home} bound"));
    }
    assert_eq!(counts(&proxy).iter().sum::<u32>(), 5);
    assert_eq!(proxy.pool().ledger().len(), 5);
    assert!(proxy.pool().ledger().untracked() >= 15, "it says that its counts are too low");
}

#[test]
fn a_client_that_keeps_no_cookies_is_a_new_session_every_time() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let mut client = Client::connect(proxy.address());
    for sessions in 1..=5 {
        assert_eq!(client.get("/", "").text(), "b0 new");
        assert_eq!(counts(&proxy), [sessions]);
    }
}
