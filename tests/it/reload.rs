//! Another configuration, while it works: nobody notices, unless something was to be noticed.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use stickler::balance::{BackendState, DrainPolicy};
use stickler::clock::Stopwatch;

use crate::support::{Backend, Client, Gate, Proxy, Visitor, apps, get, pool, wait_until};

const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"";

fn addresses(backends: &[&Backend]) -> Vec<String> {
    backends.iter().map(|backend| backend.address.to_string()).collect()
}

/// A session's visits over one connection, and over new ones, until it is over.
fn visit(address: SocketAddr, is_over: &AtomicBool, visits: &AtomicUsize) {
    let mut visitor = Visitor::new(address);
    let home = visitor.visit().split(' ').next().unwrap().to_owned();
    let mut client = Client::connect(address);
    while !is_over.load(Ordering::Relaxed) {
        let kept_alive = client.get("/", &visitor.cookie_line());
        assert_eq!((kept_alive.status, kept_alive.text()), (200, format!("{home} bound")));
        assert_eq!(visitor.visit(), format!("{home} bound"));
        assert_eq!(Visitor::new(address).get().status, 200);
        visits.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_hundred_reloads_lose_no_request_and_move_no_session() {
    let [a, b, c] = apps();
    let all = addresses(&[&a, &b, &c]);
    let config = |i: usize| {
        let balance = ["round_robin", "random", "two_choices", "least_connections"][i % 4];
        let mut addresses = all.clone();
        let idle = 60 + i;
        let settings = format!(
            "balance = \"{balance}\"\nattempts = {}\n{COOKIE}\nidle_timeout = \"{idle}s\"\n\
             [pools.pool.health]\ninterval = \"{}ms\"\npath = \"/\"",
            3 + i % 5,
            50 + i,
        );
        if i % 2 == 1 {
            addresses.push("127.0.0.1:1".into()); // comes and goes, and refuses meanwhile
        }
        format!("[server.limits]\nheader_count = {}\n{}", 100 + i, pool(&addresses, &settings))
    };
    let config = |i: usize| {
        let server = "[server]\nworkers = 2\nshutdown_timeout = \"100ms\"\n";
        format!("{server}{}", config(i))
    };
    let proxy = Proxy::with(&config(0));
    let address = proxy.address();
    let begun = Stopwatch::start();
    let (is_over, visits) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| visit(address, &is_over, &visits));
        }
        for i in 1..=100 {
            let before = visits.load(Ordering::Relaxed);
            assert_ne!(proxy.reload(&config(i)).unwrap().changes, Vec::<String>::new());
            wait_until("visits go on", || {
                visits.load(Ordering::Relaxed) > before || is_over.load(Ordering::Relaxed)
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let visits = visits.load(Ordering::Relaxed);
    assert!(visits >= 100);
    let moves: u64 = stickler::balance::Reason::ALL.iter().map(|&r| proxy.pool().count_of(r)).sum();
    assert_eq!(moves, 0, "no session moved for any reason");
    let took = begun.elapsed().as_secs_f64();
    println!(
        "100 reloads in {took:.1} s under {} requests: 0 failed, {moves} sessions moved",
        visits * 3
    );
}

#[test]
fn a_bad_configuration_leaves_the_one_from_before_and_says_why() {
    let [a] = apps();
    let good = pool(&addresses(&[&a]), COOKIE);
    let proxy = Proxy::with(&good);
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    let bad = good.replace("cookie", "cokie") + "\n[[listeners]]\naddress = \"nowhere\"";
    let why = proxy.reload(&bad).unwrap_err();
    for part in ["test.toml:", "cokie", "nowhere"] {
        assert!(why.contains(part), "every mistake, with its place: {why}");
    }
    let taken = Backend::named("taken").address;
    let taken_again = Backend::named("x");
    let unbound = format!("[[listeners]]\naddress = \"{}\"\n{good}", taken_again.address);
    assert!(proxy.reload(&unbound).unwrap_err().contains("another process listens there"));
    assert!(TcpStream::connect(taken).is_err() || taken != proxy.address());
    assert_eq!(visitor.visit(), "b0 bound");
    assert!(!proxy.controller().last_reload().unwrap().is_success());
    assert!(proxy.reload(&good).is_ok());
}

#[test]
fn a_backend_keeps_what_it_has_and_may_move_to_another_address() {
    let [a, b] = apps();
    let moved = crate::support::app(1);
    let proxy = Proxy::with(&pool(&addresses(&[&a, &b]), COOKIE));
    let mut visitors: Vec<_> = (0..6).map(|_| Visitor::new(proxy.address())).collect();
    let homes: Vec<_> = visitors.iter_mut().map(|v| v.visit()[..2].to_owned()).collect();
    assert!(homes.contains(&"b1".to_owned()));
    let placed = proxy.member("b1").placed();
    proxy.reload(&pool(&addresses(&[&a, &moved]), COOKIE)).unwrap();
    assert_eq!(proxy.member("b1").placed(), placed, "counts go on");
    assert_eq!(proxy.member("b1").sessions() + proxy.member("b0").sessions(), 6);
    b.die();
    for (visitor, home) in visitors.iter_mut().zip(&homes) {
        assert_eq!(visitor.visit(), format!("{home} bound"), "at its new address");
    }
    assert!(!moved.requests().is_empty());
}

#[test]
fn who_is_no_longer_listed_leaves_when_its_sessions_have() {
    let [a, b] = apps();
    let settings = format!("{COOKIE}\nidle_timeout = \"1s\"");
    let proxy = Proxy::with(&pool(&addresses(&[&a, &b]), &settings));
    let mut bound = loop {
        let mut visitor = Visitor::new(proxy.address());
        if visitor.visit().starts_with("b1") {
            break visitor;
        }
    };
    proxy.reload(&pool(&addresses(&[&a]), &settings)).unwrap();
    assert_eq!(proxy.member("b1").state(), BackendState::Draining);
    assert_eq!(bound.visit(), "b1 bound", "its session may stay");
    for _ in 0..8 {
        assert!(Visitor::new(proxy.address()).visit().starts_with("b0"), "nobody new goes there");
    }
    wait_until("it has left", || proxy.pool().backends().len() == 1);
    assert_eq!(proxy.controller().origin("pool", "b1"), None);
    // Listed again it is as ready as anybody.
    proxy.reload(&pool(&addresses(&[&a, &b]), &settings)).unwrap();
    assert_eq!(proxy.member("b1").state(), BackendState::Ready);
}

#[test]
fn who_was_leaving_and_is_listed_again_is_ready() {
    let [a, b] = apps();
    let proxy = Proxy::with(&pool(&addresses(&[&a, &b]), COOKIE));
    let mut bound = loop {
        let mut visitor = Visitor::new(proxy.address());
        if visitor.visit().starts_with("b1") {
            break visitor;
        }
    };
    proxy.reload(&pool(&addresses(&[&a]), COOKIE)).unwrap();
    proxy.reload(&pool(&addresses(&[&a, &b]), COOKIE)).unwrap();
    assert_eq!(proxy.member("b1").state(), BackendState::Ready);
    assert_eq!(bound.visit(), "b1 bound");
}

#[test]
fn what_operators_said_survives_a_reload() {
    let [a, b, c] = apps();
    let config = pool(&addresses(&[&a, &b]), COOKIE);
    let proxy = Proxy::with(&config);
    let controller = proxy.controller();
    controller.drain("pool", "b0", DrainPolicy::default(), false).unwrap();
    controller.set_weight("pool", "b1", 7, false).unwrap();
    let address = c.address.to_string().parse().unwrap();
    let added = stickler::balance::BackendSpec::new("added", address);
    controller.add_backend("pool", added).unwrap();
    proxy.reload(&config).unwrap();
    assert!(!proxy.member("b0").state().accepts_new());
    assert_eq!(proxy.member("b1").weight(), 7);
    assert_eq!(proxy.member("added").state(), BackendState::Ready);
    let heavier = config.replace("name = \"b1\"", "name = \"b1\"\nweight = 2");
    proxy.reload(&heavier).unwrap();
    assert_eq!(proxy.member("b1").weight(), 2, "the file has changed its own");
    assert!(controller.remove_backend("pool", "b1", false).unwrap().comes_back);
    assert_eq!(proxy.pool().backends().len(), 2);
    proxy.reload(&heavier).unwrap();
    assert_eq!(proxy.member("b1").state(), BackendState::Ready, "it is back");
}

#[test]
fn what_is_in_flight_ends_under_the_configuration_that_it_began_under() {
    let gate = Gate::new();
    let opened = gate.clone();
    let slow = Backend::answering(move |_| {
        opened.wait();
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold".into()
    });
    let [a] = apps();
    let proxy = Proxy::with(&pool(&addresses(&[&slow]), ""));
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    // Not only its backend is gone then, but its pool as well.
    proxy.reload(&pool(&addresses(&[&a]), "").replace("pools.pool", "pools.other")).unwrap();
    assert!(get(proxy.address(), "/", "").text().starts_with("b0"));
    gate.open();
    assert_eq!(client.response().text(), "old");
    assert!(client.get("/", "").text().starts_with("b0"), "the same connection goes on");
}

#[test]
fn listeners_come_and_go() {
    let [a] = apps();
    let config = pool(&addresses(&[&a]), "");
    let listener = |address: &str| format!("[[listeners]]\naddress = \"{address}\"\n");
    let one = listener("127.0.0.1:0");
    let proxy = Proxy::with(&format!("{one}{config}"));
    let first = proxy.address();
    let mut client = Client::connect(first);
    assert_eq!(client.get("/", "").status, 200);
    proxy.reload(&format!("{one}{}{config}", listener("127.0.0.2:0"))).unwrap();
    let second = proxy.addresses()[1];
    assert_eq!(proxy.address(), first, "it keeps its socket");
    assert_eq!(get(second, "/", "").status, 200);
    let mut stays = Client::connect(second);
    assert_eq!(stays.get("/", "").status, 200);
    proxy.reload(&format!("{one}max_connections = 1\n{config}")).unwrap();
    wait_until("nobody listens there", || TcpStream::connect(second).is_err());
    assert_eq!(stays.get("/", "").status, 200, "who is connected stays");
    assert_eq!(client.get("/", "").status, 200);
    // The connection from before counts against the new limit.
    let mut waits = Client::connect(first);
    waits.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    drop(client);
    assert_eq!(waits.response().status, 200);
}

#[test]
fn keys_rotate() {
    let [a, b] = apps();
    let config = pool(&addresses(&[&a, &b]), COOKIE);
    let key = |byte: char| format!("\"{}=\"", byte.to_string().repeat(43));
    let token = |keys: &[String]| format!("[token]\nkeys = [{}]\n", keys.join(", "));
    let proxy = Proxy::with(&format!("{}{config}", token(&[key('A')])));
    let mut old = Visitor::new(proxy.address());
    let home = old.visit()[..2].to_owned();
    let rotated = proxy.reload(&format!("{}{config}", token(&[key('E'), key('A')]))).unwrap();
    assert_eq!(rotated.changes.last().unwrap(), "token keys");
    assert_eq!(old.visit(), format!("{home} bound"));
    let mut new = Visitor::new(proxy.address());
    let home = new.visit()[..2].to_owned();
    proxy.reload(&format!("{}{config}", token(&[key('E')]))).unwrap();
    assert_eq!(new.visit(), format!("{home} bound"));
    assert!(old.visit().ends_with("new"), "its key is gone");
}

#[test]
fn what_needs_a_restart_is_said_and_left() {
    let [a] = apps();
    let config = pool(&addresses(&[&a]), "");
    let server = |workers| format!("[server]\nworkers = {workers}\n{config}");
    let proxy = Proxy::with(&server(2));
    let warnings = proxy.reload(&server(3)).unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("workers") && w.contains("restart")),
        "{warnings:?}"
    );
    assert_eq!(get(proxy.address(), "/", "").status, 200);
}
