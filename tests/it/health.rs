//! Active health checks: what is asked, what counts as well, and when a verdict changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stickler::balance::{BackendState, Reason};
use stickler::clock::Stopwatch;

use crate::support::{Backend, CHECKS, Examined, Proxy, Visitor, apps, get, wait_until};

const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

#[test]
fn a_backend_falls_and_rises_after_so_many_checks_in_a_row() {
    let app = Examined::new(0);
    let proxy = Proxy::before(&[&app.backend], &format!("{CHECKS}rise = 2\nfall = 3\n"));
    let states = |answers: &[&str]| -> Vec<bool> {
        let is_up = |answer: &&str| {
            app.check(answer);
            proxy.member("b0").state() == BackendState::Ready
        };
        answers.iter().map(is_up).collect()
    };
    const FAIL: &str = "500 X";
    const PASS: &str = "200 OK";
    assert_eq!(states(&[PASS, FAIL, FAIL, PASS]), [true; 4], "not three in a row");
    assert_eq!(states(&[FAIL, FAIL, FAIL]), [true, true, false]);
    assert_eq!(states(&[PASS, FAIL, PASS]), [false; 3], "not two in a row");
    assert_eq!(states(&[PASS]), [true]);
}

#[test]
fn the_first_check_decides_alone() {
    let healthy = Examined::new(0);
    let pessimist = format!("{CHECKS}initial = \"down\"\nrise = 5\n");
    let proxy = Proxy::before(&[&healthy.backend], &pessimist);
    assert_eq!(proxy.member("b0").state(), BackendState::Down);
    assert_eq!(get(proxy.address(), "/", "").status, 503);
    healthy.check("200 OK");
    assert_eq!(get(proxy.address(), "/", "").status, 200);

    let ill = Examined::new(0);
    let proxy = Proxy::before(&[&ill.backend], &format!("{CHECKS}initial = \"up\"\nfall = 5\n"));
    assert_eq!(get(proxy.address(), "/", "").status, 200);
    ill.check("500 X");
    assert_eq!(proxy.member("b0").state(), BackendState::Down);
}

#[test]
fn sessions_move_away_from_a_backend_that_is_down_and_do_not_come_back() {
    let apps = [Examined::new(0), Examined::new(1)];
    let settings = format!("balance = \"round_robin\"\n{CHECKS}fall = 1\nrise = 1\n{COOKIE}");
    let proxy = Proxy::before(&[&apps[0].backend, &apps[1].backend], &settings);
    let mut visitor = Visitor::new(proxy.address());
    assert_eq!(visitor.visit(), "b0 new");
    apps[0].check("500 X");
    assert_eq!(proxy.member("b0").sessions(), 1, "it is still bound");
    assert_eq!(visitor.visit(), "b1 moved;from=\"b0\";reason=down");
    assert_eq!(Visitor::new(proxy.address()).visit(), "b1 new");
    apps[0].check("200 OK");
    assert_eq!(visitor.visit(), "b1 bound");
    assert_eq!(proxy.pool().count_of(Reason::Down), 1);
}

#[test]
fn with_nobody_left_clients_are_told_to_come_again() {
    let app = Examined::new(0);
    let proxy = Proxy::before(&[&app.backend], CHECKS);
    app.check("500 X");
    let response = get(proxy.address(), "/", "");
    assert_eq!((response.status, response.field("retry-after")), (503, Some("5")));
    assert_eq!(proxy.pool().unavailable(), 1);
    let requests = app.backend.requests();
    assert!(requests.iter().all(|request| request.target == "/healthz"), "it was left alone");
}

/// The state that a backend comes to with these settings of its check.
fn verdict(backend: &Backend, check: &str) -> BackendState {
    let asked = backend.connections();
    let check =
        format!("[pools.pool.health]\ninterval = \"10ms\"\nfast_interval = \"10ms\"\n{check}");
    let proxy = Proxy::before(&[backend], &check);
    wait_until("it was checked", || backend.connections() > asked + 1);
    proxy.member("b0").state()
}

#[test]
fn what_is_asked_can_be_configured() {
    let [app] = apps();
    verdict(&app, "path = \"/ready?full=1\"\nhost = \"shop.internal\"\n");
    let check = app.last_request();
    assert_eq!((check.method.as_str(), check.target.as_str()), ("GET", "/ready?full=1"));
    assert_eq!(check.field("host"), Some("shop.internal"));
    assert!(check.field("user-agent").unwrap().starts_with("stickler/"));
    verdict(&app, "path = \"/\"\n");
    assert_eq!(app.last_request().field("host"), Some(app.address.to_string().as_str()));
}

#[test]
fn another_port_can_be_asked() {
    let [app, doctor] = apps();
    let dead = Backend::named("dead");
    dead.stop();
    let check = |port| format!("path = \"/\"\nfall = 1\nport = {port}\n");
    assert_eq!(verdict_at(&app, &doctor, &check(doctor.address.port())), BackendState::Ready);
    assert!(app.requests().is_empty());
    let proxy =
        Proxy::before(&[&app], &format!("[pools.pool.health]\n{}", check(dead.address.port())));
    wait_until("it is down", || proxy.member("b0").state() == BackendState::Down);
}

