//! `stickler demo`: app servers, a proxy and users, and in the end a summary.

use std::path::Path;
use std::process::Command;

use crate::support::{Process, STICKLER, stickler, wait_until};

/// A demo on a free port, with these arguments.
fn demo(arguments: &[&str]) -> Process {
    let free = ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    Process::stickler(&[&free, arguments].concat())
}

/// The process ids of its app servers, as it tells them.
fn app_servers(demo: &str) -> Vec<u32> {
    demo.lines().filter_map(|line| line.rsplit_once("  pid ")?.1.parse().ok()).collect()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn it_ends_by_itself_with_a_summary_and_leaves_nothing_behind() {
    let ended = demo(&["--for", "3s"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    let summary = &ended.stdout[ended.stdout.find("Summary of 3.").expect(&ended.stdout)..];
    for told in ["app-1", "app-2", "app-3", "peak-to-mean", " 0 lost, 0 failed", "latency"] {
        assert!(summary.contains(told), "{told:?} is not in {summary}");
    }
    assert!(!ended.stdout.contains('\u{1b}'), "it is not drawn on a pipe: {}", ended.stdout);
    let apps = app_servers(&ended.stdout);
    assert_eq!(apps.len(), 3, "{}", ended.stdout);
    assert!(!apps.into_iter().any(is_alive));
}

#[test]
fn it_speaks_https_if_asked_to() {
    let ended = demo(&["--tls", "--for", "3s"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for told in ["proxy   https://127.0.0.1:", " 0 lost, 0 failed"] {
        assert!(ended.stdout.contains(told), "{told:?} is not in {}", ended.stdout);
    }
    let config = stickler(&["demo", "--tls", "--print-config"]).stdout;
    assert!(config.contains("cert = \"demo.pem\", key = \"demo.key\""), "{config}");
}

#[test]
fn a_table_that_does_not_fit_on_the_terminal_becomes_lines() {
    let drawn_over = |lines: u16| {
        let demo = format!(
            "stty rows {lines} cols 100; {STICKLER} demo --listen 127.0.0.1:0 --for 1500ms"
        );
        let mut script = Command::new("script");
        let ended =
            Process::of_package("bsdutils", script.args(["-qec", &demo, "/dev/null"])).end();
        assert!(ended.stdout.contains("Summary"), "{}", ended.stdout);
        let is_upward = |sequence: &str| {
            sequence.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('F')
        };
        ended.stdout.split("\u{1b}[").any(is_upward)
    };
    assert!(drawn_over(40) && !drawn_over(6));
}

#[test]
fn without_affinity_it_shows_what_is_lost_and_with_hashing_nothing_is() {
    let quiet = ["--quiet", "--for", "2s", "--think", "exp:50ms"];
    let none = demo(&[&quiet[..], &["--affinity", "none"]].concat()).end();
    assert_eq!(none.code, Some(0), "{none:?}");
    assert!(none.stdout.starts_with("Summary"), "only the summary: {}", none.stdout);
    assert!(!none.stdout.contains(" 0 lost"), "{}", none.stdout);
    let hash = demo(&[&quiet[..], &["--affinity", "hash"]].concat()).end();
    assert_eq!(hash.code, Some(0), "{hash:?}");
    assert!(hash.stdout.contains(" 0 lost, 0 failed"), "{}", hash.stdout);
}

#[test]
fn the_end_of_an_app_server_is_told_and_costs_its_sessions_only() {
    let demo = demo(&["--think", "exp:50ms"]);
    wait_until("it is under way", || demo.stdout().contains(" total "));
    let kill = format!("kill -9 {}", app_servers(&demo.stdout())[0]);
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    wait_until("it has noticed", || demo.stdout().contains("app-1  down"));
    demo.signal("TERM");
    let ended = demo.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("app-1 has ended"), "{}", ended.stdout);
    let moves = ended.stdout.lines().find(|line| line.starts_with(" moves")).unwrap();
    assert!(moves.contains("ejected") || moves.contains("down"), "{moves}");
}

#[test]
fn it_can_be_stopped_and_sums_up_all_the_same() {
    for signal in ["INT", "TERM"] {
        let demo = demo(&["--backends", "2", "--sessions", "5"]);
        wait_until("it is under way", || demo.stdout().contains("Ctrl-C ends the demo"));
        let apps = app_servers(&demo.stdout());
        demo.signal(signal);
        let ended = demo.end();
        assert_eq!(ended.code, Some(0), "{signal}: {ended:?}");
        assert!(ended.stdout.contains("Summary of"), "{signal}: {}", ended.stdout);
        assert!(apps.len() == 2 && !apps.into_iter().any(is_alive));
    }
}

#[test]
fn its_configuration_is_one_that_can_be_used() {
    for affinity in ["cookie", "hash", "none"] {
        let printed = stickler(&["demo", "--print-config", "--affinity", affinity]);
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("demo.toml");
        std::fs::write(&file, printed.stdout).unwrap();
        let mut check = Command::new(STICKLER);
        check.arg("check").arg(&file);
        check.env("STICKLER_KEY", "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=");
        let checked = Process::start(&mut check).end();
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{affinity}");
    }
}

#[test]
fn an_address_that_is_taken_is_said_to_be_and_no_app_server_is_left() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Process::stickler(&["demo", "--for", "1s", "--listen", &address]).end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{ended:?}");
}
