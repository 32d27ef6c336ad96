//! `stickler simulate` and `stickler replay`: what they print, and that it is always the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Client, Ended, Process, Proxy, STICKLER, app, wait_until};

const SMALL: &str = "description = \"Small.\"\nwarm_up = \"2s\"\nduration = \"10s\"\n\
                     policies = [\"two_choices\", \"random+cookie\"]\n\
                     [fleet]\nbackends = 3\n[sessions]\nthink = \"exp:200ms\"\n\
                     [[events]]\nat = \"3s\"\ncrash = { down_for = \"2s\", noticed_after = \"500ms\" }\n";

#[track_caller]
fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(STICKLER);
    Process::start(command.current_dir(directory).args(arguments)).end()
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("small.toml"), SMALL).unwrap();
    directory
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let directory = directory();
    let json = |seed: &str, threads: &str| {
        let arguments =
            ["simulate", "small.toml", "--seed", seed, "--threads", threads, "--json", "-"];
        let ended = run(directory.path(), &arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        ended.stdout
    };
    let first = json("7", "1");
    assert_eq!(first, json("7", "2"));
    assert_ne!(first, json("8", "2"));
    let value: Value = serde_json::from_str(&first).unwrap();
    let cookie = &value["runs"][1];
    assert_eq!(cookie["policy"], "random+cookie");
    assert!(cookie["sessions"]["lost"].as_u64().unwrap() > 0, "a server died: {cookie}");
    assert!(cookie["cost"]["headroom"].is_number());
}

#[test]
fn a_table_and_a_verdict_are_printed_and_files_written() {
    let directory = directory();
    let arguments = [
        "simulate",
        "small.toml",
        "--sweep",
        "backends=3,5",
        "--json",
        "out.json",
        "--html",
        "out.html",
    ];
    let ended = run(directory.path(), &arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for shown in ["small.toml: Small.", "headroom", "random+cookie: stickiness "] {
        assert!(ended.stdout.contains(shown), "{shown:?} is not in {}", ended.stdout);
    }
    let json = fs::read_to_string(directory.path().join("out.json")).unwrap();
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["runs"].as_array().unwrap().len(), 4);
    let html = fs::read_to_string(directory.path().join("out.html")).unwrap();
    assert!(html.contains("<svg") && !html.contains("src=\"http"), "one page, no network");
    let command = "stickler simulate small.toml --policy two_choices,random+cookie --seed 1 --sweep \
                   backends=3,5";
    assert!(html.contains(command), "{html}");
    assert!(html.contains("next to random without affinity"), "the same verdict: {html}");
}

