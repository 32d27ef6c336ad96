//! Backends that are found: by DNS and in a file.

use std::net::Ipv4Addr;
use std::path::Path;

use stickler::balance::BackendState;

use crate::support::{Backend, Files, NameServer, Proxy, Visitor, Zone, app, app_at, wait_until};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THREE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Three app servers on three addresses and the same port.
fn three_hosts() -> ([Backend; 3], u16) {
    let first = app(0);
    let port = first.address.port();
    let on = |ip: Ipv4Addr, number| app_at(&format!("{ip}:{port}"), number);
    ([first, on(TWO, 1), on(THREE, 2)], port)
}

fn config(discover: &str, names: &NameServer, idle: &str) -> String {
    format!(
        "[pools.pool.affinity]\nmode = \"cookie\"\nidle_timeout = \"{idle}\"\n\
         [[pools.pool.discover]]\n{discover}\nnameserver = \"{}\"\n\
         min_interval = \"50ms\"\nmax_interval = \"50ms\"\n",
        names.address
    )
}

fn members(proxy: &Proxy) -> Vec<String> {
    let mut names: Vec<_> =
        proxy.pool().backends().iter().map(|backend| backend.name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn neither_order_nor_outage_moves_a_session() {
    let (_apps, port) = three_hosts();
    let names = NameServer::new(Zone::Hosts(vec![ONE, TWO, THREE]));
    let proxy = Proxy::with(&config(&format!("dns = \"shop.internal:{port}\""), &names, "5m"));
    assert_eq!(members(&proxy), ["127.0.0.1", "127.0.0.2", "127.0.0.3"], "before anybody came");
    let mut visitors: Vec<_> = (0..6).map(|_| Visitor::new(proxy.address())).collect();
    let homes: Vec<_> = visitors.iter_mut().map(|v| v.visit()[..2].to_owned()).collect();
    for zone in [
        Zone::Hosts(vec![THREE, ONE, TWO]),
        Zone::Hosts(vec![TWO, THREE, ONE]),
        Zone::Gone,
        Zone::Hosts(Vec::new()),
        Zone::Silent,
        Zone::Hosts(vec![ONE, TWO, THREE]),
    ] {
        names.says(zone);
        names.wait_until_heard();
        for (visitor, home) in visitors.iter_mut().zip(&homes) {
            assert_eq!(visitor.visit(), format!("{home} bound"));
        }
    }
    assert!(proxy.pool().backends().iter().all(|b| b.state() == BackendState::Ready));
}

#[test]
fn backends_come_and_go_with_the_answer_and_sessions_leave_in_peace() {
    let (_apps, port) = three_hosts();
    let names = NameServer::new(Zone::Hosts(vec![ONE, TWO]));
    let proxy = Proxy::with(&config(&format!("dns = \"shop.internal:{port}\""), &names, "2s"));
    let mut bound = loop {
        let mut visitor = Visitor::new(proxy.address());
        if visitor.visit().starts_with("b1") {
            break visitor;
        }
    };
    names.says(Zone::Hosts(vec![ONE, THREE]));
    wait_until("the third is there", || members(&proxy).contains(&"127.0.0.3".to_owned()));
    assert_eq!(proxy.member("127.0.0.2").state(), BackendState::Draining);
    assert_eq!(bound.visit(), "b1 bound");
    wait_until("the second has left", || members(&proxy) == ["127.0.0.1", "127.0.0.3"]);
}

#[test]
fn targets_are_known_by_their_names_wherever_they_are() {
    let apps = [app(0), app(1), app(2)];
    let port = |i: usize| apps[i].address.port();
    let target = |name, i| (name, port(i), ONE);
    let zone =
        |a, b| Zone::Targets(vec![target("shop-1.internal.", a), target("shop-2.internal.", b)]);
    let names = NameServer::new(zone(0, 1));
    let proxy = Proxy::with(&config("srv = \"_http._tcp.shop.internal\"", &names, "5m"));
    assert_eq!(members(&proxy), ["shop-1.internal", "shop-2.internal"]);
    let mut bound = loop {
        let mut visitor = Visitor::new(proxy.address());
        if visitor.visit().starts_with("b1") {
            break visitor;
        }
    };
    names.says(zone(0, 2));
    names.wait_until_heard();
    wait_until("it has moved", || bound.visit() == "b2 bound");
}

#[test]
fn names_are_made_as_the_configuration_says() {
    let app = app(0);
    let port = app.address.port();
    let names = NameServer::new(Zone::Hosts(vec![ONE]));
    let dns = format!("dns = \"shop.internal:{port}\"\nname = \"app-{{address}}\"");
    assert_eq!(members(&Proxy::with(&config(&dns, &names, "5m"))), ["app-127.0.0.1"]);
    names.says(Zone::Targets(vec![("shop-1.internal.", port, ONE)]));
    for (template, name) in [
        ("app-{target}", "app-shop-1.internal".to_owned()),
        ("{address}_{port}", format!("127.0.0.1_{port}")),
    ] {
        let srv = format!("srv = \"_http._tcp.shop.internal\"\nname = \"{template}\"");
        assert_eq!(members(&Proxy::with(&config(&srv, &names, "5m"))), [name]);
    }
}

#[test]
fn who_was_found_is_known_after_a_restart_without_a_name_server() {
    let app = app(0);
    let names = NameServer::new(Zone::Hosts(vec![ONE]));
    let dns = format!("dns = \"shop.internal:{}\"", app.address.port());
    let files = Files::with(&config(&dns, &names, "5m"));
    let (process, address) = files.run();
    let mut visitor = Visitor::new(address);
    assert_eq!(visitor.visit(), "b0 new");
    process.signal("TERM");
    assert_eq!(process.end().code, Some(0));
    names.says(Zone::Silent);
    let (process, address) = files.run();
    let mut again = Visitor::with(address, visitor.cookie.as_ref().unwrap());
    assert_eq!(again.visit(), "b0 bound");
    assert!(process.stderr().contains("who was found before"), "{}", process.stderr());
}

#[test]
fn a_file_says_who_is_a_member() {
    let [a, b] = crate::support::apps();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backends.json");
    let write = |text: String| {
        let fresh = dir.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, &path).unwrap();
    };
    let entry = |name: &str, backend: &Backend| {
        format!("{{\"name\": \"{name}\", \"address\": \"{}\"}}", backend.address)
    };
    let config = |path: &Path| {
        format!(
            "[pools.pool.affinity]\nmode = \"cookie\"\n[[pools.pool.discover]]\nfile = \"{}\"\n",
            path.display()
        )
    };
    write(format!("[{}]", entry("x", &a)));
    let proxy = Proxy::with(&config(&path));
    assert_eq!(members(&proxy), ["x"]);
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    write(format!("[{}, {}]", entry("y", &b), entry("x", &a)));
    wait_until("both are there", || members(&proxy) == ["x", "y"]);
    for nonsense in ["[{", "[]", "{\"backends\": [{\"name\": \"y\"}]}"] {
        write(nonsense.to_owned());
        std::thread::sleep(std::time::Duration::from_millis(1300));
        assert_eq!(members(&proxy), ["x", "y"], "{nonsense}");
    }
    assert_eq!(visitor.visit(), "b0 bound");
}
