//! `mode = "cookie"`: a session stays where it began, and the client carries nothing but a token.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::{Backend, Client, Proxy, Visitor, apps, get};

const COOKIE: &str = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n";

#[test]
fn a_session_stays_over_many_connections() {
    let [b0, b1, b2] = apps();
    let proxy = Proxy::before(&[&b0, &b1, &b2], COOKIE);
    for home in ["b0", "b1", "b2"] {
        let mut visitor = Visitor::new(proxy.address());
        assert_eq!(visitor.visit(), format!("{home} new"));
        for _ in 0..10 {
            assert_eq!(visitor.visit(), format!("{home} bound"));
        }
    }
}

#[test]
fn sessions_on_one_connection_do_not_mix() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], COOKIE);
    let mut visitors = [(); 2].map(|()| Visitor::new(proxy.address()));
    let homes = visitors.each_mut().map(|visitor| visitor.visit()[..2].to_owned());
    assert_ne!(homes[0], homes[1]);
    let mut client = Client::connect(proxy.address());
    for _ in 0..5 {
        for (visitor, home) in visitors.iter().zip(&homes) {
            let response = client.get("/", &visitor.cookie_line());
            assert_eq!(response.text(), format!("{home} bound"));
        }
    }
}

#[test]
fn a_cookie_is_set_only_when_there_is_something_to_say() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.get().fields("set-cookie").len(), 1);
    for _ in 0..10 {
        let response = visitor.get();
        assert_eq!(response.field("set-cookie"), None);
        assert_eq!(response.field("cache-control"), None);
    }
}

#[test]
fn a_pool_without_affinity_sets_no_cookie_and_tells_nothing() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], "balance = \"round_robin\"");
    let answers: Vec<_> = (0..4).map(|_| get(proxy.address(), "/", "")).collect();
    let texts: Vec<_> = answers.iter().map(|answer| answer.text()).collect();
    assert_eq!(texts, ["b0 nothing", "b1 nothing", "b0 nothing", "b1 nothing"]);
    assert!(answers.iter().all(|answer| answer.field("set-cookie").is_none()));
    assert!(proxy.pool().ledger().is_empty());
}

/// The attributes of the cookie that a proxy with this configuration sets for a request with these
/// lines.
fn attributes(tables: &str, cookie: &str, lines: &str) -> String {
    let [b0] = apps();
    let proxy = Proxy::configured(tables, &[&b0], &format!("{COOKIE}{cookie}"));
    let response = get(proxy.address(), "/", lines);
    let cookie = response.field("set-cookie").unwrap();
    cookie.split_once("; ").unwrap().1.to_owned()
}

#[test]
fn the_cookie_has_the_attributes_that_were_configured() {
    assert_eq!(attributes("", "", ""), "Path=/; HttpOnly; SameSite=Lax");
    let all = "cookie = { name = \"x\", path = \"/app\", domain = \"example.com\", secure = true, \
               http_only = false, same_site = \"none\", partitioned = true, max_age = \"1h\" }\n";
    assert_eq!(
        attributes("", all, ""),
        "Path=/app; Domain=example.com; Max-Age=3600; SameSite=None; Partitioned; Secure"
    );
    let strict = "cookie = { same_site = \"strict\" }\n";
    assert_eq!(attributes("", strict, ""), "Path=/; HttpOnly; SameSite=Strict");
}

#[test]
fn the_cookie_is_secure_where_a_trusted_proxy_says_https() {
    let listener = |trusted: &str| {
        format!("[[listeners]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [{trusted}]\n")
    };
    let is_secure = |trusted, lines| attributes(&listener(trusted), "", lines).contains("Secure");
    const TRUSTED: &str = "\"127.0.0.0/8\"";
    assert!(is_secure(TRUSTED, "X-Forwarded-Proto: https\r\n"));
    let forwarded = "Forwarded: for=192.0.2.1;proto=https\r\n";
    assert!(!is_secure(TRUSTED, forwarded), "that is not what this proxy writes");
    let text = format!("{}forwarded = \"forwarded\"\n", listener(TRUSTED));
    assert!(attributes(&text, "", forwarded).contains("Secure"));
    assert!(!is_secure(TRUSTED, "X-Forwarded-Proto: http\r\n"));
    assert!(!is_secure(TRUSTED, ""));
    assert!(!is_secure("", "X-Forwarded-Proto: https\r\n"), "anybody can say that");
    assert!(!is_secure("\"192.0.2.0/24\"", "X-Forwarded-Proto: https\r\n"), "not whom we trust");
}

