//! systemd: sockets that it has bound for us, and what it is told.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::support::{Address, Backend, Files, PATIENCE, Process, STICKLER, get, pool, wait_until};

/// Binds a socket and becomes another program with it, as systemd does it.
const ACTIVATE: &str = "
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen(128)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_socket_that_was_bound_for_us_is_used_by_every_worker() {
    let backend = Backend::named("a");
    let kept = Address::free();
    let address = kept.address;
    let listener = format!("[[listeners]]\naddress = \"{address}\"\n");
    let files = Files::with(&format!("{listener}{}", pool(&[backend.address.to_string()], "")));
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE, &address.port().to_string(), STICKLER, "run"]);
    let mut proxy = Process::of_package("python3", command.arg(files.config()));
    assert_eq!(proxy.listening(), address, "nobody else could bind it: {}", proxy.stderr());
    for _ in 0..20 {
        assert_eq!(get(address, "/", "").status, 200);
    }
    proxy.signal("TERM");
    assert_eq!(proxy.end().code, Some(0));
}

#[test]
fn it_says_when_it_serves_reloads_lives_and_ends() {
    let backend = Backend::named("a");
    let files = Files::with(&pool(&[backend.address.to_string()], ""));
    let path = files.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let hear_of = |what: &str| loop {
        let heard = hear();
        if heard.contains(what) {
            break heard;
        }
        assert!(heard.contains("WATCHDOG=1"), "{heard} instead of {what}");
    };
    let mut command = Command::new(STICKLER);
    command.arg("run").arg(files.config()).env("NOTIFY_SOCKET", &path);
    let watched = Duration::from_millis(800).as_micros().to_string();
    let mut proxy = Process::start(command.env("WATCHDOG_USEC", watched));
    assert!(hear_of("READY=1").contains("MAINPID="));
    let address = proxy.listening();
    hear_of("WATCHDOG=1");
    proxy.signal("HUP");
    assert!(hear_of("RELOADING=1").contains("MONOTONIC_USEC="));
    hear_of("READY=1");
    assert_eq!(get(address, "/", "").status, 200);
    proxy.signal("TERM");
    hear_of("STOPPING=1");
    wait_until("it ends", || proxy.has_ended());
}
