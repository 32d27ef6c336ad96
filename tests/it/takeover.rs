//! Another process takes over, and nobody notices.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::operate::admin_of;
use crate::support::{Client, Files, ON, Process, STICKLER, Visitor, apps, get, pool, wait_until};

/// With affinity, and as many workers as said.
fn config(backends: &[String], workers: usize) -> String {
    let server = format!(
        "[server]\nworkers = {workers}\nstate_dir = \"state\"\nshutdown_timeout = \"4s\"\n"
    );
    format!("{server}{}", pool(backends, "[pools.pool.affinity]\nmode = \"cookie\""))
}

fn take_over(files: &Files) -> Process {
    let mut command = Command::new(STICKLER);
    let process = Process::start(command.arg("run").arg(files.config()).arg("--takeover"));
    wait_until("it has taken over", || process.stderr().contains("has taken over"));
    process
}

/// A session's requests, over one connection for as long as that is kept, and over new ones.
fn visit(address: SocketAddr, is_over: &AtomicBool, visits: &AtomicUsize) {
    let mut visitor = Visitor::new(address);
    let home = visitor.visit().split(' ').next().unwrap().to_owned();
    let mut client = Client::connect(address);
    while !is_over.load(Ordering::Relaxed) {
        let kept_alive = client.get("/", &visitor.cookie_line());
        assert_eq!((kept_alive.status, kept_alive.text()), (200, format!("{home} bound")));
        if kept_alive.field("connection") == Some("close") {
            client = Client::connect(address);
        }
        assert_eq!(visitor.visit(), format!("{home} bound"));
        visits.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_chain_of_processes_takes_over_under_load_and_loses_nothing() {
    let [a, b] = apps();
    let backends = [a.address.to_string(), b.address.to_string()];
    let files = Files::with(&config(&backends, 2));
    let (mut running, address) = files.run();
    let (is_over, visits) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| visit(address, &is_over, &visits));
        }
        // More workers than sockets, and fewer.
        for workers in [3, 1, 2] {
            let before = visits.load(Ordering::Relaxed);
            wait_until("visits go on", || visits.load(Ordering::Relaxed) > before + 5);
            files.configure(&config(&backends, workers));
            let next = take_over(&files);
            let former = std::mem::replace(&mut running, next).end();
            assert_eq!(former.code, Some(0), "{former:?}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!(
        "3 takeovers in a row under {} requests: 0 failed, 0 sessions moved",
        visits.load(Ordering::Relaxed) * 2
    );
    assert_eq!(get(address, "/", "").status, 200);
    running.signal("TERM");
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn the_admin_address_goes_over_as_well_and_answers_all_the_time() {
    let [a] = apps();
    let files = Files::with(&format!("{ON}{}", config(&[a.address.to_string()], 1)));
    let (mut running, _) = files.run();
    let admin = admin_of(&running);
    let is_over = AtomicBool::new(false);
    let pids = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut pids = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                pids.insert(admin.get("/v1/process")["pid"].as_u64().unwrap());
            }
            pids
        });
        let mut events = Client::connect(admin.address);
        events.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(events.head().contains(" 200 "));
        for _ in 0..2 {
            let next = take_over(&files);
            let former = std::mem::replace(&mut running, next).end();
            assert_eq!(former.code, Some(0), "{former:?}");
            assert_eq!(admin_of(&running).address, admin.address);
        }
        // Whoever listens is sent away, and finds the successor.
        events.rest();
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert_eq!(pids.len(), 3, "each of them has answered");
    running.signal("TERM");
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn who_ends_leaves_no_socket_that_nobody_answers_at() {
    let [a] = apps();
    let files = Files::with(&config(&[a.address.to_string()], 1));
    let socket = files.path().join("state/takeover.sock");
    let (first, _) = files.run();
    wait_until("it waits for a successor", || socket.exists());
    let second = take_over(&files);
    assert_eq!(first.end().code, Some(0));
    wait_until("it waits for a successor", || UnixStream::connect(&socket).is_ok());
    second.signal("TERM");
    assert_eq!(second.end().code, Some(0));
    let left: Vec<_> = fs::read_dir(files.path().join("state")).unwrap().collect();
    let names: Vec<_> = left.into_iter().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("sock")), "{names:?}");
}

#[test]
fn without_a_predecessor_it_says_so() {
    let files = Files::with(&config(&["127.0.0.1:1".into()], 1));
    let mut command = Command::new(STICKLER);
    let ended = Process::start(command.arg("run").arg(files.config()).arg("--takeover")).end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cannot take over"), "{ended:?}");
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    let [a] = apps();
    let good = config(&[a.address.to_string()], 2);
    let files = Files::with(&good);
    let (running, address) = files.run();
    // It gets the sockets, and cannot have another one that it wants.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!(
        "[[listeners]]\naddress = \"{address}\"\n[[listeners]]\naddress = \"{}\"\n",
        taken.local_addr().unwrap()
    );
    files.configure(&format!("{good}{listener}"));
    let mut command = Command::new(STICKLER);
    let failed = Process::start(command.arg("run").arg(files.config()).arg("--takeover")).end();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    wait_until("it is noticed", || running.stderr().contains("does not serve"));
    for _ in 0..20 {
        assert_eq!(get(address, "/", "").status, 200);
    }
    files.configure(&good);
    drop(taken);
    let next = take_over(&files);
    assert_eq!(running.end().code, Some(0));
    assert_eq!(get(address, "/", "").status, 200);
    drop(next);
}
