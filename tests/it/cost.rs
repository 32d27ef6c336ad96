//! What stickiness costs, measured by a proxy at work and told by the admin API and the metrics.

use std::time::Duration;

use serde_json::Value;
use stickler::balance::cost::Work;

use crate::support::{
    Admin, Backend, Client, Gate, ON, Proxy, Visitor, apps, get, pool, wait_until,
};

const COOKIE: &str = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n";

/// An app server that takes 5 ms for every request: real time, since that is what is measured here
/// and in what follows.
fn steady() -> Backend {
    Backend::answering(|_| {
        std::thread::sleep(Duration::from_millis(5));
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into()
    })
}

/// Waits until the proxy measures: what comes before is in no figure.
#[track_caller]
fn measured(proxy: Proxy) -> Proxy {
    let admin = proxy.admin();
    wait_until("there are figures", || !admin.get("/v1/pools/pool")["cost"][0].is_null());
    proxy
}

/// What it costs the pool in the last minute, once so many requests are in the figures.
#[track_caller]
fn cost(admin: &Admin, requests: u64) -> Value {
    let now = || admin.get("/v1/pools/pool")["cost"][1].clone();
    wait_until("the requests are in the figures", || now()["requests"] == requests);
    // Their time is there with the next reading.
    let before = now()["seconds"].as_f64().unwrap();
    wait_until("another reading", || now()["seconds"].as_f64().unwrap() > before);
    now()
}

#[track_caller]
fn near(value: &Value, expected: f64, tolerance: f64) {
    let found = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((found - expected).abs() <= tolerance, "{found} is not near {expected}");
}

/// One session does everything: its home has twice its fair share, and under even distribution
/// everybody would have theirs.
#[test]
fn a_known_skew_has_its_known_cost() {
    let backends = [steady(), steady()];
    let proxy = measured(Proxy::configured(ON, &[&backends[0], &backends[1]], COOKIE));
    let mut visitor = Client::connect(proxy.address());
    let cookie = format!("Cookie: {}\r\n", visitor.get("/", "").cookie().unwrap());
    for _ in 0..99 {
        visitor.get("/", &cookie);
    }
    let cost = cost(&proxy.admin(), 100);
    near(&cost["real"]["requests"]["peak_to_mean"], 2.0, 0.0);
    near(&cost["even"]["requests"]["peak_to_mean"], 1.0, 0.0);
    near(&cost["real"]["in_flight_time"]["peak_to_mean"], 2.0, 0.0);
    near(&cost["even"]["in_flight_time"]["peak_to_mean"], 1.0, 0.15);
    near(&cost["headroom_cost"], 1.0, 0.25);
    // Of the 99 bound ones half would have gone to the other.
    near(&cost["forced_share"], 0.495, 0.006);
    near(&cost["real"]["requests"]["jain"], 0.5, 1e-9);
    near(&cost["real"]["requests"]["variation"], 1.0, 1e-9);
    near(&cost["spread"]["p99"]["ratio"], 1.0, 0.01); // nobody else has answered
    assert_eq!(cost["blast_radius"]["sessions"], 1);
    let home = cost["blast_radius"]["backend"].as_str().unwrap();
    assert_eq!(cost["real"]["in_flight_time"]["busiest"], home);
    let words = cost["in_words"].as_str().unwrap();
    let percent = (cost["headroom_cost"].as_f64().unwrap() * 100.0).round();
    assert!(words.contains(&format!("makes {home} need {percent} % more capacity")), "{words}");
    // The same in the metrics, over each window.
    let scrape = proxy.scrape();
    for window in ["1m", "5m"] {
        let labels = [("window", window), ("of", "requests"), ("world", "real")];
        assert_eq!(scrape.value("stickler_cost_peak_to_mean_ratio", &labels), 2.0);
    }
    let headroom = scrape.value("stickler_cost_headroom_ratio", &[("window", "1m")]);
    near(&cost["headroom_cost"], headroom, 0.01);
    assert_eq!(scrape.value("stickler_cost_blast_radius_sessions", &[]), 1.0);
}

#[test]
fn without_affinity_there_is_no_cost() {
    let backends = [steady(), steady()];
    let settings = "balance = \"round_robin\"\n";
    let proxy = measured(Proxy::configured(ON, &[&backends[0], &backends[1]], settings));
    let mut visitor = Client::connect(proxy.address());
    for _ in 0..100 {
        visitor.get("/", "");
    }
    let cost = cost(&proxy.admin(), 100);
    near(&cost["real"]["requests"]["peak_to_mean"], 1.0, 0.0);
    near(&cost["headroom_cost"], 0.0, 0.1);
    near(&cost["forced_share"], 0.0, 0.0);
    let words = cost["in_words"].as_str().unwrap();
    assert!(words.starts_with("Sessions do not stick here, which costs nothing: b"), "{words}");
    assert!(cost["blast_radius"].is_null(), "there are no sessions");
    assert!(cost["real"]["sessions"]["peak_to_mean"].is_null());
}

