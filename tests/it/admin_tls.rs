//! The admin address over TLS, and the commands that speak to it.

use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::operate::admin_of;
use crate::support::{
    Admin, Authority, Client, Ended, Files, Process, STICKLER, apps, pool, wait_until,
};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn config(authority: &Authority, backends: &[String], file: &str) -> String {
    let pair = authority.issue(file, &NAMES);
    let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\ntls = {}\n", pair.toml());
    format!("{admin}{}", pool(backends, ""))
}

#[track_caller]
fn status(url: &str, more: &[&str]) -> Ended {
    let mut command = Command::new(STICKLER);
    Process::start(command.args(["status", "--json", "--admin", url]).args(more)).end()
}

#[test]
fn commands_speak_https_and_make_sure_who_answers() {
    let [a] = apps();
    let authority = Authority::new();
    let files = Files::with(&config(&authority, &[a.address.to_string()], "admin"));
    let (process, _) = files.run();
    let Admin { address, .. } = admin_of(&process);
    assert!(process.stderr().contains(&format!("https://{address}/")), "{}", process.stderr());
    let ca = authority.file().display().to_string();
    let url = format!("https://{address}");
    let known = status(&url, &["--ca", &ca]);
    assert_eq!(known.code, Some(0), "{known:?}");
    let pools: Value = serde_json::from_str(&known.stdout).unwrap();
    assert_eq!(pools["pools"][0]["name"], "pool");
    let by_name = status(&format!("https://localhost:{}", address.port()), &["--ca", &ca]);
    assert_eq!(by_name.code, Some(0), "{by_name:?}");

    let stranger = Authority::new();
    let doubted = status(&url, &["--ca", &stranger.file().display().to_string()]);
    assert_eq!(doubted.code, Some(1));
    assert!(doubted.stderr.contains("--ca"), "{doubted:?}");
    let plain = status(&format!("http://{address}"), &[]);
    assert_eq!(plain.code, Some(1));
    assert!(plain.stderr.contains("speaks HTTPS"), "{plain:?}");
    let useless = status(&format!("http://{address}"), &["--ca", &ca]);
    assert_eq!(useless.code, Some(2), "{useless:?}");
}

#[test]
fn who_says_nothing_keeps_nobody_else_waiting() {
    let [a] = apps();
    let authority = Authority::new();
    let files = Files::with(&config(&authority, &[a.address.to_string()], "admin"));
    let (process, _) = files.run();
    let Admin { address, .. } = admin_of(&process);
    let _silent: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let ca = authority.file().display().to_string();
    assert_eq!(status(&format!("https://{address}"), &["--ca", &ca]).code, Some(0));
}

#[test]
fn another_certificate_is_taken_up_by_itself_and_tls_by_a_reload() {
    let [a] = apps();
    let authority = Authority::new();
    let backends = [a.address.to_string()];
    let files = Files::with(&config(&authority, &backends, "admin"));
    let (process, _) = files.run();
    let Admin { address, .. } = admin_of(&process);
    let url = format!("https://{address}");
    let other = Authority::new();
    let fresh = other.issue("fresh", &NAMES);
    for (from, to) in [(fresh.cert, "admin.pem"), (fresh.key, "admin.key")] {
        std::fs::copy(from, authority.path().join(to)).unwrap();
    }
    let ca = other.file().display().to_string();
    wait_until("the other certificate is shown", || status(&url, &["--ca", &ca]).code == Some(0));

    files.configure(&format!("[admin]\naddress = \"127.0.0.1:0\"\n{}", pool(&backends, "")));
    process.signal("HUP");
    wait_until("it speaks plain HTTP", || {
        let mut client = Client::connect(address);
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.try_response(false).is_some_and(|response| response.status == 200)
    });
}
