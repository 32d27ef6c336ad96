//! Ejection: a backend that cannot be connected to is left alone for a while.

use stickler::balance::{BackendState, Outcome, Reason};

use crate::support::{Backend, Proxy, Visitor, app_at, apps, get, wait_until};

/// A pool that ejects after three failures in a row, for so long.
fn eject_for(duration: &str) -> String {
    format!(
        "balance = \"round_robin\"\neject = {{ connect_failures = 3, duration = \"{duration}\" }}\n"
    )
}

/// How often a backend could not be reached.
fn failures(proxy: &Proxy, name: &str) -> u64 {
    proxy.member(name).outcomes()[Outcome::Failure.index()]
}

fn states(proxy: &Proxy) -> Vec<BackendState> {
    proxy.pool().backends().iter().map(|backend| backend.state()).collect()
}

fn visit_often(proxy: &Proxy) {
    for _ in 0..20 {
        get(proxy.address(), "/", "");
    }
}

#[test]
fn after_so_many_failures_in_a_row_it_is_left_alone() {
    let [b0, b1] = apps();
    b0.die();
    let proxy = Proxy::before(&[&b0, &b1], &eject_for("1m"));
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "/", "").text(), "b1 nothing", "no client notices");
    }
    assert_eq!(states(&proxy), [BackendState::Ejected, BackendState::Ready]);
    assert_eq!(failures(&proxy, "b0"), 3);
}

#[test]
fn failures_that_are_not_in_a_row_do_not_count() {
    let [b0, b1] = apps();
    let address = b0.address.to_string();
    let proxy = Proxy::before(&[&b0, &b1], &eject_for("1m"));
    b0.die();
    for round in 1..=4 {
        wait_until("it failed twice", || {
            get(proxy.address(), "/", "");
            failures(&proxy, "b0") == 2 * round
        });
        let again = app_at(&address, 0);
        wait_until("it was reached", || get(proxy.address(), "/", "").text().starts_with("b0"));
        again.die();
    }
    assert_eq!(states(&proxy), [BackendState::Ready; 2]);
}

#[test]
fn it_gets_another_chance_when_its_time_is_over() {
    let [b0, b1] = apps();
    let address = b0.address.to_string();
    b0.die();
    let proxy = Proxy::before(&[&b0, &b1], &eject_for("300ms"));
    visit_often(&proxy);
    wait_until("its ejection is over", || states(&proxy)[0] == BackendState::Ready);
    let before = failures(&proxy, "b0");
    visit_often(&proxy);
    assert_eq!(failures(&proxy, "b0"), before + 1, "one more failure is enough");
    let _again = app_at(&address, 0);
    wait_until("it serves again", || get(proxy.address(), "/", "").text() == "b0 nothing");
    assert_eq!(states(&proxy), [BackendState::Ready; 2]);
}

#[test]
fn at_most_half_of_a_pool_is_ejected() {
    let backends: [Backend; 4] = apps();
    backends[..3].iter().for_each(Backend::die);
    let proxy = Proxy::before(&backends.each_ref(), &format!("attempts = 4\n{}", eject_for("1m")));
    for _ in 0..30 {
        assert_eq!(get(proxy.address(), "/", "").text(), "b3 nothing");
    }
    let ejected = states(&proxy).iter().filter(|s| **s == BackendState::Ejected).count();
    assert_eq!(ejected, 2);
}

#[test]
fn the_last_one_is_never_ejected() {
    let [b0] = apps();
    let address = b0.address.to_string();
    b0.die();
    let proxy = Proxy::before(&[&b0], &eject_for("1m"));
    for _ in 0..10 {
        assert_eq!(get(proxy.address(), "/", "").status, 502);
    }
    let _again = app_at(&address, 0);
    assert_eq!(get(proxy.address(), "/", "").status, 200);
}

#[test]
fn it_can_be_turned_off() {
    let [b0, b1] = apps();
    b0.die();
    let proxy = Proxy::before(&[&b0, &b1], "balance = \"round_robin\"\neject = false\n");
    visit_often(&proxy);
    assert_eq!(states(&proxy), [BackendState::Ready; 2]);
    assert!(failures(&proxy, "b0") >= 10);
}

#[test]
fn its_sessions_move_and_each_move_is_counted() {
    let [b0, b1] = apps();
    let settings = format!("{}[pools.pool.affinity]\nmode = \"cookie\"\n", eject_for("1m"));
    let proxy = Proxy::before(&[&b0, &b1], &settings);
    let mut visitors: Vec<_> = (0..10).map(|_| Visitor::new(proxy.address())).collect();
    visitors.iter_mut().for_each(|visitor| drop(visitor.visit()));
    b0.die();
    let moved = visitors.iter_mut().map(Visitor::visit);
    let moved = moved.filter(|told| told == "b1 moved;from=\"b0\";reason=ejected").count();
    assert_eq!((moved, failures(&proxy, "b0")), (5, 3), "two were spared the failure");
    assert_eq!(proxy.pool().count_of(Reason::Ejected), 5);
    assert!(visitors.iter_mut().all(|visitor| visitor.visit() == "b1 bound"));
}

#[test]
fn a_backend_that_answers_badly_is_not_ejected() {
    let b0 = Backend::answering(|_| "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".into());
    // Every second request makes it close: the fault may be the request's.
    let b1 = Backend::new(|mut conversation| {
        if conversation.request().is_some() && conversation.number % 2 == 0 {
            conversation.send("HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&[&b0, &b1], &eject_for("1m"));
    visit_often(&proxy);
    assert_eq!(states(&proxy), [BackendState::Ready; 2]);
}

/// As a forwarder does whose app server has died.
#[test]
fn a_backend_that_accepts_and_never_answers_is() {
    let [b0] = apps();
    let b1 = Backend::new(|mut conversation| drop(conversation.request()));
    let proxy = Proxy::before(&[&b0, &b1], &eject_for("1m"));
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "/", "").text(), "b0 nothing", "no client notices");
    }
    assert_eq!(states(&proxy), [BackendState::Ready, BackendState::Ejected]);
    assert_eq!(failures(&proxy, "b1"), 3);
}
