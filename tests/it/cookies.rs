//! What browsers and servers made of cookies: ours is found and taken out, the app's pass byte for
//! byte.

use crate::support::{Backend, Client, Proxy, Visitor, apps, get, pool};

const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

/// Cookie lines with our cookie `C` in them, and what the app sees of them.
const LINES: [(&[&str], &[&str]); 22] = [
    (&["C"], &[]),
    (&["C; a=b"], &["a=b"]),
    (&["a=b; C"], &["a=b"]),
    (&["a=b; C; c=d"], &["a=b; c=d"]),
    (&["a=b;C;c=d"], &["a=b;c=d"]),
    (&["a=b", "C"], &["a=b"]),
    (&["C", "a=b"], &["a=b"]),
    (&["a=b; C", "c=d"], &["a=b", "c=d"]),
    (&["stickler=stale; C"], &[]),
    (&["stickler=; a=b; C"], &["a=b"]),
    (&["C; stickler=stale; a=b"], &["a=b"]),
    (&["stickler=stale", "C"], &[]),
    (&["a=\"unbalanced; C"], &["a=\"unbalanced"]),
    (&["a=\"x; C; b=\"y"], &["a=\"x; b=\"y"]),
    (&["a; C; =b; c="], &["a; =b; c="]),
    (&["a=b=c; C; d=e=f=="], &["a=b=c; d=e=f=="]),
    (&["a=b,c=d; C"], &["a=b,c=d"]),
    (&["xstickler=1; stickler2=2; Stickler=3; C"], &["xstickler=1; stickler2=2; Stickler=3"]),
    (&["a=stickler=1; C"], &["a=stickler=1"]),
    (&["a=b; a=c; C; a=b"], &["a=b; a=c; a=b"]),
    (
        &["{\"json\":[1,2]}; C; <x>=\\\"; caf\u{e9}=\u{fe}"],
        &["{\"json\":[1,2]}; <x>=\\\"; caf\u{e9}=\u{fe}"],
    ),
    (&["$Version=1; C; $Path=/"], &["$Version=1; $Path=/"]),
];

#[test]
fn ours_is_found_and_the_others_pass_byte_for_byte() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let cookie = get(proxy.address(), "/", "").cookie().unwrap();
    let mut client = Client::connect(proxy.address());
    for (lines, expected) in LINES {
        let lines: String = lines.iter().map(|l| format!("Cookie: {l}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines.replace('C', "Z"));
        let head = head.replace("Zookie", "Cookie").replace('Z', &cookie);
        // One byte a character: what is beyond ASCII is not UTF-8.
        let bytes: Vec<u8> = head.chars().map(|c| u8::try_from(c).unwrap()).collect();
        assert_eq!(client.send(bytes).response().text(), "b0 bound", "{lines}");
        assert_eq!(b0.last_request().fields("cookie"), expected, "{lines}");
    }
}

#[test]
fn quotes_and_blanks_around_ours_do_no_harm() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    let cookie = get(proxy.address(), "/", "").cookie().unwrap();
    let (name, token) = cookie.split_once('=').unwrap();
    for ours in [
        format!("{name}=\"{token}\""),
        format!("{name} = {token}"),
        format!("  {name}={token}  "),
        format!("\t{name}\t=\t{token}"),
        format!("a=b  ;  {name}={token}  ;  c=d"),
        format!(";;{name}={token};;"),
    ] {
        let lines = format!("Cookie: {ours}\r\n");
        assert_eq!(get(proxy.address(), "/", &lines).text(), "b0 bound", "{ours:?}");
        let seen = b0.last_request().fields("cookie").join("\n");
        assert!(!seen.contains(name), "{ours:?} left {seen:?}");
    }
}

#[test]
fn without_a_cookie_of_ours_nothing_is_touched() {
    let [b0] = apps();
    let proxy = Proxy::before(&[&b0], COOKIE);
    for line in ["a=b", "a=b; c=d;", ";", "; ;", "stickler", "STICKLER=x", "a=\"", "x"] {
        get(proxy.address(), "/", &format!("Cookie: {line}\r\n"));
        assert_eq!(b0.last_request().field("cookie"), Some(line));
    }
}

#[test]
fn the_name_is_the_one_that_was_configured() {
    let [b0] = apps();
    let settings = format!("{COOKIE}cookie = {{ name = \"__Host-home\", secure = true }}\n");
    let proxy = Proxy::before(&[&b0], &settings);
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    assert!(visitor.cookie.as_ref().unwrap().starts_with("__Host-home="));
    assert_eq!(visitor.visit(), "b0 bound");
    get(proxy.address(), "/", "Cookie: stickler=the app's own\r\n");
    assert_eq!(b0.last_request().field("cookie"), Some("stickler=the app's own"));
}

#[test]
fn the_apps_set_cookie_lines_pass_byte_for_byte_and_ours_is_added() {
    const LINES: [&str; 8] = [
        "sid=1; Path=/; HttpOnly",
        "sid=2; Path=/",
        "a=\"unbalanced; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        "b",
        "=c",
        "d=",
        "e=\u{e9}\u{fe}; Domain=.example.com;;",
        "{\"json\": \"x, y\"}; SameSite=none",
    ];
    let head: String = LINES.iter().map(|line| format!("Set-Cookie: {line}\r\n")).collect();
    let head = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n");
    let bytes: Vec<u8> = head.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            conversation.send(&bytes);
        }
    });
    let proxy = Proxy::before(&[&backend], COOKIE);
    let first = get(proxy.address(), "/", "");
    let (ours, theirs): (Vec<_>, Vec<_>) =
        first.fields("set-cookie").into_iter().partition(|line| line.starts_with("stickler="));
    assert_eq!((ours.len(), theirs), (1, LINES.to_vec()));
    let token = ours[0].split(';').next().unwrap();
    let later = get(proxy.address(), "/", &format!("Cookie: {token}\r\n"));
    assert_eq!(later.fields("set-cookie"), LINES);
}

#[test]
fn no_app_sees_the_cookie_of_another_pool() {
    let [shop, blog] = apps();
    let proxy = Proxy::with(&format!(
        "[[routes]]\npath = \"/\"\npool = \"pool\"\n[[routes]]\npath = \"/blog\"\npool = \"blog\"\n\
         {}[pools.blog]\n[[pools.blog.backends]]\nname = \"b\"\naddress = \"{}\"\n",
        pool(&[shop.address.to_string()], COOKIE),
        blog.address
    ));
    let cookie = get(proxy.address(), "/", "").cookie().unwrap();
    let lines =
        format!("Cookie: a=b; {cookie}; c=d\r\nCookie: {cookie}\r\nCookie: stickler=own\r\n");
    assert_eq!(get(proxy.address(), "/blog", &lines).text(), "b1 nothing");
    assert_eq!(blog.last_request().fields("cookie"), ["a=b; c=d", "stickler=own"]);
}
