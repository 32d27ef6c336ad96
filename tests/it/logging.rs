//! Log lines, and what becomes of the proxy when nobody takes them: nothing.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use crate::support::{Address, Backend, Client, Files, Process, STICKLER, get, pool, wait_until};

const PATIENT: &str = "[server]\nworkers = 1\nstate_dir = \"state\"\n";

/// A proxy whose standard error is a pipe that we read ourselves, until it listens.
fn with_pipe(files: &Files) -> (Process, SocketAddr, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(STICKLER);
    let proxy = Process::with_stderr(command.arg("run").arg(files.config()), writer);
    drop(command);
    let mut reader = BufReader::new(reader);
    let mut said = String::new();
    let address = loop {
        assert!(reader.read_line(&mut said).unwrap() > 0, "it has ended: {said}");
        if let Some((_, address)) = said.trim_end().split_once("listening on ") {
            break address.parse().unwrap();
        }
    };
    (proxy, address, reader)
}

/// Two backends of which one cannot be connected to, and is never ejected: half of the requests
/// write a log line.
fn half_dead() -> (Backend, Files) {
    let alive = Backend::named("alive");
    let addresses = ["127.0.0.1:1".into(), alive.address.to_string()];
    let settings = "balance = \"round_robin\"\neject = false\n";
    (alive, Files::with(&format!("{PATIENT}{}", pool(&addresses, settings))))
}

#[test]
fn a_full_log_disk_stops_nothing() {
    let kept = Address::free();
    let port = kept.address;
    let (_alive, files) = half_dead();
    let config = std::fs::read_to_string(files.config()).unwrap();
    let config = config.replace("127.0.0.1:0", &port.to_string());
    std::fs::write(files.config(), config).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(STICKLER);
    let proxy = Process::with_stderr(command.arg("run").arg(files.config()), full);
    wait_until("it listens", || TcpStream::connect(port).is_ok());
    for _ in 0..10 {
        assert_eq!(get(port, "/", "").status, 200);
    }
    proxy.signal("TERM");
    assert_eq!(proxy.end().code, Some(0));
}

#[test]
fn a_log_reader_that_leaves_stops_nothing() {
    let (_alive, files) = half_dead();
    let (proxy, address, reader) = with_pipe(&files);
    drop(reader);
    for _ in 0..10 {
        assert_eq!(get(address, "/", "").status, 200);
    }
    proxy.signal("TERM");
    assert_eq!(proxy.end().code, Some(0));
}

#[test]
fn a_log_reader_that_stands_still_stops_nothing() {
    let (_alive, files) = half_dead();
    let (proxy, address, mut reader) = with_pipe(&files);
    let mut client = Client::connect(address);
    // A pipe holds 64 KiB, which is some 500 lines.
    for _ in 0..3000 {
        assert_eq!(client.get("/", "").status, 200);
    }
    drop(client);
    proxy.signal("TERM");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(proxy.end().code, Some(0));
    assert!(rest.matches("cannot be reached").count() >= 1500, "all was kept");
    assert!(rest.trim_end().lines().last().unwrap().contains("shutting down"), "to the last line");
}

#[test]
fn on_a_terminal_there_are_colors_unless_they_are_not_wanted() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = ["127.0.0.1:0".into(), taken.local_addr().unwrap().to_string()]
        .map(|address| format!("[[listeners]]\naddress = \"{address}\"\n"));
    let files = Files::with(&format!("{}{}", listeners.concat(), pool(&["a:1".into()], "")));
    // It warns of port 0, and ends because the other address is taken.
    let run = format!("{STICKLER} run {}", files.config().display());
    let colors = |no_color: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &run, "/dev/null"]).env("NO_COLOR", no_color);
        let ended = Process::of_package("bsdutils", &mut command).end();
        let line = ended.stdout.lines().find(|line| line.contains("port 0")).unwrap().to_owned();
        line.contains('\u{1b}')
    };
    assert!(colors("") && !colors("1"));
}
