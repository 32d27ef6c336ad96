//! `Stickler-Affinity`: what the app is told about the session, and who may say it (invariant 2).

use stickler::balance::Reason;
use stickler::clock;

use crate::support::{Backend, Client, Proxy, Visitor, apps, get, pool, wait_until};

const COOKIE: &str = "eject = false\n[pools.pool.affinity]\nmode = \"cookie\"\n";
const HASH: &str =
    "eject = false\n[pools.pool.affinity]\nmode = \"hash\"\nkey = { header = \"x-user\" }\n";

#[test]
fn a_session_is_new_then_bound_then_moved_then_bound_again() {
    let [b0, b1] = apps();
    let settings = format!("balance = \"round_robin\"\n{COOKIE}");
    let proxy = Proxy::before(&[&b0, &b1], &settings);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    assert_eq!(visitor.visit(), "b0 bound");
    b0.die();
    let moves = || proxy.pool().count_of(Reason::Ejected);
    assert_eq!(moves(), 0);
    assert_eq!(visitor.visit(), "b1 moved;from=\"b0\";reason=ejected");
    assert_eq!(moves(), 1);
    for _ in 0..3 {
        assert_eq!(visitor.visit(), "b1 bound");
    }
    assert_eq!(moves(), 1);
}

#[test]
fn a_key_is_keyed_wherever_it_goes_and_moved_when_it_moves() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], HASH);
    let ask = || get(proxy.address(), "/", "X-User: ada\r\n").text();
    let home = ask()[..2].to_owned();
    assert_eq!(ask(), format!("{home} keyed"));
    let (dead, other) = if home == "b0" { (&b0, "b1") } else { (&b1, "b0") };
    dead.die();
    assert_eq!(ask(), format!("{other} moved;from=\"{home}\";reason=ejected"));
    assert_eq!(proxy.pool().count_of(Reason::Ejected), 1);
}

#[test]
fn a_session_whose_home_is_no_longer_configured_is_moved_and_counted() {
    let [b0, b1] = apps();
    let before = Proxy::before(&[&b0, &b1], &format!("balance = \"round_robin\"\n{COOKIE}"));
    let cookies = [(); 2].map(|()| get(before.address(), "/", "").cookie().unwrap());
    let after = Proxy::before(&[&b0], COOKIE);
    assert_eq!(Visitor::with(after.address(), &cookies[0]).visit(), "b0 bound");
    let mut moved = Visitor::with(after.address(), &cookies[1]);
    assert_eq!(moved.visit(), "b0 moved;reason=removed");
    assert_eq!(moved.visit(), "b0 bound");
    assert_eq!(after.pool().count_of(Reason::Removed), 1);
}

#[test]
fn home_is_a_name_not_an_address_and_not_a_place_in_the_file() {
    let [b0, b1] = apps();
    let before = Proxy::before(&[&b0, &b1], &format!("balance = \"round_robin\"\n{COOKIE}"));
    let cookie = get(before.address(), "/", "").cookie().unwrap();
    // The same names on each other's addresses: whoever is called b0 now is home.
    let swapped = Proxy::before(&[&b1, &b0], COOKIE);
    assert_eq!(Visitor::with(swapped.address(), &cookie).visit(), "b1 bound");
    // The same backends in another order.
    let addresses = [b1.address.to_string(), b0.address.to_string()];
    let config = pool(&addresses, COOKIE);
    let config = config.replace("\"b0\"", "\"x\"").replace("\"b1\"", "\"b0\"");
    let reordered = Proxy::with(&config.replace("\"x\"", "\"b1\""));
    assert_eq!(Visitor::with(reordered.address(), &cookie).visit(), "b0 bound");
}

#[test]
fn nobody_else_can_say_it() {
    let [b0] = apps();
    for settings in ["", COOKIE, HASH] {
        let proxy = Proxy::before(&[&b0], settings);
        for lie in [
            "Stickler-Affinity: bound\r\n",
            "stickler-affinity: a\r\nSTICKLER-AFFINITY: b\r\n",
            "Stickler-Affinity: bound\r\nConnection: stickler-affinity\r\n",
        ] {
            let told = get(proxy.address(), "/", lie).text();
            let truth = if settings == COOKIE { "b0 new" } else { "b0 nothing" };
            assert_eq!(told, truth, "{lie}");
        }
    }
}

/// An app that answers with what it was told, and with this field on `/say/...`.
fn outspoken() -> Backend {
    Backend::answering(|request| {
        let told = request.field("stickler-affinity").unwrap_or("nothing").to_owned();
        let wish = request.target.strip_prefix("/say/").unwrap_or_default();
        format!(
            "HTTP/1.1 200 OK\r\nStickler-Affinity: {wish}\r\nContent-Length: {}\r\n\r\n{told}",
            told.len()
        )
    })
}

