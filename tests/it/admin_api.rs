//! The admin API: what it shows is true, what it does is done, and what it refuses it explains.

use serde_json::{Value, json};

use crate::support::{Admin, Backend, Client, ON, Proxy, Visitor, apps, get, wait_until};

const STICKY: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

fn proxy(backends: &[&Backend], settings: &str) -> (Proxy, Admin) {
    let proxy = Proxy::configured(ON, backends, settings);
    let admin = proxy.admin();
    (proxy, admin)
}

#[test]
fn pools_are_shown_as_they_are() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]], STICKY);
    let mut visitors: Vec<_> = (0..6).map(|_| Visitor::new(proxy.address())).collect();
    visitors.iter_mut().for_each(|visitor| drop((visitor.visit(), visitor.visit())));
    proxy.wait_until_quiet();
    let pools = admin.get("/v1/pools");
    let pool = &pools["pools"][0];
    assert_eq!((&pool["name"], &pool["sessions"]), (&json!("pool"), &json!(6)));
    assert_eq!(pool["affinity"]["mode"], "cookie");
    let backends = pool["backends"].as_array().unwrap();
    let sum = |key: &str| backends.iter().map(|b| b[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("requests"), sum("sessions"), sum("in_flight")), (12, 6, 0));
    for (i, backend) in backends.iter().enumerate() {
        assert_eq!(backend["name"], format!("b{i}"));
        assert_eq!(backend["address"], apps[i].address.to_string());
        assert_eq!((&backend["state"], &backend["fair_share"]), (&json!("ready"), &json!(0.5)));
        let placed = &backend["placed"];
        assert_eq!(placed["new"], backend["sessions"], "{backend}");
        assert_eq!(placed["bound"], backend["sessions"]);
        assert_eq!(backend["outcomes"]["success"], backend["requests"]);
    }
    assert_eq!(admin.get("/v1/pools/pool")["sessions"], 6);
    let counts = admin.get("/v1/sessions");
    assert_eq!(counts["pools"][0]["sessions"], 6);
    let process = admin.get("/v1/process");
    assert_eq!(process["listeners"], json!([proxy.address().to_string()]));
    assert_eq!(process["pid"], std::process::id());
}

#[test]
fn a_request_in_flight_is_seen() {
    let (started, release) = (crate::support::Gate::new(), crate::support::Gate::new());
    let (is_started, is_released) = (started.clone(), release.clone());
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            is_started.open();
            is_released.wait();
            conversation.answer(200, "");
        }
    });
    let (proxy, admin) = proxy(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    started.wait();
    assert_eq!(admin.backend("b0")["in_flight"], 1);
    assert_eq!(admin.get("/v1/pools/pool")["in_flight"], 1);
    release.open();
    assert_eq!(client.response().status, 200);
    wait_until("it is over", || admin.backend("b0")["in_flight"] == 0);
}