#[test]
fn mistakes_are_explained_and_exit_with_2() {
    let directory = directory();
    fs::write(directory.path().join("bad.toml"), "duration = \"5\"\n[fleet]\nbackend = 3\n")
        .unwrap();
    let ended = run(directory.path(), &["simulate", "bad.toml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    for shown in ["bad.toml:1:", "bad.toml:3:", "did you mean `backends`?"] {
        assert!(ended.stderr.contains(shown), "{shown:?} is not in {}", ended.stderr);
    }
    for (arguments, shown) in [
        (&["simulate", "stedy"][..], "The scenarios that come with Stickler: steady"),
        (&["simulate", "small.toml", "--policy", "randum"], "is not a balancer"),
        (&["simulate", "small.toml", "--sweep", "backend=3"], "cannot be varied"),
        (&["simulate", "small.toml", "--sweep", "backends=0"], "from 1 to"),
        (&["replay", "small.toml", "--session", "ip"], "is no session key"),
    ] {
        let ended = run(directory.path(), arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains(shown), "{shown:?} is not in {}", ended.stderr);
    }
}

#[test]
fn what_comes_with_stickler_is_listed_and_printed() {
    let directory = directory();
    let list = run(directory.path(), &["simulate", "--list"]).stdout;
    for name in ["steady", "skewed", "hot-session", "crash", "rolling-deploy", "scale-out"] {
        assert!(list.contains(name), "{list}");
    }
    // Descriptions stand below each other.
    let begin = |line: &str| {
        line.find("  ").map(|at| at + line[at..].len() - line[at..].trim_start().len())
    };
    let begins: std::collections::BTreeSet<_> = list.lines().map(begin).collect();
    assert_eq!(begins.len(), 1, "{list}");
    let printed = run(directory.path(), &["simulate", "crash", "--print"]).stdout;
    assert!(printed.contains("[[events]]"), "{printed}");
}

/// A combined log of so many requests, ten a second.
fn log(requests: u64) -> String {
    let line = |i: u64| {
        let (minute, second, user) = (i / 600 % 60, i / 10 % 60, i % 13);
        format!(
            "192.0.2.{user} - - [10/Oct/2025:13:{minute:02}:{second:02} +0000] \"GET / HTTP/1.1\" \
             200 5 \"-\" \"agent\"\n"
        )
    };
    (0..requests).map(line).collect()
}

#[test]
fn a_log_is_replayed() {
    let directory = directory();
    let text = format!("{}not a line\n", log(3_000));
    fs::write(directory.path().join("access.log"), text).unwrap();
    let arguments = ["replay", "access.log", "--backends", "2,3", "--html", "out.html"];
    let ended = run(directory.path(), &arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for shown in [
        "3000 requests of 13 sessions",
        "3001 lines (combined, session key user-agent+address)",
        "1 line could not be read",
        "line 3001: it does not have the format: not a line",
        "backends 3, two_choices+cookie: stickiness ",
    ] {
        assert!(ended.stdout.contains(shown), "{shown:?} is not in {}", ended.stdout);
    }
    let html = fs::read_to_string(directory.path().join("out.html")).unwrap();
    assert!(html.contains("<svg"), "{html}");
    assert!(html.contains("stickler replay access.log --policy two_choices,two_choices+cookie"));
    assert!(html.contains("--backends 2,3 --concurrency 64"), "{html}");
    let json = |_| run(directory.path(), &["replay", "access.log", "--json", "-"]).stdout;
    assert_eq!(json(1), json(2), "the same log, the same bytes");
}

#[test]
fn without_a_session_there_is_no_verdict() {
    let directory = directory();
    fs::write(directory.path().join("access.log"), log(350)).unwrap();
    let arguments = ["replay", "access.log", "--session", "cookie:sid", "--html", "out.html"];
    let ended = run(directory.path(), &arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for shown in [
        "350 requests without a session key",
        "No verdict on stickiness: no line has the session key cookie:sid. In such logs (combined) it",
        "can be made of address, user, header:referer and user-agent: see --session.",
    ] {
        assert!(ended.stdout.contains(shown), "{shown:?} is not in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains(": stickiness "), "{}", ended.stdout);
    let html = fs::read_to_string(directory.path().join("out.html")).unwrap();
    assert!(!html.contains(" headroom next to "), "{html}");
}

#[test]
fn lines_of_several_logs_are_named_with_their_log() {
    let directory = directory();
    let text = log(700);
    let half = text.lines().take(350).map(|line| format!("{line}\n")).collect::<String>();
    fs::write(directory.path().join("access.log.1"), format!("{half}rubbish\n")).unwrap();
    fs::write(directory.path().join("access.log"), text.replacen(&half, "", 1)).unwrap();
    let ended = run(directory.path(), &["replay", "access.log", "access.log.1"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("  access.log.1, line 351: "), "{}", ended.stdout);
}

#[test]
fn the_log_of_a_real_proxy_is_replayed_whatever_its_format() {
    for (lines, format, session) in
        [("", "stickler", "session"), ("format = \"combined\"", "combined", "user-agent+address")]
    {
        let directory = directory();
        let log = directory.path().join("access.log");
        let server = format!(
            "[server]\nworkers = 1\n[server.access_log]\npath = \"{}\"\n{lines}\n",
            log.display()
        );
        let backends = [app(1), app(2)];
        let affinity = "[pools.pool.affinity]\nmode = \"cookie\"\n";
        let proxy = Proxy::configured(&server, &[&backends[0], &backends[1]], affinity);
        for n in 0..3 {
            let agent = format!("User-Agent: visitor-{n}\r\n");
            let first = Client::connect(proxy.address()).get("/", &agent);
            let cookie = format!("{agent}Cookie: {}\r\n", first.cookie().unwrap());
            for _ in 0..4 {
                Client::connect(proxy.address()).get("/", &cookie);
            }
        }
        let text = || fs::read_to_string(&log).unwrap_or_default();
        wait_until("the lines are written", || text().matches('\n').count() == 15);

        let ended = run(directory.path(), &["replay", "access.log", "--json", "-"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{format}");
        let value: Value = serde_json::from_str(&ended.stdout).unwrap();
        let log = &value["log"];
        assert_eq!((&log["format"], &log["session"]), (&format.into(), &session.into()));
        for (what, count) in [("lines", 15), ("bad", 0), ("sessions", 3), ("without_session", 0)] {
            assert_eq!(log[what], count, "{format}, {what}: {log}");
        }
        let unknown = if format == "stickler" { 0 } else { 15 };
        assert_eq!(log["without_duration"], unknown, "{log}");
    }
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let directory = directory();
    let ended = run(directory.path(), &["replay", "small.toml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("small.toml: its format is none of"), "{}", ended.stderr);
    let ended = run(directory.path(), &["replay", "missing.log"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("missing.log"), "{}", ended.stderr);
}
