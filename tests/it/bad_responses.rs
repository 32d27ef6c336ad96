//! Responses that two parsers might read differently reach nobody.

use crate::support::{Backend, Client, Gate, Proxy};

/// A backend that answers with this is answered for: 502, nothing of what it said, and its
/// connection is not used again.
#[track_caller]
fn assert_bad_gateway(answer: impl Into<Vec<u8>>) {
    let answer = answer.into();
    let shown = String::from_utf8_lossy(&answer).into_owned();
    let backend = Backend::new(move |mut conversation| {
        while conversation.request().is_some() {
            conversation.send(&answer);
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        let response = client.get("/", "");
        assert_eq!(response.status, 502, "{shown:?}");
        assert!(!response.text().contains("evil"), "{shown:?}");
    }
    assert_eq!(backend.connections(), 2, "{shown:?}");
    assert_eq!(proxy.in_flight(), 0);
    assert_eq!(proxy.member("b0").outcomes(), [0, 2, 0], "{shown:?}");
}

#[test]
fn ambiguous_framing_is_refused() {
    for fields in [
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: ",
        "Content-Length : 4",
        "Transfer-Encoding : chunked",
    ] {
        assert_bad_gateway(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nevil"));
    }
    assert_bad_gateway(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    );
}

#[test]
fn odd_heads_are_refused() {
    for head in [
        "HTTP/2.0 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 x OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 OK\r\nX: a\r\n b",
        "HTTP/1.1 200 OK\r\n X: a",
        "HTTP/1.1 200 OK\r\nX: a\0b",
        "HTTP/1.1 200 OK\r\nX: a\x1bb",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b",
        "HTTP/1.1 200 OK\r\nX : a",
        "HTTP/1.1 200 OK\r\n: a",
        "HTTP/1.1 200 OK\r\nno colon",
        "HTTP/1.1 200 OK\r\nX(: a",
    ] {
        assert_bad_gateway(format!("{head}\r\nContent-Length: 4\r\n\r\nevil"));
    }
}

#[test]
fn what_is_no_response_is_refused() {
    assert_bad_gateway("evil\r\n\r\n");
    assert_bad_gateway("\x16\x03\x01\x02evil");
    assert_bad_gateway(b"\xff\xfe\xfd\r\n\r\n");
}

#[test]
fn heads_without_end_are_refused() {
    let long = "x".repeat(128 * 1024);
    assert_bad_gateway(format!("HTTP/1.1 200 {long}"));
    assert_bad_gateway(format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 0\r\n\r\n"));
    let many = "X: y\r\n".repeat(1000);
    assert_bad_gateway(format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n"));
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_refused() {
    assert_bad_gateway("HTTP/1.1 101 Switching Protocols\r\n\r\nevil");
    assert_bad_gateway(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil",
    );
}

#[test]
fn bad_chunks_right_after_the_head_are_refused() {
    for chunks in [
        "4 \r\nevil\r\n0\r\n\r\n",
        "4;\r\nevil\r\n0\r\n\r\n",
        "4; a=b\r\nevil\r\n0\r\n\r\n",
        "0x4\r\nevil\r\n0\r\n\r\n",
        "x\r\nevil\r\n0\r\n\r\n",
        "4\nevil\r\n0\r\n\r\n",
        "4\r\nevil\n0\r\n\r\n",
        "4\r\nevils\r\n0\r\n\r\n",
        "10000000000000004\r\nevil\r\n0\r\n\r\n",
        "0\r\nContent-Length: 4\r\n\r\nevil",
        "0\r\nTransfer-Encoding: chunked\r\n\r\nevil",
        "0\r\nX : y\r\n\r\nevil",
    ] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_bad_gateway(format!("{head}{chunks}"));
    }
}

#[test]
fn bad_chunks_later_on_break_the_response_off() {
    for chunks in ["4 \r\nevil\r\n0\r\n\r\n", "4\r\nevil\n0\r\n\r\n", "0\r\nHost: evil\r\n\r\n"] {
        let gate = Gate::new();
        let has_arrived = gate.clone();
        let backend = Backend::new(move |mut conversation| {
            conversation.request().unwrap();
            conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
            has_arrived.wait();
            conversation.send(chunks);
            conversation.wait_for_close();
        });
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.head();
        gate.open();
        let (rest, _) = client.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{chunks:?} looked complete");
        proxy.wait_until_quiet();
        assert_eq!(proxy.member("b0").outcomes(), [0, 1, 0], "{chunks:?}");
    }
}
