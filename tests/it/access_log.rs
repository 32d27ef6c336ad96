//! The access log: a line for each request, however it ends.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use stickler::clock::Stopwatch;

use crate::support::{
    Backend, Client, Files, Gate, Process, Proxy, Visitor, app, get, pool, wait_until,
};

/// A directory for a log file, and the table that configures it.
struct Log {
    directory: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Log { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    /// `[server]` with the log, and these lines of it.
    fn server(&self, lines: &str) -> String {
        let path = self.path();
        format!(
            "[server]\nworkers = 2\nshutdown_timeout = \"100ms\"\n\
             [server.access_log]\npath = \"{}\"\n{lines}\n",
            path.display()
        )
    }

    /// The first so many lines, once they are there.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<String> {
        lines(&self.path(), count)
    }

    #[track_caller]
    fn json(&self, count: usize) -> Vec<Value> {
        self.lines(count).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[track_caller]
fn lines(path: &Path, count: usize) -> Vec<String> {
    let text = || std::fs::read_to_string(path).unwrap_or_default();
    wait_until("the lines are written", || text().matches('\n').count() >= count);
    let lines: Vec<_> = text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

#[test]
fn a_line_says_what_was_asked_what_came_of_it_and_nothing_secret() {
    let log = Log::new();
    let backend = Backend::answering(|request| {
        thread::sleep(Duration::from_millis(20)); // real time, since the line is to say it
        assert_eq!(request.body, b"abc");
        "HTTP/1.1 201 X\r\nContent-Length: 5\r\n\r\nhello".into()
    });
    let proxy = Proxy::configured(&log.server(""), &[&backend], COOKIE);
    let ask = |cookie: &str| {
        let mut client = Client::connect(proxy.address());
        client.send(format!(
            "POST /a/b?c=d HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: a \"b\\\r\n\
             Referer: http://x/\r\nAuthorization: Bearer sesame\r\nContent-Length: 3\r\n\
             {cookie}\r\nabc"
        ));
        client.response()
    };
    let cookie = ask("").cookie().unwrap();
    ask(&format!("Cookie: {cookie}\r\n"));
    let mut lines = log.json(2);
    lines.sort_by_key(|line| line["cause"] == "bound"); // two workers write in any order
    for (line, cause) in lines.iter().zip(["new", "bound"]) {
        for (key, value) in [
            ("client", "127.0.0.1"),
            ("method", "POST"),
            ("host", "shop.example"),
            ("path", "/a/b"),
            ("query", "c=d"),
            ("protocol", "HTTP/1.1"),
            ("user_agent", "a \"b\\"),
            ("referer", "http://x/"),
            ("pool", "pool"),
            ("backend", "b0"),
            ("cause", cause),
            ("end", "complete"),
        ] {
            assert_eq!(line[key], value, "{key}: {line}");
        }
        for (key, value) in [("status", 201), ("bytes_in", 3), ("bytes_out", 5), ("attempts", 1)] {
            assert_eq!(line[key], value, "{key}: {line}");
        }
        let micros = |key: &str| line[format!("{key}_us")].as_u64().unwrap();
        assert!(micros("head") >= 20_000 && micros("head") <= micros("duration"), "{line}");
        let phases = ["body", "queue", "connect", "failed", "head", "transfer"];
        let sum: u64 = phases.into_iter().map(micros).sum();
        assert!(micros("duration") - sum < 6, "the phases are the whole: {line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line.get("peer"), None);
    }
    assert_eq!(lines[0]["session"], lines[1]["session"]);
    assert_eq!(lines[0]["session"].as_str().unwrap().len(), 16);
    assert_ne!(lines[0]["request_id"], lines[1]["request_id"]);
    let text = std::fs::read_to_string(log.path()).unwrap();
    let token = cookie.split_once('=').unwrap().1;
    assert!(!text.contains("sesame") && !text.contains(token));
}

#[test]
fn every_end_has_its_line() {
    let log = Log::new();
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            match request.target.as_str() {
                "/slow" => held.wait(),
                "/broken" => {
                    return conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
                }
                "/half" => {
                    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
                    return conversation.wait_for_close();
                }
                _ => {}
            }
            conversation.answer(200, "ok");
        }
    });
    let routes = "[[routes]]\nhost = \"test\"\npool = \"pool\"\n";
    let tables = format!("{}{routes}", log.server(""));
    let proxy = Proxy::configured(&tables, &[&backend], "");
    let send = |target: &str, host: &str| {
        let mut client = Client::connect(proxy.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client
    };
    let mut count = 0;
    let mut expect = |expected: [&str; 5]| {
        count += 1;
        let line = log.json(count).pop().unwrap();
        let keys = ["path", "status", "end", "problem", "backend"];
        let found = keys.map(|key| match &line[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        assert_eq!(found, expected.map(str::to_owned), "{line}");
    };
    send("/", "test").response();
    expect(["/", "200", "complete", "null", "b0"]);
    let slow = send("/slow", "test");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    drop(slow);
    expect(["/slow", "null", "client_left", "null", "b0"]);
    gate.open();
    let mut half = send("/half", "test");
    half.head();
    half.reset();
    expect(["/half", "200", "client_left", "null", "b0"]);
    send("/broken", "test").rest();
    expect(["/broken", "200", "backend_broke", "null", "b0"]);
    send("/", "elsewhere").response();
    expect(["/", "404", "complete", "no_route", "null"]);
    send("/", "a b").response();
    expect(["/", "400", "complete", "bad_request", "null"]);
    Client::connect(proxy.address())
        .send("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n")
        .response();
    expect(["null", "400", "complete", "bad_request", "null"]);
    let id = proxy.member("b0").id();
    let now = stickler::clock::now();
    proxy.pool().set(id, stickler::balance::Condition::Down, true, now);
    send("/", "test").response();
    expect(["/", "503", "complete", "no_backend", "null"]);
}

#[test]
fn a_move_says_why_and_a_proxy_in_front_says_for_whom() {
    let log = Log::new();
    let backends = [app(0), app(1)];
    let listener =
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n";
    let tables = format!("{}{listener}", log.server("query = false"));
    let settings = format!("eject = {{ connect_failures = 1, duration = \"1h\" }}\n{COOKIE}");
    let proxy = Proxy::configured(&tables, &[&backends[0], &backends[1]], &settings);
    let mut visitor = Visitor::new(proxy.address());
    let home = usize::from(visitor.visit().starts_with("b1"));
    backends[home].die();
    let lines = format!("{}X-Forwarded-For: 192.0.2.9\r\n", visitor.cookie_line());
    assert_eq!(get(proxy.address(), "/?secret", &lines).status, 200);
    let line = log.json(2).pop().unwrap();
    assert_eq!((&line["cause"], &line["reason"]), (&"moved".into(), &"ejected".into()));
    assert_eq!(line["backend"], format!("b{}", 1 - home));
    assert!(line["attempts"].as_u64().unwrap() >= 2, "{line}");
    assert_eq!((&line["client"], &line["peer"]), (&"192.0.2.9".into(), &"127.0.0.1".into()));
    assert_eq!(line.get("query"), None);
}

#[test]
fn tunnels_have_a_line_when_they_end() {
    let log = Log::new();
    let backend = Backend::new(|mut conversation| {
        if !conversation.head().unwrap().starts_with("GET /t ") {
            return conversation.answer(200, "");
        }
        conversation.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        conversation.wait_for_close();
    });
    // One worker, which writes what it has to write in order.
    let server = log.server("").replace("workers = 2", "workers = 1");
    let proxy = Proxy::configured(&server, &[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET /t HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    client.head();
    let open = Stopwatch::start();
    get(proxy.address(), "/later", "");
    assert_eq!(log.json(1)[0]["path"], "/later", "the tunnel has none yet");
    let open = open.elapsed().as_micros() as u64;
    drop(client);
    let line = log.json(2).pop().unwrap();
    assert_eq!((&line["status"], &line["end"]), (&101.into(), &"complete".into()), "{line}");
    assert!(line["transfer_us"].as_u64().unwrap() >= open, "{open}: {line}");
}

#[test]
fn combined_lines_are_those_of_other_servers() {
    let log = Log::new();
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(&log.server("format = \"combined\""), &[&backend], "");
    get(proxy.address(), "/a?b", "User-Agent: x\"y\r\n");
    let line = log.lines(1).pop().unwrap();
    let (start, rest) = line.split_once('[').unwrap();
    let (_, rest) = rest.split_once(']').unwrap();
    assert_eq!(start, "127.0.0.1 - - ");
    assert_eq!(rest, " \"GET /a?b HTTP/1.1\" 200 5 \"-\" \"x\\x22y\"");
}

#[test]
fn a_log_that_cannot_be_opened_is_said_at_the_start() {
    let files = Files::with(&format!(
        "[server]\nstate_dir = \"state\"\n[server.access_log]\npath = \"no/such/dir/log\"\n{}",
        pool(&["127.0.0.1:1".into()], "")
    ));
    let ended = files.start().end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no/such/dir/log: No such file"), "{}", ended.stderr);
}

#[test]
fn a_signal_opens_the_file_anew_and_standard_output_is_one_as_well() {
    let backend = Backend::named("a");
    let files = Files::with(&format!(
        "[server]\nworkers = 1\nstate_dir = \"state\"\n[server.access_log]\npath = \"log\"\n{}",
        pool(&[backend.address.to_string()], "")
    ));
    let path = files.path().join("log");
    let rotated = files.path().join("log.1");
    let (proxy, address) = files.run();
    get(address, "/1", "");
    lines(&path, 1);
    std::fs::rename(&path, &rotated).unwrap();
    proxy.signal("USR1");
    // The signal is on its way; whatever is written before it comes goes to the old file.
    let mut asked = 1;
    wait_until("there is a new file", || {
        get(address, "/2", "");
        asked += 1;
        path.exists()
    });
    let count = |path: &Path| std::fs::read_to_string(path).unwrap().matches('\n').count();
    wait_until("nothing is lost", || count(&path) + count(&rotated) == asked);
    end(proxy);

    let config = std::fs::read_to_string(files.config()).unwrap();
    files.configure(&config.replace("path = \"log\"", "path = \"stdout\""));
    let (proxy, address) = files.run();
    get(address, "/3", "");
    proxy.signal("TERM");
    let ended = proxy.end();
    assert_eq!(ended.code, Some(0));
    let line: Value = serde_json::from_str(ended.stdout.trim_end()).unwrap();
    assert_eq!(line["path"], "/3", "what is left is written at the end");
}

fn end(proxy: Process) {
    proxy.signal("TERM");
    assert_eq!(proxy.end().code, Some(0));
}