#[test]
fn what_is_not_known_is_not_told() {
    let [b0, b1] = apps();
    let proxy = Proxy::configured(ON, &[&b0, &b1], COOKIE);
    let admin = proxy.admin();
    wait_until("there are figures", || !admin.get("/v1/pools/pool")["cost"][2].is_null());
    let cost = admin.get("/v1/pools/pool")["cost"].clone();
    for window in cost.as_array().unwrap() {
        assert_eq!((&window["requests"], &window["is_meaningful"]), (&0.into(), &false.into()));
        for figure in ["headroom_cost", "forced_share", "spread", "blast_radius"] {
            assert!(window.get(figure).is_none(), "{figure} of {window}");
        }
        assert_eq!(window["real"]["requests"], serde_json::json!({}));
        assert!(window["in_words"].as_str().unwrap().starts_with("No request has ended"));
    }
    let scrape = proxy.scrape();
    let told: Vec<_> = scrape.names().into_iter().filter(|name| name.contains("_cost_")).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_pool_that_is_not_measured_has_no_cost() {
    let [b0, b1] = apps();
    let first = pool(&[b0.address.to_string()], COOKIE);
    let settings = format!("measure_cost = false\n{COOKIE}cookie = {{ name = \"other\" }}\n");
    let other = pool(&[b1.address.to_string()], &settings);
    let other = other.replace("pools.pool", "pools.other");
    let routes = "[[routes]]\npath = \"/other\"\npool = \"other\"\n[[routes]]\npool = \"pool\"\n";
    let proxy = Proxy::with(&format!("{ON}{routes}{first}{other}"));
    let proxy = measured(proxy);
    let admin = proxy.admin();
    get(proxy.address(), "/", "");
    get(proxy.address(), "/other", "");
    wait_until("there are figures", || admin.get("/v1/pools/pool")["cost"][1]["requests"] == 1);
    assert_eq!(admin.get("/v1/pools/other").get("cost"), None);
}

#[test]
fn moves_are_counted_once_a_session_by_reason() {
    let [b0, b1] = apps();
    let proxy = measured(Proxy::configured(ON, &[&b0, &b1], COOKIE));
    let admin = proxy.admin();
    let mut visitor = Visitor::new(proxy.address());
    let old = visitor.visit()[..2].to_owned();
    let with_old_token = visitor.cookie_line();
    if old == "b0" {
        b0.die()
    } else {
        b1.die()
    }
    visitor.visit();
    visitor.visit();
    get(proxy.address(), "/", &with_old_token); // one that was sent before the answer came
    let moves = || admin.get("/v1/pools/pool")["cost"][1]["moves"].clone();
    wait_until("the move is in the figures", || moves() == serde_json::json!({ "ejected": 1 }));
    let moved = || proxy.scrape().value("stickler_moved_sessions_total", &[("reason", "ejected")]);
    assert_eq!(moved(), 1.0);
}

/// However a request ends, its time counts, in both worlds.
#[test]
fn the_time_in_flight_is_that_of_the_request() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            match request.target.as_str() {
                "/stream" => {
                    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
                    std::thread::sleep(Duration::from_millis(200));
                    conversation.send("cd");
                }
                "/breaks" => {
                    std::thread::sleep(Duration::from_millis(200));
                    return;
                }
                "/held" => {
                    held.wait();
                    return;
                }
                _ => {
                    std::thread::sleep(Duration::from_millis(200));
                    conversation.answer(200, "ok");
                }
            }
        }
    });
    let proxy = Proxy::before(&[&backend], "attempts = 1\n");
    let work = || {
        let readings = proxy.pool().readings().members;
        let Work { busy, .. } = readings[0].real;
        assert_eq!(readings[0].even.busy, busy, "there is nowhere else in the even world");
        Duration::from_nanos(busy)
    };
    let mut before = Duration::ZERO;
    for target in ["/", "/stream", "/breaks"] {
        let mut client = Client::connect(proxy.address());
        client.get(target, "");
        proxy.wait_until_quiet();
        let took = work() - before;
        let range = Duration::from_millis(195)..Duration::from_secs(2);
        assert!(range.contains(&took), "{target}: {took:?}");
        before = work();
    }
    let mut client = Client::connect(proxy.address());
    client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    std::thread::sleep(Duration::from_millis(200)); // the time that is to be measured
    drop(client);
    proxy.wait_until_quiet();
    gate.open();
    let took = work() - before;
    assert!(took >= Duration::from_millis(195), "a client that left: {took:?}");
}
