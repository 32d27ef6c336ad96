//! `stickler bench`: real app servers of every kind, Redis, the proxy, and clients that notice what
//! becomes of their sessions.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use stickler::clock::Stopwatch;

use crate::support::{Ended, PATIENCE, Process, stickler, wait_until};

/// The runs of a short bench with these arguments.
fn runs(arguments: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let page = directory.path().join("report.html");
    let outputs = ["--json", json.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let short = ["bench", "--quick", "--backends", "2", "--load", "20"];
    let ended = finished(&[&short[..], arguments, &outputs].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("\nVerdict\n"), "{}", ended.stdout);
    assert!(fs::read_to_string(page).unwrap().ends_with("</html>"));
    let shown = stickler(&["report", json.to_str().unwrap()]);
    assert_eq!(shown.stdout, ended.stdout, "a kept report says the same");
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    report["runs"].as_array().unwrap().clone()
}

/// Runs `stickler` until it ends: a bench is dozens of processes, one after the other, and takes
/// its time on a busy machine.
fn finished(arguments: &[&str]) -> Ended {
    let mut process = Process::stickler(arguments);
    let clock = Stopwatch::start();
    while !process.has_ended() && clock.elapsed() < 5 * PATIENCE {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    process.end()
}

fn count(run: &Value, what: &[&str]) -> u64 {
    let found = what.iter().fold(run, |value, key| &value[key]);
    found.as_u64().unwrap_or_else(|| panic!("{what:?} in {run}"))
}

fn assert_unharmed(run: &Value) {
    assert!(count(run, &["requests"]) > 20, "{run}");
    assert_eq!(count(run, &["errors"]), 0, "{run}");
    assert_eq!(count(run, &["sessions", "lost"]), 0, "{run}");
    assert!(count(run, &["sessions", "seen"]) > 3, "{run}");
    assert!(run["latency"]["p50"].as_f64().unwrap() > 1.0, "{run}");
    assert_eq!(run["load"]["backends"].as_array().unwrap().len(), 2, "{run}");
}

#[test]
fn sessions_are_kept_in_redis_and_in_tokens_without_affinity() {
    let runs = runs(&["--policy", "redis,jwt", "--scenario", "steady", "--for", "1s"]);
    assert_eq!(runs.len(), 2);
    runs.iter().for_each(assert_unharmed);
    assert!(runs[0]["details"]["state_ms"]["p50"].as_f64().unwrap() > 0.01, "{}", runs[0]);
    for run in &runs {
        let predicted = run["details"]["predicted"]["p50"].as_f64().unwrap();
        assert!(predicted > 3.0, "the simulator knows that requests take time: {run}");
    }
    let bytes = |run: &Value| run["details"]["request_bytes"].as_f64().unwrap();
    assert!(bytes(&runs[1]) > bytes(&runs[0]) * 1.3, "a token is larger than an id");
}

#[test]
fn live_channels_work_through_the_proxy() {
    let runs = runs(&["--policy", "websocket,hybrid", "--scenario", "steady", "--for", "1s"]);
    runs.iter().for_each(assert_unharmed);
    assert!(runs.iter().all(|run| count(run, &["details", "channels_cut"]) == 0), "{runs:?}");
}

#[test]
fn sessions_in_memory_need_affinity_and_its_lack_is_noticed() {
    let runs = runs(&["--policy", "sticky,hash,none", "--scenario", "steady", "--for", "1s"]);
    assert_unharmed(&runs[0]);
    assert_unharmed(&runs[1]);
    assert_eq!(count(&runs[0], &["sessions", "moved"]), 0);
    let [lost, moved] = ["lost", "moved"].map(|what| count(&runs[2], &["sessions", what]));
    assert!(lost > 0, "{}", runs[2]);
    // Who does not know a session has answered, too. Only sessions at the edges of the measured time
    // may have met one server alone.
    assert!(2 * moved >= lost, "{}", runs[2]);
}

#[test]
fn a_crash_loses_the_sessions_of_one_server_and_none_in_redis() {
    // Long thoughts make many sessions at once.
    let long = ["--think", "exp:200ms", "--for", "2s"];
    let runs = runs(&[&["--policy", "sticky,redis", "--scenario", "crash"][..], &long].concat());
    let lost = count(&runs[0], &["sessions", "lost"]);
    assert!(lost > 0 && lost < count(&runs[0], &["sessions", "seen"]), "{}", runs[0]);
    assert_eq!(count(&runs[1], &["sessions", "lost"]), 0, "{}", runs[1]);
}

#[test]
fn a_server_that_is_drained_before_its_restart_takes_no_session_with_it() {
    let runs = runs(&["--policy", "sticky", "--scenario", "rolling-deploy-drain", "--for", "1s"]);
    let run = &runs[0];
    assert_eq!(count(run, &["sessions", "lost"]), 0, "{run}");
    assert_eq!(run["details"]["drain_seconds"].as_array().unwrap().len(), 2, "{run}");
}

#[test]
fn a_fleet_grows_and_shrinks_by_reloads() {
    let both = ["--policy", "sticky", "--scenario", "scale-out,scale-in", "--for", "1500ms"];
    let runs = runs(&both);
    runs.iter().for_each(|run| assert_eq!(count(run, &["errors"]), 0, "{run}"));
    let share = &runs[0]["details"]["newcomers_share"];
    assert!(share["actual"].as_f64().unwrap() > 0.0, "{}", runs[0]);
    assert_eq!(runs[1]["details"]["drain_seconds"].as_array().unwrap().len(), 1, "{}", runs[1]);
}

/// The processes below this one, whose parent may be gone by now.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // pid (name) state parent ...; a name may have anything in it.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            if rest.split(' ').nth(1) == Some(&parent.to_string()) {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

#[test]
fn no_process_outlives_it_however_it_ends() {
    for signal in ["TERM", "KILL"] {
        let bench = Process::stickler(&["bench", "--policy", "redis", "--for", "1m"]);
        let mut children = Vec::new();
        // Four app servers, the proxy and Redis, and a leash for each of the latter.
        wait_until("everything runs", || {
            children = descendants(bench.id());
            children.len() == 8
        });
        bench.signal(signal);
        let ended = bench.end();
        assert_ne!(ended.code, Some(0), "{signal}: {ended:?}");
        let is_alive = |pid: &u32| {
            let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
            // One that has ended and is not waited for is no process any more.
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        wait_until("all of them are gone", || !children.iter().any(is_alive));
    }
}

#[test]
fn mistakes_are_found_before_anything_is_measured() {
    let ended = stickler(&["bench", "--quick", "--json", "/nonexistent/report.json"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("cannot write /nonexistent/report.json"), "{ended:?}");
    let absent = ["bench", "--quick", "--policy", "redis", "--redis-server", "/nonexistent/redis"];
    let ended = stickler(&absent);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("apt-get install redis-server"), "{ended:?}");
    let ended = stickler(&["report", "/nonexistent/report.json"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