#[test]
fn a_drain_is_begun_followed_and_ended() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]], STICKY);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let other = if home == "b0" { "b1" } else { "b0" };
    let path = format!("/v1/pools/pool/backends/{home}");
    assert_eq!(admin.send("GET", &format!("{path}/drain"), "", "").status, 404, "it never drained");
    let drained = admin.post(&format!("{path}/drain"), r#"{"deadline": "1h"}"#);
    assert_eq!((&drained["state"], &drained["drain"]["sessions"]), (&json!("draining"), &json!(1)));
    assert_eq!(visitor.visit(), format!("{home} bound"), "who is bound stays");
    assert!(Visitor::new(proxy.address()).visit().starts_with(other), "who is new does not come");
    let progress = admin.get(&format!("{path}/drain"));
    assert!(progress["deadline"].as_str().unwrap() > progress["since"].as_str().unwrap());
    assert_eq!((&progress["sessions_at_start"], &progress["left"]), (&json!(1), &json!(0)));
    // Nobody waits any longer.
    admin.post(&format!("{path}/drain"), r#"{"deadline": "0s"}"#);
    let moved = format!("{other} moved");
    wait_until("the visitor has moved", || visitor.visit().starts_with(&moved));
    wait_until("it is drained", || admin.backend(&home)["state"] == "drained");
    let report = admin.get(&format!("{path}/drain"));
    assert_eq!(report["moved_by_reason"], json!({"draining": 1}), "{report}");
    assert!(report["ended"].is_string() && report["was_cancelled"] == false, "{report}");
    assert_eq!(admin.get("/v1/pools/pool")["reasons"], json!({"draining": 1}));
    assert_eq!(admin.post(&format!("{path}/ready"), "")["state"], "ready");
    let history = admin.backend(&home)["history"].clone();
    let states: Vec<_> = history.as_array().unwrap().iter().map(|e| e["to"].clone()).collect();
    assert_eq!(states, [json!("ready"), json!("drained"), json!("draining")], "the latest first");
}

#[test]
fn the_last_ready_backend_is_not_taken_unless_forced() {
    let apps = apps::<2>();
    let (_proxy, admin) = proxy(&[&apps[0], &apps[1]], STICKY);
    let path = |name: &str, what: &str| format!("/v1/pools/pool/backends/{name}{what}");
    assert_eq!(admin.post(&path("b0", "/maintenance"), "")["state"], "maintenance");
    for (method, what) in [("POST", "/drain"), ("POST", "/maintenance"), ("DELETE", "")] {
        let (status, problem) = admin.order(method, &path("b1", what), "");
        assert_eq!(status, 409, "{problem}");
        assert_eq!(problem["type"], "urn:stickler:problem:last-ready");
        assert!(problem["help"].as_str().unwrap().contains("force"), "{problem}");
    }
    assert_eq!(admin.backend("b1")["state"], "ready", "nothing has changed");
    assert_eq!(
        admin.post(&path("b1", "/maintenance"), r#"{"force": true}"#)["state"],
        "maintenance"
    );
    let ready = admin.send("GET", "/readyz", "", "");
    assert_eq!(ready.status, 503);
    let ready: Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!(ready["pools_without_ready_backend"], json!(["pool"]));
    admin.post(&path("b1", "/ready"), "{}");
    assert_eq!(admin.get("/readyz")["ready"], true);
    assert_eq!(admin.send("GET", "/healthz", "", "").text(), "ok\n");
}

#[test]
fn a_weight_is_set_at_run_time() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]], "balance = \"round_robin\"\n");
    let weight = |body: &str| admin.order("POST", "/v1/pools/pool/backends/b0/weight", body);
    let (status, backend) = weight(r#"{"weight": 3}"#);
    assert_eq!(
        (status, &backend["weight"], &backend["fair_share"]),
        (200, &json!(3), &json!(0.75))
    );
    for _ in 0..8 {
        assert_eq!(get(proxy.address(), "/", "").status, 200);
    }
    assert_eq!(proxy.member("b0").placed().iter().sum::<u64>(), 6);
    assert_eq!(weight(r#"{"weight": 65536}"#).0, 422);
    assert_eq!(weight(r#"{"weight": -1}"#).0, 422);
    assert_eq!(weight("").0, 400);
    // Not for the last one, as with a drain.
    admin.post("/v1/pools/pool/backends/b1/weight", r#"{"weight": 0}"#);
    let (status, problem) = weight(r#"{"weight": 0}"#);
    assert_eq!((status, &problem["type"]), (409, &json!("urn:stickler:problem:last-ready")));
    assert_eq!(admin.backend("b0")["weight"], 3);
    let (status, backend) = weight(r#"{"weight": 0, "force": true}"#);
    assert_eq!((status, &backend["weight"]), (200, &json!(0)));
}

#[test]
fn backends_come_and_go_at_run_time() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0]], STICKY);
    let new = format!(r#"{{"name": "b1", "address": "{}", "weight": 2}}"#, apps[1].address);
    let response =
        admin.send("POST", "/v1/pools/pool/backends", "Content-Type: application/json\r\n", &new);
    assert_eq!(response.status, 201, "{}", response.text());
    assert_eq!(response.field("location"), Some("/v1/pools/pool/backends/b1"));
    let added = admin.backend("b1");
    assert_eq!((&added["weight"], &added["origin"]), (&json!(2), &json!("operator")));
    assert_eq!(admin.backend("b0")["origin"], "file");
    wait_until("it is used", || Visitor::new(proxy.address()).visit().starts_with("b1"));
    let (status, problem) = admin.order("POST", "/v1/pools/pool/backends", &new);
    assert_eq!((status, &problem["type"]), (409, &json!("urn:stickler:problem:name-taken")));
    for bad in [
        r#"{"name": "a b", "address": "127.0.0.1:1"}"#,
        r#"{"name": "x", "address": "127.0.0.1"}"#,
        r#"{"name": "x", "address": "127.0.0.1:1", "weight": 65536}"#,
        r#"{"name": "x", "address": "127.0.0.1:1", "max_connections": 0}"#,
        r#"{"name": "x", "address": "127.0.0.1:1", "wait": 1}"#,
        r#"{"name": "x"}"#,
    ] {
        let (status, problem) = admin.order("POST", "/v1/pools/pool/backends", bad);
        assert_eq!(status, 422, "{bad}: {problem}");
    }
    let (_, removal) = admin.order("DELETE", "/v1/pools/pool/backends/b1", "");
    assert_eq!(
        removal,
        json!({"is_leaving": true, "comes_back": false}),
        "a session is bound there"
    );
    assert_eq!(admin.backend("b1")["state"], "draining");
    assert_eq!(admin.order("DELETE", "/v1/pools/pool/backends/b1", "").1["status"], 409);
}

#[test]
fn a_session_is_found_by_its_id() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(
        &[&apps[0], &apps[1]],
        "[pools.pool.affinity]\nmode = \"hash\"\nkey = { header = \"x-user\" }\n",
    );
    let home = get(proxy.address(), "/", "X-User: ada\r\n").text()[..2].to_owned();
    for (bad, status) in [("xyz", 400), ("0123456789abcdeg", 400), ("0123456789abcdef", 404)] {
        let (found, problem) = admin.order("GET", &format!("/v1/sessions/{bad}"), "");
        assert_eq!(found, status, "{problem}");
    }
    let counts = admin.get("/v1/sessions")["pools"][0]["backends"].clone();
    for backend in counts.as_array().unwrap() {
        assert_eq!(backend["sessions"], u32::from(backend["backend"] == home.as_str()));
    }
}

#[test]
fn what_is_not_there_is_said_with_what_there_is() {
    let backend = Backend::named("b0");
    let (_proxy, admin) = proxy(&[&backend], "");
    for (method, target, status, told) in [
        ("GET", "/nothing", 404, "/openapi.json"),
        ("GET", "/v1/pools/x", 404, "the pools are pool"),
        ("GET", "/v1/pools/pool/backends/x", 404, "the backends are b0"),
        ("POST", "/v1/pools/pool/backends/x/drain", 404, "the backends are b0"),
        ("POST", "/v1/pools/x/backends/b0/ready", 404, "the pools are pool"),
        ("POST", "/v1/pools", 405, "does not take POST"),
        ("PUT", "/v1/pools/pool/backends/b0/drain", 405, "does not take PUT"),
        ("GET", "/v1/events?figures=maybe", 400, "figures"),
        ("GET", "/v1/pools/%ff", 400, "UTF-8"),
        ("GET", "/v1/reload", 404, "nothing was reloaded"),
    ] {
        let response = admin.send(method, target, "", "");
        let text = response.text();
        assert_eq!(response.status, status, "{method} {target}: {text}");
        assert_eq!(response.field("content-type"), Some("application/problem+json"), "{target}");
        assert!(text.contains(told), "{target}: {text}");
        assert_eq!(response.field("allow").is_some(), status == 405, "{target}");
    }
    let drain = |lines: &str, body: &str| {
        admin.send("POST", "/v1/pools/pool/backends/b0/drain", lines, body).status
    };
    let json = "Content-Type: application/json\r\n";
    assert_eq!(drain(json, "{"), 400);
    assert_eq!(drain(json, r#"{"deadline": 5}"#), 422);
    assert_eq!(drain(json, r#"{"deadline": "5 potatoes"}"#), 422);
    assert_eq!(drain(json, r#"{"dedline": "5s"}"#), 422);
    assert_eq!(drain("", r#"{"force": true}"#), 415);
}

/// Nothing is changed by a GET, whatever it says.
#[test]
fn a_get_changes_nothing() {
    let apps = apps::<2>();
    let (_proxy, admin) = proxy(&[&apps[0], &apps[1]], STICKY);
    let states = || -> Vec<Value> {
        let pools = admin.get("/v1/pools");
        let backends = pools["pools"][0]["backends"].as_array().unwrap().iter();
        backends.map(|b| json!([b["name"], b["state"], b["weight"]])).collect()
    };
    let before = states();
    let document = admin.get("/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 10);
    for path in paths.keys().filter(|path| *path != "/v1/events") {
        let path = path.replace("{pool}", "pool").replace("{backend}", "b0");
        let path = path.replace("{session}", "0123456789abcdef");
        for method in ["GET", "HEAD", "OPTIONS"] {
            let json = "Content-Type: application/json\r\n";
            let response = admin.send(method, &path, json, r#"{"force": true}"#);
            assert!(response.status < 500, "{method} {path}");
        }
    }
    assert_eq!(states(), before);
}