#[test]
fn a_shared_cache_does_not_keep_an_answer_with_a_token() {
    for (sent, received) in [
        ("", vec!["private"]),
        ("Cache-Control: public, max-age=60\r\n", vec!["public, max-age=60", "private"]),
        ("Cache-Control: no-store\r\n", vec!["no-store"]),
    ] {
        let backend = Backend::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\n{sent}Content-Length: 0\r\n\r\n")
        });
        let proxy = Proxy::before(&[&backend], COOKIE);
        assert_eq!(get(proxy.address(), "/", "").fields("cache-control"), received);
    }
}

#[test]
fn whatever_the_answer_a_session_begins_with_it() {
    for answer in [
        "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let backend = Backend::answering(move |_| answer.to_owned());
        let proxy = Proxy::before(&[&backend], COOKIE);
        let mut visitor = Visitor::new(proxy.address());
        assert!(visitor.get().cookie().is_some(), "{answer}");
        assert!(visitor.get().cookie().is_none(), "{answer}");
        assert_eq!(proxy.member("b0").sessions(), 1);
    }
}

/// Invariant 6.
#[test]
fn nothing_about_the_topology_can_be_read_in_a_token() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], COOKIE);
    let mut tokens: HashMap<String, Vec<String>> = HashMap::new();
    for _ in 0..20 {
        let response = get(proxy.address(), "/", "");
        let told = format!("{:?}", response.fields);
        for secret in ["b0", "b1", "pool", &b0.address.to_string(), &b1.address.to_string()] {
            // The token is not text; what it contains is looked at below.
            let told = told.replace(response.field("set-cookie").unwrap(), "");
            assert!(!told.contains(secret), "{told} tells {secret}");
        }
        let cookie = response.cookie().unwrap();
        tokens.entry(response.text()[..2].to_owned()).or_default().push(cookie);
    }
    assert_eq!(tokens.len(), 2);
    let all: Vec<_> = tokens.values().flatten().map(|token| bytes_of(token)).collect();
    assert!(all.iter().all(|token| token.len() == all[0].len()), "the length tells something");
    for position in 1..all[0].len() {
        // The version is the only byte that tokens have in common, whomever they are for.
        let mut values: Vec<_> = all.iter().map(|token| token[position]).collect();
        values.sort_unstable();
        values.dedup();
        assert!(values.len() > 10, "byte {position} is one of {values:?}");
    }
}

fn bytes_of(cookie: &str) -> Vec<u8> {
    let token = cookie.strip_prefix("stickler=").unwrap();
    URL_SAFE_NO_PAD.decode(token).unwrap()
}

#[test]
fn an_upgrade_begins_a_session_too() {
    let backend = Backend::new(|mut conversation| {
        while let Some(request) = conversation.request() {
            let told = request.field("stickler-affinity").unwrap();
            conversation.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\
                 X-Told: {told}\r\n\r\n"
            ));
        }
    });
    let proxy = Proxy::before(&[&backend], COOKIE);
    let mut visitor = Visitor::new(proxy.address());
    for told in ["new", "bound"] {
        let mut client = Client::connect(proxy.address());
        let lines = format!("Connection: upgrade\r\nUpgrade: echo\r\n{}", visitor.cookie_line());
        let response = client.get("/", &lines);
        assert_eq!((response.status, response.field("x-told")), (101, Some(told)));
        visitor.cookie = response.cookie().or(visitor.cookie);
    }
    assert_eq!(proxy.member("b0").sessions(), 1);
}
