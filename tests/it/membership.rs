//! Weights, and backends that are added and removed, by command.

use serde_json::Value;

use crate::operate::{STICKY, json, proxy, run};
use crate::support::{Admin, Files, ON, Proxy, Visitor, app, apps, wait_until};

fn weights(admin: &Admin) -> Vec<(String, u64)> {
    let pool = admin.get("/v1/pools/pool");
    let backends = pool["backends"].as_array().unwrap().iter();
    backends
        .map(|b| (b["name"].as_str().unwrap().to_owned(), b["weight"].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_weight_is_set_and_said() {
    let apps = apps::<2>();
    let (_proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let ended = run(&admin, &["weight", "pool/b0", "3"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "pool/b0 has weight 3: its fair share is 75.0 %\n");
    assert_eq!(weights(&admin), [("b0".into(), 3), ("b1".into(), 1)]);
    assert_eq!(json(&run(&admin, &["weight", "pool/b0", "0", "--json"]))["weight"], 0);
    assert_eq!(run(&admin, &["weight", "pool/b0", "65536"]).code, Some(2));
    assert_eq!(run(&admin, &["weight", "pool/b0"]).code, Some(2));
    let unknown = run(&admin, &["weight", "pool/b7", "1"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("the backends are b0, b1"), "{unknown:?}");
}

#[test]
fn a_backend_is_added_takes_sessions_and_leaves_when_they_have() {
    let one = app(0);
    let other = app(1);
    let settings = format!("balance = \"least_connections\"\n{STICKY}idle_timeout = \"1s\"\n");
    let proxy = Proxy::configured(ON, &[&one], &settings);
    let admin = proxy.admin();
    let address = other.address.to_string();
    let added = run(&admin, &["add", "pool/b1", &address, "--weight", "100"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(added.stdout, format!("pool/b1 is a member now, at {address}: it is ready\n"));
    let again = run(&admin, &["add", "pool/b1", &address]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("choose another name"), "{again:?}");
    assert_eq!(run(&admin, &["add", "pool/b2", "nowhere"]).code, Some(2));
    let mut bound = loop {
        let mut visitor = Visitor::new(proxy.address());
        if visitor.visit() == "b1 new" {
            break visitor;
        }
    };
    let leaving = run(&admin, &["remove", "pool/b1"]);
    assert_eq!(leaving.code, Some(0), "{leaving:?}");
    assert!(leaving.stdout.starts_with("pool/b1 is leaving: "), "{leaving:?}");
    assert!(!leaving.stdout.contains("comes back"), "{leaving:?}");
    assert_eq!(bound.visit(), "b1 bound");
    wait_until("it is gone", || weights(&admin).len() == 1);

    let refused = run(&admin, &["remove", "pool/b0"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    wait_until("nobody is bound there", || proxy.member("b0").sessions() == 0);
    let forced = run(&admin, &["remove", "pool/b0", "--force"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert!(forced.stdout.contains("is removed") && forced.stdout.contains("next reload"));
    assert_eq!(run(&admin, &["remove", "pool/b0"]).code, Some(1));
}

#[test]
fn a_session_is_shown_with_why_it_is_where_it_is() {
    let apps = apps::<2>();
    let files = Files::with("");
    let log = files.write("access.log", "");
    let tables = format!("{ON}[server.access_log]\npath = \"{log}\"\n");
    let proxy = Proxy::configured(&tables, &[&apps[0], &apps[1]], STICKY);
    let admin = proxy.admin();
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let other = if home == "b0" { "b1" } else { "b0" };
    let mut session = String::new();
    wait_until("the access log has its id", || {
        let text = std::fs::read_to_string(&log).unwrap();
        let line = text.lines().next().and_then(|line| serde_json::from_str(line).ok());
        let id = line.and_then(|line: Value| line["session"].as_str().map(str::to_owned));
        session = id.unwrap_or_default();
        !session.is_empty()
    });
    let show = |format: &[&str]| run(&admin, &[&["sessions", "show", &session], format].concat());
    let shown = show(&[]);
    assert!(shown.stdout.contains("it began there; its next request is served there"), "{shown:?}");
    let began = json(&show(&["--json"]));
    assert_eq!((&began["cause"], &began["reason"]), (&"new".into(), &Value::Null));
    run(&admin, &["maintenance", &format!("pool/{home}")]);
    assert!(visitor.visit().starts_with(other));
    let moved = json(&show(&["--json"]));
    let expected = serde_json::json!({ "cause": "moved", "reason": "down", "from": home });
    for key in ["cause", "reason", "from"] {
        assert_eq!(moved[key], expected[key], "{moved}");
    }
    assert!(moved["since"].as_str() > began["since"].as_str(), "{moved}");
    assert!(show(&[]).stdout.contains(&format!("it moved there from {home} (down)")));
}
