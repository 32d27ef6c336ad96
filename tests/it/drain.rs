//! A backend that answers its health check with a status or a field of the operator's choice asks
//! to be drained, and so does an operator: it keeps its sessions and gets no new ones.

use std::time::Duration;

use stickler::balance::{BackendState, DrainPolicy, Reason, Refused};
use stickler::clock;

use crate::support::{CHECKS, Examined, Proxy, Visitor, apps, get, wait_until};

const BY_STATUS: &str = "drain_status = 503\n";
const BY_FIELD: &str = "drain_header = \"x-drain\"\n";
const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

/// Two app servers, and a proxy that checks them like this.
fn site(check: &str, affinity: &str) -> ([Examined; 2], Proxy) {
    let apps = [Examined::new(0), Examined::new(1)];
    let settings = format!("balance = \"round_robin\"\neject = false\n{CHECKS}{check}{affinity}");
    let proxy = Proxy::before(&[&apps[0].backend, &apps[1].backend], &settings);
    apps.iter().for_each(|app| app.check("200 OK"));
    (apps, proxy)
}

#[test]
fn a_draining_backend_keeps_its_sessions_and_gets_no_new_ones() {
    for (check, ask) in [
        (BY_STATUS, "503 Leaving"),
        (BY_FIELD, "200 OK\r\nX-Drain: 1"),
        (BY_FIELD, "200 OK\r\nx-drain:"),
    ] {
        let (apps, proxy) = site(check, COOKIE);
        let mut at_home = Visitor::new(proxy.address());
        assert_eq!(at_home.visit(), "b0 new");
        apps[0].check(ask);
        assert_eq!(proxy.member("b0").state(), BackendState::Draining, "{ask}");
        for _ in 0..3 {
            assert_eq!(at_home.visit(), "b0 bound");
            assert_eq!(Visitor::new(proxy.address()).visit(), "b1 new");
        }
        apps[0].check("200 OK");
        assert_eq!(proxy.member("b0").state(), BackendState::Ready, "it is back after {ask}");
        let mut homes = [(); 2].map(|()| Visitor::new(proxy.address()).visit());
        homes.sort();
        assert_eq!(homes, ["b0 new", "b1 new"]);
        assert_eq!(proxy.pool().count_of(Reason::Draining), 0, "nobody was moved");
    }
}

#[test]
fn without_being_configured_it_is_only_a_failure_or_nothing() {
    let (apps, proxy) = site("fall = 1\n", COOKIE);
    apps[0].check("200 OK\r\nX-Drain: 1");
    assert_eq!(proxy.member("b0").state(), BackendState::Ready);
    apps[0].check("503 Leaving");
    assert_eq!(proxy.member("b0").state(), BackendState::Down);
}

#[test]
fn a_draining_backend_keeps_its_keys_and_gets_no_new_ones() {
    let (apps, proxy) =
        site(BY_STATUS, "[pools.pool.affinity]\nmode = \"hash\"\nkey = { header = \"x-user\" }\n");
    let ask = |user: u32| get(proxy.address(), "/", &format!("X-User: {user}\r\n")).text();
    let homes: Vec<_> = (0..20).map(ask).collect();
    apps[0].check("503 Leaving");
    assert_eq!((0..20).map(ask).collect::<Vec<_>>(), homes);
    assert!((20..40).all(|user| ask(user) == "b1 keyed"), "new keys go to their second choice");
    assert!((20..40).all(|user| ask(user) == "b1 keyed"), "and stay there");
    assert!(homes.contains(&"b0 keyed".to_owned()));
}

#[test]
fn a_drain_survives_an_illness() {
    let (apps, proxy) = site(&format!("{BY_STATUS}fall = 1\nrise = 1\n"), COOKIE);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    for (answer, state) in [
        ("503 Leaving", BackendState::Draining),
        ("500 X", BackendState::Down),
        ("503 Leaving", BackendState::Draining),
    ] {
        apps[0].check(answer);
        assert_eq!(proxy.member("b0").state(), state);
    }
    assert_eq!(visitor.visit(), "b0 bound");
    apps[0].check("500 X");
    assert_eq!(visitor.visit(), "b1 moved;from=\"b0\";reason=down");
}

#[test]
fn with_everybody_draining_sessions_go_on_and_new_ones_are_refused() {
    let (apps, proxy) = site(BY_STATUS, COOKIE);
    let mut visitors = [(); 2].map(|()| Visitor::new(proxy.address()));
    let homes = visitors.each_mut().map(|visitor| visitor.visit().replace("new", "bound"));
    apps.iter().for_each(|app| app.check("503 Leaving"));
    assert_eq!(visitors.each_mut().map(|visitor| visitor.visit()), homes);
    assert_eq!(get(proxy.address(), "/", "").status, 503);
}

#[test]
fn it_shows_when_the_last_session_has_left() {
    let (apps, proxy) = site(BY_STATUS, &format!("{COOKIE}idle_timeout = \"1s\"\n"));
    for _ in 0..6 {
        Visitor::new(proxy.address()).visit();
    }
    apps[0].check("503 Leaving");
    let left = || proxy.member("b0").sessions();
    wait_until("nobody is left", || left() == 0);
    Visitor::new(proxy.address()).visit();
    assert_eq!((left(), proxy.member("b1").sessions()), (0, 1));
}

#[test]
fn an_operator_drains_a_backend_by_a_policy_and_gets_a_report() {
    let [b0, b1] = apps();
    let settings = format!("balance = \"round_robin\"\neject = false\n{COOKIE}");
    let proxy = Proxy::before(&[&b0, &b1], &settings);
    let mut visitors: Vec<_> = (0..6).map(|_| Visitor::new(proxy.address())).collect();
    let homes: Vec<_> = visitors.iter_mut().map(|visitor| visitor.visit()).collect();
    assert_eq!(homes.iter().filter(|home| *home == "b0 new").count(), 3);
    let id = proxy.member("b0").id();
    let policy = DrainPolicy { deadline: Some(Duration::from_secs(1)), ..DrainPolicy::default() };
    let pool = proxy.pool();
    pool.drain(id, policy, false, clock::now()).unwrap();
    let other = proxy.member("b1").id();
    let refused = pool.maintenance(other, false, clock::now());
    assert_eq!(refused.unwrap_err(), Refused::LastReady);
    let mut moved = 0;
    wait_until("it is drained", || {
        for visitor in &mut visitors {
            let told = visitor.visit();
            moved += u64::from(told == "b1 moved;from=\"b0\";reason=draining");
            assert!(told.ends_with("bound") || told.starts_with("b1"), "{told}");
        }
        proxy.member("b0").state() == BackendState::Drained
    });
    let report = pool.drain_progress(id, clock::now()).unwrap();
    assert_eq!((report.sessions_at_start, report.moved, moved), (3, 3, 3));
    assert_eq!((report.left, report.cut, report.sessions), (0, 0, 0));
    assert_eq!(pool.count_of(Reason::Draining), 3);
    assert!(report.ended.unwrap().since(report.since) >= Duration::from_secs(1));
    assert_eq!(pool.make_ready(id, clock::now()).unwrap().to, BackendState::Ready);
    assert!(visitors.iter_mut().all(|visitor| visitor.visit() == "b1 bound"), "nobody returns");
}
