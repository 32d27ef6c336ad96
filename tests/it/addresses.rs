//! The kinds of addresses that a backend and a listener may have.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use crate::support::{Backend, Client, Proxy, get, pool};

#[test]
fn a_backend_may_listen_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let app = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..2 {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            assert!(String::from_utf8(head).unwrap().contains("Host: test\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
        }
    });
    let proxy = Proxy::with(&pool(&[format!("unix:{}", path.display())], ""));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/", "").text(), "unix");
    assert_eq!(client.get("/", "").text(), "unix", "on the same connection");
    app.join().unwrap();
}

#[test]
fn a_unix_socket_that_is_not_there_is_unreachable() {
    let proxy = Proxy::with(&pool(&["unix:/nonexistent/app.sock".to_owned()], ""));
    assert_eq!(get(proxy.address(), "/", "").status, 502);
}

#[test]
fn a_backend_may_have_a_name() {
    let backend = Backend::named("a");
    let address = format!("localhost:{}", backend.address.port());
    let proxy = Proxy::with(&pool(&[address], "forward = { host = \"backend\" }"));
    assert_eq!(get(proxy.address(), "/", "").text(), "a");
    let host = backend.last_request();
    assert!(host.field("host").unwrap().starts_with("localhost:"));
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let proxy = Proxy::with(&pool(&["no-such-host.invalid:80".to_owned()], ""));
    assert_eq!(get(proxy.address(), "/", "").status, 502);
}

#[test]
fn ipv6_works_on_both_sides() {
    let backend = Backend::at("[::1]:0", |mut conversation| {
        let request = conversation.request().unwrap();
        conversation.answer(200, request.field("host").unwrap());
    });
    let listener = "[[listeners]]\naddress = \"[::1]:0\"";
    let proxy = Proxy::configured(listener, &[&backend], "forward = { host = \"backend\" }");
    let response = get(proxy.address(), "/", "");
    assert_eq!(response.text(), format!("[::1]:{}", backend.address.port()));
}

#[test]
fn a_proxy_may_listen_at_several_addresses() {
    let backend = Backend::named("a");
    let listeners =
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"[::1]:0\"";
    let proxy = Proxy::configured(listeners, &[&backend], "");
    let addresses = proxy.addresses();
    assert_eq!(addresses.len(), 2);
    assert!(addresses.into_iter().all(|address| get(address, "/", "").text() == "a"));
}