#[test]
fn the_app_ends_a_session_and_the_cookie_goes() {
    let backend = outspoken();
    let settings = format!("{COOKIE}cookie = {{ path = \"/app\", domain = \"example.com\" }}\n");
    let proxy = Proxy::before(&[&backend], &settings);
    let cookie = get(proxy.address(), "/", "").cookie().unwrap();
    let line = format!("Cookie: {cookie}\r\n");
    assert_eq!(get(proxy.address(), "/", &line).text(), "bound");
    assert_eq!(proxy.pool().ledger().len(), 1);
    let last = get(proxy.address(), "/say/release", &line);
    assert_eq!(last.text(), "bound");
    assert!(last.fields("stickler-affinity").is_empty(), "that was for us");
    let expected = "stickler=; Path=/app; Domain=example.com; Max-Age=0; HttpOnly; SameSite=Lax";
    assert_eq!(last.fields("set-cookie"), [expected]);
    assert_eq!(proxy.pool().ledger().len(), 0);
    assert_eq!(proxy.pool().count_of(Reason::Released), 1);
    assert!(get(proxy.address(), "/say/release", "").fields("set-cookie").is_empty());
}

#[test]
fn on_demand_nobody_is_bound_before_the_app_says_so() {
    let backend = outspoken();
    let proxy = Proxy::before(&[&backend], &format!("{COOKIE}establish = \"on_demand\"\n"));
    for target in ["/", "/say/bind", "/say/release"] {
        let response = get(proxy.address(), target, "");
        assert_eq!((response.text().as_str(), response.cookie()), ("nothing", None));
    }
    assert_eq!(proxy.pool().ledger().len(), 0);
    let log_in = get(proxy.address(), "/say/pin", "");
    assert!(log_in.fields("stickler-affinity").is_empty());
    let cookie = log_in.cookie().unwrap();
    let mut visitor = Visitor::with(proxy.address(), &cookie);
    assert_eq!((visitor.visit(), proxy.pool().ledger().len()), ("bound".to_owned(), 1));
    let always = Proxy::before(&[&backend], COOKIE);
    assert_eq!(get(always.address(), "/say/pin", "").fields("set-cookie").len(), 1);
}

#[test]
fn a_browser_that_opens_a_page_is_one_session_and_another_browser_is_not() {
    let backends = apps::<4>();
    let backends: Vec<_> = backends.iter().collect();
    let settings = format!("balance = \"round_robin\"\n{COOKIE}coalesce = \"1m\"\n");
    let proxy = Proxy::before(&backends, &settings);
    let of = |agent: &str| get(proxy.address(), "/", &format!("User-Agent: {agent}\r\n")).text();
    let ask = |agent: &'static str| [(); 6].map(|()| of(agent));
    assert_eq!(ask("fox"), [(); 6].map(|()| "b0 new"));
    assert_eq!(ask("owl"), [(); 6].map(|()| "b1 new"));
    assert_eq!(proxy.pool().ledger().len(), 2);
}

#[test]
fn a_session_that_an_operator_releases_moves_and_the_app_hears_why() {
    let [b0, b1] = apps();
    let settings = format!("balance = \"round_robin\"\n{COOKIE}");
    let proxy = Proxy::before(&[&b0, &b1], &settings);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    let id = proxy.member("b0").id();
    let released = clock::now();
    assert_eq!(proxy.pool().release_all(id, released), 1);
    // Tokens have milliseconds, and one of the same millisecond may be from before.
    wait_until("another millisecond", || clock::now().as_millis() > released.as_millis());
    assert_eq!(visitor.visit(), "b1 moved;from=\"b0\";reason=released");
    assert_eq!(visitor.visit(), "b1 bound");
}

#[test]
fn a_client_hears_nothing_of_it() {
    let backend = Backend::answering(|_| {
        "HTTP/1.1 200 OK\r\nStickler-Affinity: x\r\nstickler-affinity: y\r\nContent-Length: 0\r\n\r\n"
            .into()
    });
    let proxy = Proxy::before(&[&backend], COOKIE);
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        assert!(client.get("/", "").fields("stickler-affinity").is_empty());
    }
}

#[test]
fn a_request_that_is_tried_elsewhere_says_where_it_went_and_says_it_once() {
    let [b0, b1, b2] = apps();
    let settings = format!("balance = \"round_robin\"\n{COOKIE}");
    let proxy = Proxy::before(&[&b0, &b1, &b2], &settings);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    b0.die();
    b1.die();
    assert_eq!(visitor.visit(), "b2 moved;from=\"b0\";reason=ejected");
    assert_eq!(proxy.pool().count_of(Reason::Ejected), 1, "one move, however many tries");
    let free = Visitor::new(proxy.address()).visit();
    assert_eq!(free, "b2 new");
}