/// The state that `app` comes to when it is `doctor` who is asked.
fn verdict_at(app: &Backend, doctor: &Backend, check: &str) -> BackendState {
    let check =
        format!("[pools.pool.health]\ninterval = \"10ms\"\nfast_interval = \"10ms\"\n{check}");
    let proxy = Proxy::before(&[app], &check);
    wait_until("it was asked", || doctor.connections() > 1);
    proxy.member("b0").state()
}

#[test]
fn statuses_that_mean_well_can_be_configured() {
    for (status, expect, state) in [
        (200, "", BackendState::Ready),
        (302, "", BackendState::Ready),
        (404, "", BackendState::Down),
        (500, "", BackendState::Down),
        (204, "expect = [200, \"204-206\"]", BackendState::Ready),
        (207, "expect = [200, \"204-206\"]", BackendState::Down),
        (401, "expect = [401]", BackendState::Ready),
        (200, "expect = [401]", BackendState::Down),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let backend = Backend::answering(move |_| answer.clone());
        assert_eq!(
            verdict(&backend, &format!("path = \"/\"\n{expect}\n")),
            state,
            "{status} {expect}"
        );
    }
}

#[test]
fn a_body_can_be_asked_for_however_it_comes() {
    let large = "x".repeat(200_000);
    for (answer, state) in [
        ("Content-Length: 10\r\n\r\nall is ok!".to_owned(), BackendState::Ready),
        ("Content-Length: 10\r\n\r\nall is bad".to_owned(), BackendState::Down),
        (
            "Transfer-Encoding: chunked\r\n\r\n4\r\nis o\r\n1\r\nk\r\n0\r\n\r\n".to_owned(),
            BackendState::Ready,
        ),
        // Looked for in the first 64 KiB, however much there is.
        (format!("Content-Length: 200005\r\n\r\nis ok{large}"), BackendState::Ready),
        (format!("Content-Length: 200005\r\n\r\n{large}is ok"), BackendState::Down),
    ] {
        let head = answer.split("\r\n\r\n").next().unwrap().to_owned();
        let backend = Backend::answering(move |_| format!("HTTP/1.1 200 OK\r\n{answer}"));
        let check = "path = \"/\"\nbody = \"is ok\"\n";
        assert_eq!(verdict(&backend, check), state, "{head}");
    }
}

#[test]
fn without_a_path_it_is_enough_to_accept() {
    let backend = Backend::new(|mut conversation| conversation.wait_for_close());
    let settings = "[pools.pool.health]\ninterval = \"20ms\"\nfast_interval = \"20ms\"\n";
    let proxy = Proxy::before(&[&backend], settings);
    wait_until("it was checked", || backend.connections() > 3);
    assert_eq!(proxy.member("b0").state(), BackendState::Ready);
    backend.stop();
    wait_until("it is down", || proxy.member("b0").state() == BackendState::Down);
    let _again = Backend::at(&backend.address.to_string(), |_| {});
    wait_until("it is up", || proxy.member("b0").state() == BackendState::Ready);
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_down() {
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\no"] {
        let backend = Backend::new(move |mut conversation| {
            conversation.request();
            conversation.send(answer);
            conversation.wait_for_close();
        });
        let settings = "[pools.pool.health]\npath = \"/\"\nbody = \"ok\"\ntimeout = \"50ms\"\n\
                        interval = \"20ms\"\nfast_interval = \"20ms\"\n";
        let proxy = Proxy::before(&[&backend], settings);
        wait_until("it is down", || proxy.member("b0").state() == BackendState::Down);
    }
}

#[test]
fn a_changing_backend_is_checked_more_often() {
    let failures = Arc::new(AtomicUsize::new(0));
    let failed = failures.clone();
    let backend = Backend::answering(move |_| {
        // The first check passes, or it would decide alone.
        let status = if failed.fetch_add(1, Ordering::SeqCst) == 0 { 200 } else { 500 };
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    });
    let settings = "[pools.pool.health]\npath = \"/\"\nfall = 50\njitter = 0\n\
                    interval = \"1s\"\nfast_interval = \"10ms\"\n";
    let since = Stopwatch::start();
    let proxy = Proxy::before(&[&backend], settings);
    wait_until("it is down", || proxy.member("b0").state() == BackendState::Down);
    let took = since.elapsed().as_secs_f64();
    // One interval until the first failure is seen, and 49 fast ones; 50 s at the usual pace.
    assert!((1.0..20.0).contains(&took), "{took} s");
    assert_eq!(failures.load(Ordering::SeqCst), 51);
}

#[test]
fn intervals_vary_by_the_jitter() {
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (since, seen) = (Stopwatch::start(), times.clone());
    let backend = Backend::answering(move |_| {
        seen.lock().unwrap().push(since.elapsed());
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".into()
    });
    let settings = "[pools.pool.health]\npath = \"/\"\njitter = \"100%\"\n\
                    interval = \"200ms\"\nfast_interval = \"200ms\"\n";
    let _proxy = Proxy::before(&[&backend], settings);
    // Half of the intervals are shorter than they would be without it; a busy machine only makes
    // them longer.
    let is_short = |times: &[std::time::Duration]| {
        times.windows(2).any(|pair| (pair[1] - pair[0]).as_millis() < 150)
    };
    wait_until("an interval was short", || is_short(&times.lock().unwrap()));
}
