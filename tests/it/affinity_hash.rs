//! `mode = "hash"`: the same key, the same backend, whoever asks and through whichever proxy.

use std::collections::HashMap;

use stickler::balance::Reason;

use crate::support::{Backend, Client, Proxy, app_at, apps, get, wait_until};

fn hash(key: &str) -> String {
    format!("balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"hash\"\nkey = {key}\n")
}

const BY_USER: &str = "{ header = \"x-user\" }";

/// Where a request for this target with these lines goes.
fn home(proxy: &Proxy, target: &str, lines: &str) -> String {
    get(proxy.address(), target, lines).text()[..2].to_owned()
}

/// Requests with the same key go to one place, those with another key not all to the same, and
/// those without a key to each backend in turn.
fn assert_keyed(key: &str, request: impl Fn(u32) -> (String, String), free: (&str, &str)) {
    let backends: [Backend; 4] = apps();
    let proxy = Proxy::before(&backends.each_ref(), &hash(key));
    let mut keys_of: HashMap<String, u32> = HashMap::new();
    for user in 0..40 {
        let (target, lines) = request(user);
        let first = home(&proxy, &target, &lines);
        for _ in 0..3 {
            assert_eq!(home(&proxy, &target, &lines), first, "{key}: user {user}");
        }
        *keys_of.entry(first).or_default() += 1;
    }
    assert_eq!(keys_of.len(), 4, "{key}: {keys_of:?}");
    let mut homes: Vec<_> = (0..4).map(|_| home(&proxy, free.0, free.1)).collect();
    homes.sort();
    assert_eq!(homes, ["b0", "b1", "b2", "b3"], "{key}: a request without a key is free");
}

#[test]
fn a_key_can_be_a_header_field() {
    let request = |user| ("/".into(), format!("X-User: user-{user}\r\nX-Other: {user}\r\n"));
    assert_keyed(BY_USER, request, ("/", "X-User:\r\n"));
}

#[test]
fn a_key_can_be_a_cookie() {
    let request = |user| ("/".into(), format!("Cookie: a=\"b; uid=user-{user};c=d\r\n"));
    assert_keyed("{ cookie = \"uid\" }", request, ("/", "Cookie: xuid=1; uid2=2\r\n"));
}

#[test]
fn a_key_can_be_a_query_parameter() {
    let request = |user| (format!("/cart?x=1&user=user-{user}&y"), String::new());
    assert_keyed("{ query = \"user\" }", request, ("/user=1?xuser=2&user", ""));
}

#[test]
fn a_key_can_be_the_path() {
    let backends: [Backend; 4] = apps();
    let proxy = Proxy::before(&backends.each_ref(), &hash("\"path\""));
    let homes: Vec<_> = (0..40).map(|i| home(&proxy, &format!("/files/{i}"), "")).collect();
    for (i, first) in homes.iter().enumerate() {
        assert_eq!(&home(&proxy, &format!("/files/{i}?query={i}"), ""), first, "without the query");
    }
    assert!(homes.iter().any(|home| *home != homes[0]));
}

#[test]
fn a_key_can_be_the_source_address_behind_trusted_proxies() {
    let request = |user| ("/".into(), format!("X-Forwarded-For: 192.0.2.{user}\r\n"));
    let backends: [Backend; 4] = apps();
    let settings = hash("\"source_address\"");
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    let strangers = Proxy::configured(listener, &backends.each_ref(), &settings);
    let trusted = format!("{listener}trusted_proxies = [\"127.0.0.1\"]\n");
    let behind = Proxy::configured(&trusted, &backends.each_ref(), &settings);
    let homes = |proxy: &Proxy| -> Vec<String> {
        let requests = (0..40).map(&request);
        requests.map(|(target, lines): (String, String)| home(proxy, &target, &lines)).collect()
    };
    let (unbelieved, believed) = (homes(&strangers), homes(&behind));
    assert!(unbelieved.iter().all(|home| *home == unbelieved[0]), "all are 127.0.0.1");
    assert!(believed.iter().any(|home| *home != believed[0]));
    assert_eq!(homes(&behind), believed);
    // With a port, in another field, in IPv6 clothes: the same address.
    for lines in [
        "X-Forwarded-For: 192.0.2.7:4711\r\n",
        "X-Forwarded-For: ::ffff:192.0.2.7\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.8\r\n",
        "X-Forwarded-For: 192.0.2.8, 192.0.2.7\r\n",
    ] {
        assert_eq!(home(&behind, "/", lines), believed[7], "{lines}");
    }
}

#[test]
fn every_proxy_finds_the_same_home_without_a_shared_secret() {
    let backends: [Backend; 4] = apps();
    let [one, other] = [(); 2].map(|()| Proxy::before(&backends.each_ref(), &hash(BY_USER)));
    for user in 0..30 {
        let lines = format!("X-User: user-{user}\r\n");
        assert_eq!(home(&one, "/", &lines), home(&other, "/", &lines));
    }
}

#[test]
fn no_cookie_is_set_and_none_is_taken_out() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], &hash("{ cookie = \"uid\" }"));
    let response = get(proxy.address(), "/", "Cookie: uid=1; stickler=x\r\n");
    assert_eq!(response.field("set-cookie"), None);
    assert_eq!(b0.last_request().field("cookie"), Some("uid=1; stickler=x"));
}

#[test]
fn keys_are_sessions_and_counted_while_they_are_seen() {
    let [b0, b1] = apps();
    let settings = hash(BY_USER) + "idle_timeout = \"2s\"\n";
    let proxy = Proxy::before(&[&b0, &b1], &settings);
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        (0..10).for_each(|user| drop(client.get("/", &format!("X-User: {user}\r\n"))));
    }
    client.get("/", "");
    let sessions = || -> u32 { proxy.pool().backends().iter().map(|b| b.sessions()).sum() };
    assert_eq!(sessions(), 10, "a request without a key is no session");
    wait_until("they have ended", || sessions() == 0);
}

#[test]
fn only_the_keys_of_a_dead_backend_move_and_they_come_back() {
    let backends: [Backend; 4] = apps();
    let settings = format!("eject = false\n{}", hash(BY_USER));
    let proxy = Proxy::before(&backends.each_ref(), &settings);
    let users: Vec<_> = (0..40).map(|user| format!("X-User: user-{user}\r\n")).collect();
    let homes = || -> Vec<_> { users.iter().map(|lines| home(&proxy, "/", lines)).collect() };
    let before = homes();
    let lost = before.iter().filter(|home| *home == "b1").count() as u64;
    let address = backends[1].address.to_string();
    backends[1].die();
    let during = homes();
    for (before, during) in before.iter().zip(&during) {
        assert!(if before == "b1" { during != "b1" } else { during == before });
    }
    assert_eq!(proxy.pool().count_of(Reason::Ejected), lost);
    assert_eq!(homes(), during);
    let _again = app_at(&address, 1);
    assert_eq!(homes(), before);
    assert_eq!(proxy.pool().count_of(Reason::Rebalanced), lost, "a way home is a move, too");
    assert_eq!(homes(), before);
    assert_eq!(proxy.pool().count_of(Reason::Rebalanced), lost);
}
