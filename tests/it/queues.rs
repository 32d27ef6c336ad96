//! Backends at their limit, and homes that are away for a while: who waits, and for what.

use std::thread;
use std::time::Duration;

use crate::support::{Backend, Client, Gate, Proxy, Visitor, app, app_at, get, pool, wait_until};

/// A backend that answers when the gate opens, and is at its limit with one request.
fn limited(gate: &Gate, settings: &str) -> (Backend, Proxy) {
    let gate = gate.clone();
    let backend = Backend::answering(move |request| {
        if request.target == "/slow" {
            gate.wait();
        }
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into()
    });
    let config = pool(&[backend.address.to_string()], settings);
    let proxy = Proxy::with(&format!("{config}max_connections = 1\n"));
    (backend, proxy)
}

fn begin(proxy: &Proxy, target: &str) -> Client {
    let mut client = Client::connect(proxy.address());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

#[test]
fn a_backend_never_has_more_than_its_limit_and_the_others_wait_their_turn() {
    let gate = Gate::new();
    let (backend, proxy) = limited(&gate, "queue = { timeout = \"1m\" }\n");
    let mut first = begin(&proxy, "/slow");
    wait_until("the first is in flight", || proxy.in_flight() == 1);
    let mut others: Vec<Client> = (0..20).map(|i| begin(&proxy, &format!("/{i}"))).collect();
    wait_until("the others wait", || proxy.pool().waiting() == 20);
    assert_eq!(proxy.in_flight(), 1);
    gate.open();
    assert_eq!(first.response().status, 200);
    for other in &mut others {
        assert_eq!(other.response().status, 200);
    }
    assert!(backend.connections() <= 2, "one for each worker: never more than one at once");
    proxy.wait_until_quiet();
}

#[test]
fn a_full_queue_and_a_long_wait_are_told_with_503() {
    let gate = Gate::new();
    let settings = "queue = { length = 1, timeout = \"300ms\" }\n";
    let (_backend, proxy) = limited(&gate, settings);
    let mut first = begin(&proxy, "/slow");
    wait_until("the first is in flight", || proxy.in_flight() == 1);
    let mut waits = begin(&proxy, "/");
    wait_until("one waits", || proxy.pool().waiting() == 1);
    let refused = get(proxy.address(), "/", "");
    assert_eq!(refused.status, 503);
    assert!(refused.field("retry-after").is_some());
    assert_eq!(waits.response().status, 503, "after its time in the queue");
    gate.open();
    assert_eq!(first.response().status, 200);
}

#[test]
fn who_leaves_while_it_waits_is_forgotten() {
    let gate = Gate::new();
    let (_backend, proxy) = limited(&gate, "queue = { timeout = \"1m\" }\n");
    let mut first = begin(&proxy, "/slow");
    wait_until("the first is in flight", || proxy.in_flight() == 1);
    let leaver = begin(&proxy, "/");
    wait_until("one waits", || proxy.pool().waiting() == 1);
    drop(leaver);
    wait_until("nobody waits", || proxy.pool().waiting() == 0);
    gate.open();
    assert_eq!(first.response().status, 200);
    proxy.wait_until_quiet();
}

#[test]
fn a_session_waits_for_its_home_to_be_restarted() {
    let [b0, b1] = [app(0), app(1)];
    let settings = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n\
                    when_unavailable = \"wait\"\nwait = { up_to = \"1m\" }\n";
    let proxy = Proxy::before(&[&b0, &b1], settings);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    let address = b0.address.to_string();
    b0.die();
    let waits = thread::spawn(move || visitor.visit());
    wait_until("it waits", || proxy.member("b0").waiting() == 1);
    thread::sleep(Duration::from_millis(300)); // it looks again now and then
    let _b0 = app_at(&address, 0);
    assert_eq!(waits.join().unwrap(), "b0 bound");
}

#[test]
fn a_session_on_a_detour_keeps_its_home_and_its_cookie() {
    let apps = [app(0), app(1), app(2)];
    let settings = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n\
                    when_unavailable = \"detour\"\n";
    let proxy = Proxy::before(&[&apps[0], &apps[1], &apps[2]], settings);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    let address = apps[0].address.to_string();
    apps[0].die();
    let first = visitor.visit();
    assert!(first.ends_with("detour;reason=ejected"), "{first}");
    for _ in 0..6 {
        assert_eq!(visitor.visit(), first, "always to the same one");
    }
    let _b0 = app_at(&address, 0);
    wait_until("it is served at home again", || visitor.visit() == "b0 bound");
}
