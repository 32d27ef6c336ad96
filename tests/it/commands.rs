//! The commands: what they print where, and their exit codes.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ended, Files, Process, STICKLER, app_process, get, pool, stickler};

const GOOD: &str = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n\
                    [pools.shop.affinity]\nmode = \"cookie\"\n\
                    [[pools.shop.backends]]\nname = \"shop-1\"\naddress = \"10.0.0.11:3000\"\n";
const BAD: &str = "[[listeners]]\naddress = 8080\n\n[pools.shop]\nbalance = \"fair\"\n\n\
                   [[pools.shop.backends]]\nnmae = \"shop-1\"\naddress = \"10.0.0.11\"\n";

/// A directory with `good.toml` and `bad.toml`.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("good.toml"), GOOD).unwrap();
    fs::write(directory.path().join("bad.toml"), BAD).unwrap();
    directory
}

/// `stickler check` in that directory.
#[track_caller]
fn check(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(STICKLER);
    Process::start(command.current_dir(directory).arg("check").args(arguments)).end()
}

#[test]
fn check_prints_the_resolved_summary() {
    let directory = directory();
    let ended = check(directory.path(), &["good.toml"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for shown in
        ["good.toml is fine", "127.0.0.1:8080", "shop-1", "10.0.0.11:3000", "cookie", "30m"]
    {
        assert!(ended.stdout.contains(shown), "{shown:?} is not in {}", ended.stdout);
    }
}

#[test]
fn check_says_every_mistake_with_its_place_and_exits_with_2() {
    let directory = directory();
    let ended = check(directory.path(), &["bad.toml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    for line in ["bad.toml:2:", "bad.toml:5:", "bad.toml:8:", "bad.toml:9:"] {
        assert!(ended.stderr.contains(line), "{line} is not in {}", ended.stderr);
    }
    for help in ["least_connections", "`name`"] {
        assert!(ended.stderr.contains(help), "{help} is not in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains('\u{1b}'), "colors on a pipe: {}", ended.stderr);
}

#[test]
fn check_looks_at_every_file() {
    let directory = directory();
    let ended = check(directory.path(), &["bad.toml", "good.toml", "missing.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stdout.contains("good.toml is fine"));
    assert!(
        ended.stderr.contains("bad.toml:2:") && ended.stderr.contains("cannot read missing.toml")
    );
    let quiet = check(directory.path(), &["--quiet", "good.toml", "good.toml"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn check_finds_mistakes_even_if_nobody_reads_on() {
    let files = Files::with(&pool(&["127.0.0.1:1".into()], ""));
    let good = files.config().display().to_string();
    for files in [["/no/such.toml", good.as_str()], [good.as_str(), "/no/such.toml"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(STICKLER);
        let status = command.arg("check").args(files).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(2), "{files:?}");
    }
}

#[test]
fn check_can_speak_json() {
    let directory = directory();
    let ended = check(directory.path(), &["--json", "good.toml", "bad.toml", "missing.toml"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ok: Vec<_> = lines.iter().map(|line| (line["file"].clone(), line["ok"].clone())).collect();
    let expected = [("good.toml", true), ("bad.toml", false), ("missing.toml", false)];
    assert_eq!(ok, expected.map(|(file, ok)| (file.into(), ok.into())));
    let places: Vec<_> =
        lines[1]["mistakes"].as_array().unwrap().iter().map(|m| m["line"].clone()).collect();
    assert!([2, 5, 8, 9].iter().all(|&line| places.contains(&line.into())), "{places:?}");
}

#[test]
fn check_never_shows_a_secret() {
    const KEY: &str = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=";
    let directory = directory();
    let write = |text: &str| fs::write(directory.path().join("secret.toml"), text).unwrap();
    write(&format!("[token]\nkeys = [\"{KEY}\"]\n{GOOD}"));
    let good = check(directory.path(), &["secret.toml"]);
    write(&format!("[token]\nkeys = [\"{KEY}\", \"{}\"]\nx = 1\n{GOOD}", &KEY[..20]));
    let bad = check(directory.path(), &["secret.toml"]);
    assert_eq!((good.code, bad.code), (Some(0), Some(2)));
    for ended in [good, bad] {
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.contains(&KEY[..10]), "{said}");
    }
}

#[test]
fn the_shipped_configurations_are_fine() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for file in [
        "quickstart.toml",
        "sticky-cookie.toml",
        "hash.toml",
        "websocket.toml",
        "rolling-deploys.toml",
        "discovery.toml",
    ] {
        let mut command = Command::new(STICKLER);
        command.args(["check", file]).current_dir(&config);
        command.env("STICKLER_KEY", "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=");
        let ended = Process::start(&mut command).end();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{file}");
    }
}

#[test]
fn run_explains_the_mistakes_of_its_file_and_does_not_start() {
    let directory = directory();
    let bad = stickler(&["run", directory.path().join("bad.toml").to_str().unwrap()]);
    assert_eq!((bad.code, bad.stdout.as_str()), (Some(2), ""));
    assert!(bad.stderr.contains("bad.toml:2:") && !bad.stderr.contains("listening"));
    let missing = stickler(&["run", "/nonexistent/stickler.toml"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("cannot read /nonexistent/stickler.toml"), "{missing:?}");
}

#[test]
fn schema_prints_a_json_schema() {
    let ended = stickler(&["schema"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    for key in ["server", "token", "listeners", "routes", "pools"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let mut command = Command::new(STICKLER);
    let mut child = command.arg("schema").stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = stickler(&["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in ["run", "check", "schema", "demo", "app"] {
            assert!(ended.stdout.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn help_goes_to_standard_output_and_mistakes_to_standard_error() {
    for arguments in [&["--help"][..], &["help", "run"], &["check", "--help"], &["--version"]] {
        let ended = stickler(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(ended.stdout.contains("stickler"), "{arguments:?}");
    }
    for arguments in
        [&[][..], &["walk"], &["run"], &["check"], &["completions", "cmd"], &["app", "-x"]]
    {
        let ended = stickler(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains("--help"), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn app_says_where_it_listens_who_it_is_and_ends_when_asked() {
    let (app, address) = app_process("shop-7", "127.0.0.1:0");
    let whoami: Value = serde_json::from_slice(&get(address, "/whoami", "").body).unwrap();
    assert_eq!(whoami["server"], "shop-7");
    assert_eq!(get(address, "/healthz", "").text(), "ok\n");
    app.signal("TERM");
    assert_eq!(app.end().code, Some(0));
    let (mut orphan, _) = app_process("shop-8", "127.0.0.1:0");
    orphan.end_input();
    assert_eq!(orphan.end().code, Some(0), "its parent has gone");
}

#[test]
fn app_says_when_its_address_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = stickler(&["app", "--listen", &address]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&address), "{ended:?}");
}

#[test]
fn log_lines_can_be_json_and_can_be_turned_off() {
    let pool = "[[pools.p.backends]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";
    let (json, _) = Files::with(&format!("[server.log]\nformat = \"json\"\n{pool}")).run();
    let lines: Vec<Value> =
        json.stderr().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listens = |line: &&Value| line["message"].as_str().unwrap().starts_with("listening on ");
    assert_eq!(lines.iter().find(listens).unwrap()["level"], "INFO");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener = format!("[[listeners]]\naddress = \"{address}\"\n");
    let silent = Files::with(&format!("[server.log]\nfilter = \"off\"\n{listener}{pool}"));
    let ended = silent.start().end();
    assert_eq!(ended.code, Some(1));
    let error = format!("error: cannot listen on {address}");
    assert!(ended.stderr.starts_with(&error), "an error is no log line: {}", ended.stderr);
}
