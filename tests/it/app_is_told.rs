//! `Stickler-Affinity`: what the app is told about the session, and who may say it (invariant 2).

use stickler::balance::Reason;

use crate::support::{Backend, Client, Proxy, Visitor, apps, get, pool};

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
