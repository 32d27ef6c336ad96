//! What the log says when a backend changes its state: who, why, and how many sessions are bound
//! there.

use serde_json::Value;

use crate::support::{CHECKS, Examined, Files, Process, Visitor, apps, get, pool, wait_until};

const SERVER: &str = "[server]\nworkers = 1\nstate_dir = \"state\"\nlog = { format = \"json\" }\n";
const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

/// The log lines of transitions so far, as `from, to, sessions: why`.
fn transitions(proxy: &Process) -> Vec<String> {
    let log = proxy.stderr();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines = lines.filter(|line: &Value| line["from"].is_string());
    let show = |line: Value| {
        assert_eq!((&line["pool"], &line["backend"]), (&"pool".into(), &"b0".into()), "{line}");
        assert!(line["in_flight"].is_u64() && line["timestamp"].is_string(), "{line}");
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        format!("{} {}, {}: {}", text("from"), text("to"), line["sessions"], text("message"))
    };
    lines.map(show).collect()
}

#[test]
fn a_transition_says_who_why_and_how_many_sessions_are_bound_there() {
    let [app] = [Examined::new(0)];
    let settings = format!("{CHECKS}fall = 1\nrise = 1\ndrain_status = 429\n{COOKIE}");
    let addresses = [app.backend.address.to_string()];
    let files = Files::with(&format!("{SERVER}{}", pool(&addresses, &settings)));
    let (proxy, address) = files.run();
    app.check("200 OK");
    for _ in 0..3 {
        Visitor::new(address).visit();
    }
    for answer in ["500 X", "200 OK", "429 X", "200 OK"] {
        app.check(answer);
    }
    assert_eq!(
        transitions(&proxy),
        [
            "ready down, 3: health check fails: status 500",
            "down ready, 3: health check passes",
            "ready draining, 3: the app asks to be drained",
            "draining ready, 3: the app is back",
        ]
    );
}

#[test]
fn an_ejection_and_its_end_are_transitions_too() {
    let [b0, b1] = apps();
    b0.die();
    let eject =
        "balance = \"round_robin\"\neject = { connect_failures = 2, duration = \"100ms\" }\n";
    let addresses = [b0.address.to_string(), b1.address.to_string()];
    let files = Files::with(&format!("{SERVER}{}", pool(&addresses, eject)));
    let (proxy, address) = files.run();
    for _ in 0..4 {
        assert_eq!(get(address, "/", "").status, 200);
    }
    wait_until("its ejection is over", || transitions(&proxy).len() > 1);
    assert_eq!(
        transitions(&proxy)[..2],
        ["ready ejected, 0: connections fail", "ejected ready, 0: its ejection is over"]
    );
}

#[test]
fn who_comes_up_and_asks_to_be_drained_was_never_ready() {
    let [app] = [Examined::new(0)];
    let settings = format!("{CHECKS}initial = \"down\"\ndrain_status = 429\n");
    let addresses = [app.backend.address.to_string()];
    let files = Files::with(&format!("{SERVER}{}", pool(&addresses, &settings)));
    let (proxy, _) = files.run();
    app.check("429 Leaving");
    let transitions = transitions(&proxy);
    let [first, second] = &transitions[..] else { panic!("{transitions:?}") };
    assert_eq!(first, "ready down, 0: not checked yet");
    assert!(second.starts_with("down draining, 0: ") && second.contains("asks to be drained"));
    let said = proxy.stderr();
    let line = said.lines().find(|line| line.contains("asks to be drained")).unwrap();
    assert!(line.contains("INFO"), "it is better off than before: {line}");
}
