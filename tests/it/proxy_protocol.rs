//! The PROXY protocol: load balancers that say whom a connection is from, and backends that are
//! told.

use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use stickler::clock::Stopwatch;
use stickler::proxy_protocol::{Version, write};

use crate::support::{Address, Authority, Backend, Client, Process, Proxy, get, pool, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn listener(from: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
         proxy_protocol = {{ from = [\"{from}\"], timeout = \"500ms\" }}\n"
    )
}

fn header(version: Version) -> Vec<u8> {
    let from = "192.0.2.7:1234".parse().unwrap();
    write(version, Some((from, "198.51.100.1:80".parse().unwrap())))
}

#[test]
fn the_client_is_who_the_header_says() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(&listener("127.0.0.0/8"), &[&backend], "");
    for version in [Version::V1, Version::V2] {
        let whole = [&header(version), GET.as_bytes()].concat();
        let mut at_once = Client::connect(proxy.address());
        at_once.send(&whole);
        let mut bit_by_bit = Client::connect(proxy.address());
        bit_by_bit.send_in_bytes(&whole);
        for client in [&mut at_once, &mut bit_by_bit] {
            assert_eq!(client.response().text(), "hello", "{version:?}");
            assert_eq!(backend.last_request().field("x-forwarded-for"), Some("192.0.2.7"));
            assert_eq!(client.get("/", "").text(), "hello");
        }
        // Health checks of the load balancer are its own.
        let mut own = Client::connect(proxy.address());
        own.send(write(version, None)).send(GET);
        assert_eq!(own.response().text(), "hello");
        assert_eq!(backend.last_request().field("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[test]
fn who_must_send_a_header_and_does_not_is_not_served() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(&listener("127.0.0.1/32"), &[&backend], "");
    for bytes in [GET.as_bytes(), b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 192.0.2", &[0; 300], b""]
    {
        let mut client = Client::connect(proxy.address());
        client.send(bytes);
        if bytes.is_empty() {
            client.finish();
        }
        client.assert_closed();
    }
    assert_eq!(backend.connections(), 0);
    // To say nothing at all takes no longer: much less than a request may.
    let silence = Stopwatch::start();
    Client::connect(proxy.address()).assert_closed();
    assert!(silence.elapsed() < Duration::from_secs(10), "{:?}", silence.elapsed());
}

#[test]
fn a_stranger_with_a_header_is_not_understood() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(&listener("10.0.0.0/8"), &[&backend], "");
    for version in [Version::V1, Version::V2] {
        let mut client = Client::connect(proxy.address());
        client.send(header(version)).send(GET);
        assert_eq!(client.response().status, 400);
    }
    assert_eq!(get(proxy.address(), "/", "").status, 200);
}

#[test]
fn tls_comes_behind_it() {
    let authority = Authority::new();
    let pair = authority.issue("shop", &["shop.test"]);
    let tls = format!("tls = {{ certificates = [{}] }}\n", pair.toml());
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(&(listener("127.0.0.0/8") + &tls), &[&backend], "");
    let port = proxy.address().port();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--haproxy-protocol", "--cacert"]).arg(authority.file());
    curl.args(["--resolve", &format!("shop.test:{port}:127.0.0.1")]);
    let ended = Process::of_package("curl", curl.arg(format!("https://shop.test:{port}/"))).end();
    assert_eq!(ended.stdout, "hello", "{}", ended.stderr);
    assert_eq!(backend.last_request().field("x-forwarded-proto"), Some("https"));
}

#[test]
fn haproxy_is_understood() {
    let backend = Backend::named("hello");
    for (send, settings) in [("send-proxy", ""), ("send-proxy-v2", "")] {
        let proxy = Proxy::configured(&listener("127.0.0.0/8"), &[&backend], settings);
        let directory = tempfile::tempdir().unwrap();
        let (file, kept) = (directory.path().join("haproxy.cfg"), Address::free());
        let front = kept.address;
        let back = proxy.address();
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             listen l\n bind {front}\n server s {back} {send}\n"
        );
        std::fs::write(&file, config).unwrap();
        let program = ["/usr/sbin/haproxy", "haproxy"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("haproxy"));
        let mut haproxy = Process::of_package("haproxy", command.arg("-db").arg("-f").arg(&file));
        wait_until("HAProxy listens", || {
            assert!(!haproxy.has_ended(), "{}", haproxy.stderr());
            TcpStream::connect(front).is_ok()
        });
        assert_eq!(get(front, "/", "").text(), "hello", "{send}");
        assert_eq!(backend.last_request().field("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[test]
fn backends_are_told_and_connections_belong_to_one_client() {
    for (version, name) in [(Version::V1, "v1"), (Version::V2, "v2")] {
        let (told, was_told) = mpsc::channel();
        let backend = Backend::new(move |mut conversation| {
            let mut header = vec![0; header(version).len()];
            if version == Version::V1 {
                let mut line = String::new();
                std::io::BufRead::read_line(&mut conversation.stream, &mut line).unwrap();
                header = line.into_bytes();
            } else {
                std::io::Read::read_exact(&mut conversation.stream, &mut header).unwrap();
            }
            told.send(stickler::proxy_protocol::read(&header).unwrap().unwrap()).unwrap();
            while conversation.request().is_some() {
                conversation.answer(200, "hello");
            }
        });
        let settings = format!("proxy_protocol = \"{name}\"");
        let proxy = Proxy::with(&pool(&[backend.address.to_string()], &settings));
        for clients in 1..4 {
            let mut client = Client::connect(proxy.address());
            for _ in 0..3 {
                assert_eq!(client.get("/", "").text(), "hello");
            }
            assert_eq!(was_told.recv().unwrap().source, client.stream.get_ref().local_addr().ok());
            assert_eq!(backend.connections(), clients, "one for each client");
        }
    }
}
