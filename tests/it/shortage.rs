//! When the proxy itself is short of something, no backend is to blame.

use std::process::Command;

use crate::support::{Backend, Client, Files, Process, STICKLER, pool, wait_until};

/// A backend that closes after every answer, so that every request needs a descriptor.
fn closing(name: &'static str) -> Backend {
    Backend::new(move |mut conversation| {
        let Some(request) = conversation.request() else { return };
        let told = request.field("stickler-affinity").unwrap_or_default();
        let body = format!("{name} {told}");
        let length = body.len();
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    })
}

#[test]
fn without_descriptors_nobody_is_ejected_and_no_session_moves() {
    let backends = [closing("b0"), closing("b1")];
    let addresses: Vec<_> = backends.iter().map(|b| b.address.to_string()).collect();
    let settings = "balance = \"round_robin\"\neject = { connect_failures = 1 }\n\
                    [pools.pool.affinity]\nmode = \"cookie\"\n";
    let tables = "[server]\nworkers = 1\nstate_dir = \"state\"\n";
    let files = Files::with(&format!("{tables}{}", pool(&addresses, settings)));
    let run = format!("ulimit -n 100; exec {STICKLER} run {}", files.config().display());
    let mut process = Process::start(Command::new("sh").args(["-c", &run]));
    let address = process.listening();
    assert!(process.stderr().contains("few descriptors"), "{}", process.stderr());

    let mut client = Client::connect(address);
    let first = client.get("/", "");
    assert_eq!(first.text(), "b0 new");
    let cookie = format!("Cookie: {}\r\n", first.cookie().unwrap());
    let crowd: Vec<_> = (0..150).map(|_| Client::connect(address)).collect();
    wait_until("all descriptors are taken", || process.stderr().contains("cannot accept"));
    for _ in 0..5 {
        let response = client.get("/", &cookie);
        assert_eq!((response.status, response.field("retry-after")), (503, Some("5")));
    }
    drop(crowd);
    wait_until("there are descriptors again", || client.get("/", &cookie).status == 200);
    assert_eq!(client.get("/", &cookie).text(), "b0 bound");
    assert!(!process.stderr().contains("ejected"), "{}", process.stderr());
}
