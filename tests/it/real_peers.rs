//! Programs that are not ours on either side: nginx, Python's http.server, curl.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::support::{Backend, Client, Process, Proxy, Visitor, apps, get, pool, wait_until};

const COOKIE: &str = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n";

/// An nginx with a directory of files, `/name` and `/files`, and whatever `directives` say.
struct Nginx {
    process: Process,
    address: SocketAddr,
    files: TempDir,
}

impl Nginx {
    /// `listen`: an address of its own, so that a free port stays free.
    fn start(listen: &str, directives: &str) -> Self {
        let address = free_address(listen);
        let files = tempfile::tempdir().unwrap();
        let root = files.path().display();
        fs::create_dir(files.path().join("files")).unwrap();
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {root}/pid; error_log {root}/errors notice;\n\
             events {{}}\n\
             http {{\n\
               access_log off; client_body_temp_path {root}/bodies; proxy_temp_path {root}/p;\n\
               fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
               server {{\n\
                 listen {address}; root {root}; {directives}\n\
                 location = /name {{ return 200 \"nginx at {address}\"; }}\n\
                 location /files/ {{ dav_methods PUT DELETE; client_max_body_size 0; }}\n\
               }}\n\
             }}\n"
        );
        let file = files.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let program =
            ["/usr/sbin/nginx", "nginx"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("nginx"));
        let mut process =
            Process::of_package("nginx", command.arg("-e").arg("stderr").arg("-c").arg(&file));
        wait_until("nginx listens", || {
            assert!(!process.has_ended(), "nginx has ended: {}", process.stderr());
            TcpStream::connect(address).is_ok()
        });
        Nginx { process, address, files }
    }
}

impl Drop for Nginx {
    /// Killed outright, its worker would live on.
    fn drop(&mut self) {
        self.process.signal("TERM");
        wait_until("nginx ends", || self.process.has_ended());
    }
}

fn free_address(listen: &str) -> SocketAddr {
    TcpListener::bind(listen).unwrap().local_addr().unwrap()
}

fn proxy_before(addresses: &[SocketAddr], settings: &str) -> Proxy {
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    Proxy::with(&pool(&addresses, settings))
}

#[test]
fn nginx_serves_files_through_us() {
    let nginx = Nginx::start("127.0.0.21:0", "");
    let proxy = proxy_before(&[nginx.address], "");
    let mut client = Client::connect(proxy.address());
    for size in [0, 1, 1000, 100_000, 3_000_000] {
        let body = "0123456789".repeat(size / 10 + 1)[..size].to_owned();
        fs::write(nginx.files.path().join("files/f"), &body).unwrap();
        let response = client.get("/files/f", "");
        assert_eq!((response.status, response.text() == body), (200, true), "{size} bytes");
        client.send("HEAD /files/f HTTP/1.1\r\nHost: a\r\n\r\n");
        let length = size.to_string();
        assert_eq!(client.response_to_head().field("content-length"), Some(length.as_str()));
        let etag = response.field("etag").unwrap();
        let unchanged = client.get("/files/f", &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    }
    let part = client.get("/files/f", "Range: bytes=10-12\r\n");
    assert_eq!((part.status, part.text().as_str()), (206, "012"));
    assert_eq!(client.get("/nowhere", "").status, 404);
}

#[test]
fn nginx_takes_uploads_of_every_kind() {
    let nginx = Nginx::start("127.0.0.22:0", "");
    let proxy = proxy_before(&[nginx.address], "");
    let mut client = Client::connect(proxy.address());
    for size in [0, 10, 100_000, 3_000_000] {
        let body = "x".repeat(size);
        client.send(format!(
            "PUT /files/a HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}"
        ));
        assert!(matches!(client.response().status, 201 | 204), "{size} bytes");
        client.send("PUT /files/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = if size > 0 { format!("{size:x}\r\n{body}\r\n") } else { String::new() };
        client.send(format!("{chunk}0\r\n\r\n"));
        assert!(matches!(client.response().status, 201 | 204), "{size} bytes in chunks");
        for file in ["files/a", "files/b"] {
            assert_eq!(fs::read_to_string(nginx.files.path().join(file)).unwrap(), body);
        }
    }
}

#[test]
fn sessions_stick_to_one_nginx_of_several() {
    let nginxes = ["127.0.0.23:0", "127.0.0.24:0"].map(|listen| Nginx::start(listen, ""));
    let proxy = proxy_before(
        &nginxes.each_ref().map(|nginx| nginx.address),
        &format!("{COOKIE}[pools.pool.health]\npath = \"/name\"\nbody = \"nginx\"\n"),
    );
    for nginx in &nginxes {
        let mut visitor = Visitor::new(proxy.address());
        for _ in 0..5 {
            let cookie = visitor.cookie_line();
            let response = get(proxy.address(), "/name", &cookie);
            visitor.cookie = response.cookie().or(visitor.cookie);
            assert_eq!(response.text(), format!("nginx at {}", nginx.address));
        }
    }
}

/// Sends GETs over several connections until `is_done`, each of which must get this answer.
fn get_all_the_time(
    address: SocketAddr,
    target: &str,
    answer: &str,
    is_done: impl Fn() -> bool + Sync,
) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !is_done() {
                    let response = client.get(target, "");
                    assert_eq!((response.status, response.text().as_str()), (200, answer));
                }
            });
        }
    });
}

#[test]
fn an_nginx_that_closes_its_connections_all_the_time_loses_nothing() {
    let nginx = Nginx::start("127.0.0.25:0", "keepalive_timeout 1ms; keepalive_requests 5;");
    let proxy = proxy_before(&[nginx.address], "");
    let left = AtomicUsize::new(2000);
    let name = format!("nginx at {}", nginx.address);
    get_all_the_time(proxy.address(), "/name", &name, || left.fetch_sub(1, Ordering::SeqCst) < 10);
}

#[test]
fn an_nginx_that_is_reloaded_all_the_time_loses_nothing() {
    let nginx = Nginx::start("127.0.0.26:0", "");
    let proxy = proxy_before(&[nginx.address], "");
    let (address, name) = (proxy.address(), format!("nginx at {}", nginx.address));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope
            .spawn(|| get_all_the_time(address, "/name", &name, || is_done.load(Ordering::SeqCst)));
        for reloads in 1..=10 {
            nginx.process.signal("HUP");
            let errors = || fs::read_to_string(nginx.files.path().join("errors")).unwrap();
            wait_until("it has new workers", || {
                errors().matches("exited with code 0").count() >= reloads
            });
        }
        is_done.store(true, Ordering::SeqCst);
    });
}

