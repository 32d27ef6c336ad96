//! How long a session lasts: idle and absolute timeouts, and the renewal of tokens on the way.

use stickler::balance::Reason;
use stickler::clock::Stopwatch;

use crate::support::{PATIENCE, Proxy, Visitor, apps, wait_until};

const COOKIE: &str = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n";

fn expired(proxy: &Proxy) -> u64 {
    proxy.pool().count_of(Reason::Expired)
}

#[test]
fn an_idle_session_is_over() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], &format!("{COOKIE}idle_timeout = \"2s\"\n"));
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    let token = visitor.cookie.unwrap();
    // A client that does not take what it is given, so that its token grows old.
    let told = || Visitor::with(proxy.address(), &token).visit();
    assert_eq!(told(), "b0 bound");
    wait_until("it is over", || told() == "b0 new");
    assert_eq!(expired(&proxy), 1);
    let mut back = Visitor::with(proxy.address(), &token);
    assert_eq!(back.visit(), "b0 new");
    assert_eq!(back.visit(), "b0 bound", "it was given a new one");
    assert_eq!(expired(&proxy), 2);
    assert_eq!(proxy.pool().count_of(Reason::Forged), 0, "an old token is not a forged one");
}

#[test]
fn a_session_that_is_seen_outlives_its_idle_timeout() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], &format!("{COOKIE}idle_timeout = \"2s\"\n"));
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    let (mut tokens, since) = (1, Stopwatch::start());
    wait_until("it is twice as old", || {
        let before = visitor.cookie.clone();
        assert_eq!(visitor.visit(), "b0 bound", "after {:?}", since.elapsed());
        tokens += usize::from(visitor.cookie != before);
        assert_eq!(proxy.member("b0").sessions(), 1, "renewed, it is the same session");
        since.elapsed().as_secs() >= 4
    });
    // Renewed every twentieth of the idle timeout at most.
    assert!((3..=51).contains(&tokens), "{tokens} tokens");
    assert_eq!(expired(&proxy), 0);
}

#[test]
fn the_busiest_session_is_over_at_its_absolute_timeout() {
    let [b0] = apps();
    let lifetimes = "idle_timeout = \"2s\"\nabsolute_timeout = \"2s\"\n";
    let proxy = Proxy::before(&[&b0], &format!("{COOKIE}{lifetimes}"));
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    let first = visitor.cookie.clone();
    let since = Stopwatch::start();
    let mut renewed = false;
    while visitor.visit() == "b0 bound" {
        renewed |= visitor.cookie != first;
        assert!(since.elapsed() < PATIENCE, "a renewed token lives for ever");
    }
    assert!(renewed, "it was not idle");
    assert_eq!(expired(&proxy), 1);
    assert_eq!(visitor.visit(), "b0 bound", "a new session began in its place");
    assert_eq!(proxy.member("b0").sessions(), 1);
}

#[test]
fn a_session_that_is_over_may_begin_anywhere() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], &format!("{COOKIE}idle_timeout = \"500ms\"\n"));
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    let token = visitor.cookie.unwrap();
    let told = || Visitor::with(proxy.address(), &token).visit();
    wait_until("it has begun elsewhere", || told() == "b1 new");
    let moves: u64 = Reason::ALL.iter().map(|&reason| proxy.pool().count_of(reason)).sum();
    assert_eq!(moves, expired(&proxy), "the only reason that was counted");
}
