//! Which tokens are honoured. Whatever is not ours is a free request, counted, and never an error
//! to the client.

use stickler::balance::Reason;

use crate::support::{Backend, Client, Proxy, Visitor, apps, get, pool};

const COOKIE: &str = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n";
const OLD: &str = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0=";
const NEW: &str = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=";

/// A proxy with these keys: the first seals.
fn proxy_with_keys(keys: &[&str], backends: &[&Backend]) -> Proxy {
    Proxy::configured(&format!("[token]\nkeys = {keys:?}\n"), backends, COOKIE)
}

fn forged(proxy: &Proxy) -> u64 {
    proxy.pool().count_of(Reason::Forged)
}

#[test]
fn what_is_not_our_token_is_a_free_request_and_counted() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let genuine = get(proxy.address(), "/", "").cookie().unwrap();
    let token = genuine.strip_prefix("stickler=").unwrap();
    let zeros = "A".repeat(token.len());
    let tampered = format!("{}{}", &token[..token.len() - 5], "AAAAA");
    let other_version = format!("B{}", &token[1..]);
    let longer = format!("{token}A");
    let twice = format!("{token}{token}");
    let huge = "x".repeat(20_000);
    let bad = [
        "",
        "b0",
        "0",
        "\"",
        "%00",
        "=",
        &zeros,
        &tampered,
        &other_version,
        &longer,
        &twice,
        &huge,
        &token[..token.len() - 1],
        &token[1..],
        &token.to_lowercase(),
        "ünï",
    ];
    for (counted, bad) in (1..).zip(bad) {
        let mut visitor = Visitor::with(proxy.address(), &format!("stickler={bad}"));
        assert_eq!(visitor.visit(), "b0 new", "{bad:?}");
        assert_eq!(forged(&proxy), counted, "{bad:?}");
        assert_eq!(visitor.visit(), "b0 bound", "it was given a good one in place of {bad:?}");
    }
    assert_eq!(Visitor::with(proxy.address(), &genuine).visit(), "b0 bound");
}

#[test]
fn every_character_of_a_token_counts() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let genuine = get(proxy.address(), "/", "").cookie().unwrap();
    for i in "stickler=".len()..genuine.len() {
        let other = if &genuine[i..=i] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &genuine[..i], &genuine[i + 1..]);
        assert_eq!(Visitor::with(proxy.address(), &changed).visit(), "b0 new", "character {i}");
    }
}

#[test]
fn a_token_of_another_key_is_not_honoured() {
    let [b0] = apps();
    let (ours, theirs) = (proxy_with_keys(&[NEW], &[&b0]), proxy_with_keys(&[OLD], &[&b0]));
    let cookie = get(theirs.address(), "/", "").cookie().unwrap();
    assert_eq!(Visitor::with(ours.address(), &cookie).visit(), "b0 new");
    assert_eq!(forged(&ours), 1);
}

#[test]
fn a_token_of_another_pool_is_not_honoured() {
    let [b0, other] = apps();
    let other_pool =
        pool(&[other.address.to_string()], COOKIE).replace("pools.pool", "pools.other");
    let routes = "[[routes]]\nhost = \"test\"\npool = \"pool\"\n\
                  [[routes]]\nhost = \"elsewhere\"\npool = \"other\"\n";
    let proxy = Proxy::configured(&format!("{routes}{other_pool}"), &[&b0], COOKIE);
    let cookie = get(proxy.address(), "/", "").cookie().unwrap();
    let mut client = Client::connect(proxy.address());
    let with_host = |host| format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
    assert_eq!(client.send(with_host("test")).response().text(), "b0 bound");
    assert_eq!(client.send(with_host("elsewhere")).response().text(), "b1 new");
    assert_eq!(client.send(with_host("test")).response().text(), "b0 bound");
}

#[test]
fn proxies_with_the_same_key_share_sessions() {
    let [b0, b1, b2] = apps();
    let backends = [&b0, &b1, &b2];
    let proxies = [(); 2].map(|()| proxy_with_keys(&[NEW], &backends));
    for _ in 0..6 {
        let mut here = Visitor::new(proxies[0].address());
        let home = here.visit()[..2].to_owned();
        let mut there = Visitor::with(proxies[1].address(), &here.cookie.unwrap());
        assert_eq!(there.visit(), format!("{home} bound"));
    }
    assert_eq!(proxies[1].pool().ledger().len(), 6, "each counts the sessions that it sees");
}

#[test]
fn keys_rotate_without_losing_a_session() {
    let [b0, b1] = apps();
    let backends = [&b0, &b1];
    let before = proxy_with_keys(&[OLD], &backends);
    let old = get(before.address(), "/", "").cookie().unwrap();
    let during = proxy_with_keys(&[NEW, OLD], &backends);
    assert_eq!(Visitor::with(during.address(), &old).visit(), "b0 bound");
    let new = get(during.address(), "/", "").cookie().unwrap();
    let after = proxy_with_keys(&[NEW], &backends);
    assert!(Visitor::with(after.address(), &new).visit().ends_with(" bound"));
    assert_eq!(forged(&during) + forged(&after), 0);
    assert!(Visitor::with(after.address(), &old).visit().ends_with(" new"));
    assert_eq!(forged(&after), 1);
}

#[test]
fn the_app_never_sees_a_token() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let cookie = get(proxy.address(), "/", "").cookie().unwrap();
    let forged = "stickler=forged";
    let (_, token) = cookie.split_once('=').unwrap();
    for lines in [
        format!("Cookie: {cookie}\r\n"),
        format!("Cookie: a=b; {cookie}; c=d\r\nCookie: {cookie}\r\n"),
        format!("Cookie: {forged}; {cookie}\r\n"),
        format!("Cookie: {cookie}; {cookie}\r\nConnection: cookie\r\n"),
    ] {
        assert_eq!(get(proxy.address(), "/", &lines).text(), "b0 bound", "{lines}");
        let seen = format!("{:?}", b0.last_request());
        assert!(!seen.contains(token) && !seen.contains("stickler="), "{seen}");
    }
}
