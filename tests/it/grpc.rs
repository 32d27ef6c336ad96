//! gRPC through the proxy, with gRPC's own Python library on both sides, and by hand where that
//! library is too polite.
//!
//! The library comes from PyPI, into the target directory, once. Where that cannot be reached, the
//! tests say so and pass.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use http::{Request, Response, Version};
use stickler::balance::BackendState;
use stickler::clock::Stopwatch;

use crate::support::http2::{Http2Backend, ask, connect, run, whole};
use crate::support::{Proxy, pool, wait_until};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/grpc");
const SETTINGS: &str = "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"\n\
                        [[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";

/// Where the library is; `None`, and a word about it, if it cannot be had.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn library() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpcio");
    if !directory.exists() {
        // Tests run side by side, so whoever is first with a whole one wins.
        let own = directory.with_extension(std::process::id().to_string());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--target"]);
        let installed = pip.arg(&own).arg("grpcio").output();
        if !installed.is_ok_and(|pip| pip.status.success()) {
            eprintln!("skipped: grpcio cannot be had from PyPI");
            return None;
        }
        if fs::rename(&own, &directory).is_err() {
            fs::remove_dir_all(&own).unwrap();
        }
    }
    Some(directory)
}

fn python(library: &Path, script: &str) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", library).arg(Path::new(HERE).join(script));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A server in Python.
struct Server {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(library: &Path, name: &str) -> Self {
        let mut process = python(library, "server.py").arg(name).spawn().unwrap();
        let to = process.stdin.take().unwrap();
        let mut from = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        from.read_line(&mut port).unwrap();
        Server { process, to, from, port: port.trim().parse().unwrap() }
    }

    /// Has it obeyed?
    fn tell(&mut self, word: &str) {
        writeln!(self.to, "{word}").unwrap();
        let mut done = String::new();
        self.from.read_line(&mut done).unwrap();
        assert_eq!(done, "done\n");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn servers<const N: usize>(library: &Path) -> [Server; N] {
    std::array::from_fn(|i| Server::start(library, &format!("s{i}")))
}

fn proxy(servers: &[Server], settings: &str) -> Proxy {
    let addresses: Vec<_> = servers.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
    Proxy::with(&format!("{SETTINGS}{}", pool(&addresses, &format!("http2 = true\n{settings}"))))
}

/// What the client finds.
#[track_caller]
fn client(library: &Path, proxy: &Proxy, what: &[&str]) -> String {
    let mut command = python(library, "client.py");
    command.arg(proxy.address().to_string()).args(what).stderr(Stdio::piped());
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn calls_of_all_shapes_pass() {
    let Some(library) = library() else { return };
    let servers = servers::<2>(&library);
    for affinity in ["none", "cookie"] {
        let settings =
            format!("balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"{affinity}\"");
        let proxy = proxy(&servers, &settings);
        let found = client(&library, &proxy, &["shapes"]);
        assert_eq!(found, "FAILED_PRECONDITION no \u{2713} here\nshapes are right\n");
        let names = client(&library, &proxy, &["names", "10"]);
        assert!(names.contains("s0") && names.contains("s1"), "calls are balanced: {names}");
        proxy.wait_until_quiet();
    }
}

#[test]
fn calls_stick_by_their_metadata() {
    let Some(library) = library() else { return };
    let servers = servers::<3>(&library);
    let affinity = "[pools.pool.affinity]\nmode = \"hash\"\nkey = { header = \"user\" }";
    let proxy = proxy(&servers, affinity);
    client(&library, &proxy, &["shapes"]);
    let mut homes = Vec::new();
    for user in 0..12 {
        let user = format!("user=u{user}");
        let names = client(&library, &proxy, &["names", "3", &user]);
        let names: Vec<_> = names.split_whitespace().collect();
        assert!(names.iter().all(|name| *name == names[0]), "{user}: {names:?}");
        homes.push(names[0].to_owned());
    }
    homes.sort();
    homes.dedup();
    assert!(homes.len() > 1, "all users at {homes:?}");
}

#[test]
fn health_is_checked_by_the_standard_protocol() {
    let Some(library) = library() else { return };
    let mut servers = servers::<1>(&library);
    for service in ["", "shop", "other"] {
        let grpc = format!("grpc = {{ service = \"{service}\" }}");
        let quick = "interval = \"50ms\"\nfast_interval = \"50ms\"\ninitial = \"down\"";
        let proxy = proxy(&servers, &format!("[pools.pool.health]\n{grpc}\n{quick}"));
        let is = |state| wait_until("its state is known", || proxy.member("b0").state() == state);
        if service == "other" {
            wait_until("it was asked", || proxy.scrape().text.contains("stickler"));
            is(BackendState::Down);
            continue;
        }
        is(BackendState::Ready);
        servers[0].tell("sick");
        is(BackendState::Down);
        servers[0].tell("well");
        is(BackendState::Ready);
    }
}

#[test]
fn calls_that_were_refused_go_elsewhere() {
    let Some(library) = library() else { return };
    let mut servers = servers::<2>(&library);
    servers[0].tell("busy");
    let balance = "balance = \"round_robin\"\n";
    let plain = proxy(&servers, balance);
    let found = client(&library, &plain, &["status", "10"]);
    assert!(found.contains("UNAVAILABLE busy"), "{found}");

    let retry =
        format!("{balance}retry = {{ grpc_status = [\"unavailable\"], budget = \"100%\" }}");
    let retrying = proxy(&servers, &retry);
    let found = client(&library, &retrying, &["status", "30"]);
    assert_eq!(found, "OK\n".repeat(30));
    servers[1].tell("busy");
    let found = client(&library, &retrying, &["status", "3"]);
    assert!(found.lines().all(|line| line.starts_with("UNAVAILABLE")), "{found}");
    retrying.wait_until_quiet();
}

/// Refuses every call with a status and nothing else, and counts.
fn refusing() -> Http2Backend {
    Http2Backend::new(100, usize::MAX, |_| async {
        let response = Response::builder().header("content-type", "application/grpc");
        response.header("grpc-status", "14").body(whole("")).unwrap()
    })
}

fn call(timeout: Option<&str>) -> http::request::Builder {
    let call = Request::post("http://shop.test/test.Shop/Unary").version(Version::HTTP_2);
    let call = call.header("content-type", "application/grpc").header("te", "trailers");
    match timeout {
        None => call,
        Some(timeout) => call.header("grpc-timeout", timeout),
    }
}

#[test]
fn retries_end_with_their_budget() {
    let backends = [refusing(), refusing()];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.to_string()).collect();
    let settings = "http2 = true\nretry = { grpc_status = [\"unavailable\"], budget = \"0%\" }";
    let proxy = Proxy::with(&format!("{SETTINGS}{}", pool(&addresses, settings)));
    run(async {
        let mut sender = connect(proxy.address()).await;
        for _ in 0..30 {
            let response = ask(&mut sender, call(None).body(whole("")).unwrap()).await;
            assert_eq!(response.headers()["grpc-status"], "14");
        }
    });
    let retries = proxy.scrape_after(30).sum("stickler_backend_retries_total", &[]);
    assert_eq!(retries, 10.0, "what a pool may repeat at first");
}

#[test]
fn a_call_does_not_outlive_its_deadline() {
    let backend = Http2Backend::new(100, usize::MAX, |request| async move {
        if request.headers()["grpc-timeout"] == "300m" {
            std::future::pending::<()>().await;
        }
        Response::new(whole(""))
    });
    let pool = pool(&[backend.address.to_string()], "http2 = true");
    let proxy = Proxy::with(&format!("{SETTINGS}{pool}"));
    run(async {
        let mut sender = connect(proxy.address()).await;
        let since = Stopwatch::start();
        let late = ask(&mut sender, call(Some("300m")).body(whole("")).unwrap()).await;
        assert_eq!(
            (late.status().as_u16(), &late.headers()["grpc-status"]),
            (200, &"4".parse().unwrap())
        );
        assert!(since.elapsed() >= Duration::from_millis(300), "{:?}", since.elapsed());
        for other in ["5S", "garbage", "0n"] {
            let response = ask(&mut sender, call(Some(other)).body(whole("")).unwrap()).await;
            assert!(response.headers().get("grpc-status").is_none(), "{other}");
        }
    });
    proxy.wait_until_quiet();
}
