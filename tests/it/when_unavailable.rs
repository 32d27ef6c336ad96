//! What happens to a session whose home cannot serve it: it moves for good, or waits at the door.

use stickler::balance::Reason;

use crate::support::{Backend, Proxy, Visitor, app_at, apps, get};

fn cookie(when_unavailable: &str) -> String {
    format!(
        "balance = \"round_robin\"\neject = false\n[pools.pool.affinity]\nmode = \"cookie\"\n\
         when_unavailable = \"{when_unavailable}\"\n"
    )
}

/// How many sessions have moved, and tokens were not honoured, for any reason.
fn reasons(proxy: &Proxy) -> u64 {
    Reason::ALL.iter().map(|&reason| proxy.pool().count_of(reason)).sum()
}

#[test]
fn rebalance_moves_it_for_good() {
    let [b0, b1] = apps();
    let address = b0.address.to_string();
    let proxy = Proxy::before(&[&b0, &b1], &cookie("rebalance"));
    let mut visitor = Visitor::new(proxy.address());
    let mut other = Visitor::new(proxy.address());
    assert_eq!((visitor.visit(), other.visit()), ("b0 new".into(), "b1 new".into()));
    b0.die();
    assert_eq!(visitor.visit(), "b1 moved;from=\"b0\";reason=ejected");
    let _again = app_at(&address, 0);
    for _ in 0..3 {
        assert_eq!(visitor.visit(), "b1 bound", "it does not go back by itself");
        assert_eq!(other.visit(), "b1 bound");
    }
    assert_eq!(reasons(&proxy), 1);
}

#[test]
fn an_old_token_of_a_moved_session_finds_it_where_it_is() {
    let [b0, b1] = apps();
    let proxy = Proxy::before(&[&b0, &b1], &cookie("rebalance"));
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    let old = visitor.cookie.clone().unwrap();
    b0.die();
    visitor.visit();
    // Another tab that has not seen the new cookie yet.
    let mut tab = Visitor::with(proxy.address(), &old);
    assert_eq!(tab.visit(), "b1 bound");
    assert_ne!(tab.cookie.unwrap(), old, "it gets the new one as well");
    assert_eq!(reasons(&proxy), 1, "one move");
    assert_eq!(proxy.member("b1").sessions(), 1, "it is one session all the same");
}

#[test]
fn reject_refuses_it_until_its_home_is_back() {
    let [b0, b1] = apps();
    let address = b0.address.to_string();
    let proxy = Proxy::before(&[&b0, &b1], &cookie("reject"));
    let mut visitor = Visitor::new(proxy.address());
    let mut other = Visitor::new(proxy.address());
    assert_eq!((visitor.visit(), other.visit()), ("b0 new".into(), "b1 new".into()));
    b0.die();
    for _ in 0..3 {
        let refused = visitor.get();
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
        assert_eq!(refused.field("set-cookie"), None, "it keeps what it has");
        assert_eq!(other.visit(), "b1 bound");
        assert_eq!(Visitor::new(proxy.address()).visit(), "b1 new");
    }
    assert_eq!(reasons(&proxy), 0);
    assert_eq!(proxy.member("b0").sessions(), 1, "it is still bound");
    let _again = app_at(&address, 0);
    assert_eq!(visitor.visit(), "b0 bound");
}

#[test]
fn reject_holds_for_keys_too() {
    let [b0, b1] = apps();
    let settings = "eject = false\n[pools.pool.affinity]\nmode = \"hash\"\n\
                    key = { header = \"x-user\" }\nwhen_unavailable = \"reject\"\n";
    let proxy = Proxy::before(&[&b0, &b1], settings);
    let ask = |user: usize| get(proxy.address(), "/", &format!("X-User: {user}\r\n"));
    let homes: Vec<_> = (0..20).map(|user| ask(user).text()).collect();
    b0.die();
    for (user, home) in homes.iter().enumerate() {
        let (status, text) = (ask(user).status, ask(user).text());
        match home.as_str() {
            "b0 keyed" => assert_eq!(status, 503),
            _ => assert_eq!((status, text), (200, "b1 keyed".into())),
        }
    }
    assert!(homes.contains(&"b0 keyed".into()) && homes.contains(&"b1 keyed".into()));
    assert_eq!(reasons(&proxy), 0);
}

#[test]
fn a_backend_without_weight_keeps_its_sessions_and_gets_no_more() {
    let [b0, b1] = apps();
    let before = Proxy::before(&[&b0, &b1], &cookie("rebalance"));
    let at_home = get(before.address(), "/", "").cookie().unwrap();
    let addresses = [&b0, &b1].map(|backend: &Backend| backend.address.to_string());
    let config = crate::support::pool(&addresses, &cookie("rebalance"));
    let weightless = format!("address = \"{}\"\nweight = 0", b0.address);
    let after = Proxy::with(&config.replace(&format!("address = \"{}\"", b0.address), &weightless));
    assert_eq!(Visitor::with(after.address(), &at_home).visit(), "b0 bound");
    for _ in 0..4 {
        assert_eq!(Visitor::new(after.address()).visit(), "b1 new");
    }
}

#[test]
fn when_nobody_is_left_the_answer_is_an_error_and_the_session_stays_bound() {
    let [b0, b1] = apps();
    let address = b0.address.to_string();
    let proxy = Proxy::before(&[&b0, &b1], &cookie("rebalance"));
    let mut visitor = Visitor::new(proxy.address());
    visitor.visit();
    b0.die();
    b1.die();
    let failed = visitor.get();
    assert_eq!((failed.status, failed.field("set-cookie")), (502, None));
    let _again = app_at(&address, 0);
    assert_eq!(visitor.visit(), "b0 bound");
    assert_eq!(reasons(&proxy), 0, "a move that came to nothing is none");
}