/// Python's http.server: HTTP/1.0, a connection for every request.
fn python(listen: &str, directory: &Path) -> (Process, SocketAddr) {
    let (host, port) = listen.split_once(':').unwrap();
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "--bind", host, port]).current_dir(directory);
    let mut python = Process::of_package("python3", &mut command);
    let mut port = None;
    wait_until("Python listens", || {
        assert!(!python.has_ended(), "Python has ended: {}", python.stderr());
        port = python
            .stdout()
            .split(" port ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        port.is_some()
    });
    (python, SocketAddr::new(host.parse().unwrap(), port.unwrap()))
}

#[test]
fn python_serves_files_through_us() {
    let files = tempfile::tempdir().unwrap();
    let (_python, address) = python("127.0.0.31:0", files.path());
    let proxy = proxy_before(&[address], COOKIE);
    let mut client = Client::connect(proxy.address());
    for size in [0, 1, 1000, 3_000_000] {
        let body = "x".repeat(size);
        fs::write(files.path().join("f"), &body).unwrap();
        let response = client.get("/f", "");
        assert_eq!((response.status, response.text() == body), (200, true), "{size} bytes");
        client.send("HEAD /f HTTP/1.1\r\nHost: a\r\n\r\n");
        let length = size.to_string();
        assert_eq!(client.response_to_head().field("content-length"), Some(length.as_str()));
    }
    assert!(client.get("/", "").text().contains("<a href=\"f\">f</a>"), "the list of files");
    assert_eq!(client.get("/nowhere", "").status, 404);
    client.send("POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 501);
}

#[test]
fn a_python_that_dies_and_comes_back_takes_part_again() {
    let directories = ["one", "other"].map(|name| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("name"), name).unwrap();
        directory
    });
    let (mut one, here) = python("127.0.0.32:0", directories[0].path());
    let (_other, there) = python("127.0.0.33:0", directories[1].path());
    let settings = format!("eject = false\n{COOKIE}");
    let proxy = proxy_before(&[here, there], &settings);
    let name = |cookie_line: &str| get(proxy.address(), "/name", cookie_line);
    let first = name("");
    let cookie = format!("Cookie: {}\r\n", first.cookie().unwrap());
    assert_eq!((first.text(), name(&cookie).text()), ("one".into(), "one".into()));
    one.kill();
    let moved = name(&cookie);
    let cookie = format!("Cookie: {}\r\n", moved.cookie().unwrap());
    assert_eq!((moved.text(), name(&cookie).text()), ("other".into(), "other".into()));
    let (_one, _) = python(&here.to_string(), directories[0].path());
    assert_eq!(name(&cookie).text(), "other", "it stays");
    wait_until("new sessions begin there", || name("").text() == "one");
}

/// What curl prints.
#[track_caller]
fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
    let ended = Process::of_package("curl", &mut command).end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout
}

#[test]
fn curl_keeps_our_cookie_and_stays() {
    let apps: [Backend; 3] = apps();
    let proxy = Proxy::before(&apps.each_ref(), COOKIE);
    let directory = tempfile::tempdir().unwrap();
    let jar = directory.path().join("jar");
    let url = format!("http://{}/", proxy.address());
    let visit = || curl(&["-b", jar.to_str().unwrap(), "-c", jar.to_str().unwrap(), &url]);
    assert_eq!(visit(), "b0 new");
    assert_eq!([visit(), visit(), visit()], ["b0 bound"; 3]);
    assert!(fs::read_to_string(&jar).unwrap().contains("#HttpOnly_127.0.0.1"));
}

#[test]
fn curl_uploads_in_its_own_ways() {
    let nginx = Nginx::start("127.0.0.27:0", "");
    let proxy = proxy_before(&[nginx.address], "");
    let source = nginx.files.path().join("source");
    let body = "0123456789".repeat(300_000);
    fs::write(&source, &body).unwrap();
    let url = format!("http://{}/files/upload", proxy.address());
    // A large body with Expect: 100-continue, and one without a length.
    for more in [&["-H", "Expect: 100-continue"][..], &["-H", "Transfer-Encoding: chunked"]] {
        curl(&[&["-T", source.to_str().unwrap(), url.as_str()], more].concat());
        assert!(fs::read_to_string(nginx.files.path().join("files/upload")).unwrap() == body);
        assert!(curl(&[&url]) == body);
        curl(&["-X", "DELETE", &url]);
    }
}
