//! Several requests at once on one connection, and requests in many pieces.

use crate::support::{Backend, Client, Proxy, wait_until};

/// A backend that answers with the target it was asked for, and the body it got.
fn echo() -> Backend {
    Backend::answering(|request| {
        let body = String::from_utf8_lossy(&request.body);
        let text = format!("{} {body}", request.target);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
    })
}

fn get(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn many_requests_in_one_packet_are_answered_in_order() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send((0..200).map(get).collect::<String>());
    for number in 0..200 {
        assert_eq!(client.response().text(), format!("/{number} "));
    }
    assert_eq!(client.get("/last", "").text(), "/last ");
}

#[test]
fn bodies_between_them_are_not_taken_for_requests() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let inner = get(666);
    let length = inner.len();
    let requests = [
        format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{inner}"),
        get(1),
        format!(
            "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{inner}\r\n0\r\nX-Sum: 1\r\n\r\n"
        ),
        get(2),
        format!(
            "PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}",
            "x".repeat(100_000)
        ),
        get(3),
    ]
    .concat();
    for in_bytes in [false, true] {
        let mut client = Client::connect(proxy.address());
        match in_bytes {
            true => client.send_in_bytes(&requests),
            false => client.send(&requests),
        };
        let expected = [
            format!("/a {inner}"),
            "/1 ".into(),
            format!("/b {inner}"),
            "/2 ".into(),
            format!("/c {}", "x".repeat(100_000)),
            "/3 ".into(),
        ];
        for expected in expected {
            assert_eq!(client.response().text(), expected);
        }
    }
}

#[test]
fn what_comes_before_a_malformed_request_is_answered() {
    for bad in [
        "GET /bad HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "GET /bad HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET /bad HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET /b\x7fd HTTP/1.1\r\nHost: a\r\n\r\n",
        "garbage\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ] {
        let backend = echo();
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        let good: String = (0..5).map(get).collect();
        client.send(format!("{good}{bad}{}", get(6)));
        for number in 0..5 {
            assert_eq!(client.response().text(), format!("/{number} "), "before {bad:?}");
        }
        let response = client.response();
        assert_eq!(
            (response.status, response.field("connection")),
            (400, Some("close")),
            "{bad:?}"
        );
        client.assert_closed();
        assert_eq!(backend.requests().len(), 5, "{bad:?}");
    }
}

#[test]
fn a_body_ends_where_its_length_says() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdef\r\n\r\n");
    assert_eq!(client.response().text(), "/a abc");
    assert_eq!(client.response().status, 400);
    client.assert_closed();
}

#[test]
fn a_request_that_says_close_is_the_last_one() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(format!(
        "{}GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{}",
        get(1),
        get(3)
    ));
    assert_eq!(client.response().text(), "/1 ");
    let last = client.response();
    assert_eq!((last.text().as_str(), last.field("connection")), ("/2 ", Some("close")));
    client.assert_closed();
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn empty_lines_before_a_request_are_ignored() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(format!("\r\n\r\n{}\r\n{}", get(1), get(2)));
    assert_eq!(client.response().text(), "/1 ");
    assert_eq!(client.response().text(), "/2 ");
    let post = "POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n";
    assert_eq!(client.send(post).response().text(), "/3 x", "some clients end bodies so");
    client.send("\r\n");
    assert_eq!(client.get("/4", "").text(), "/4 ");
}

#[test]
fn a_head_may_come_byte_by_byte_or_cut_anywhere() {
    let backend = echo();
    let proxy = Proxy::before(&[&backend], "");
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Y: z\r\n\r\nabc";
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.send_in_bytes(request).response().text(), "/x abc");
    for cut in 1..request.len() {
        let (start, end) = request.split_at(cut);
        assert_eq!(client.send(start).send(end).response().text(), "/x abc", "cut at {cut}");
    }
}

#[test]
fn answers_to_those_before_are_not_lost_to_a_slow_reader() {
    // The bad request is read while the answers before it wait to be taken.
    let backend = Backend::answering(|_| {
        let body = "x".repeat(1_000_000);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send((0..20).map(get).collect::<String>()).send("bad\r\n\r\n");
    for _ in 0..20 {
        let response = client.response();
        assert_eq!((response.body.len(), response.is_complete), (1_000_000, true));
    }
    assert_eq!(client.response().status, 400);
    client.assert_closed();
}

#[test]
fn a_refusal_does_not_come_within_the_answer_before_it() {
    let backend = Backend::answering(|request| {
        let length: usize = request.target[1..].parse().unwrap();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    });
    let proxy = Proxy::before(&[&backend], "");
    // Of some of these the end waits in the proxy until the client reads.
    let sizes = (1..=40).map(|steps| steps * 200_000);
    let begin = |size: usize| {
        let mut client = Client::connect(proxy.address());
        client.send(format!("{}GET / HTTP/1.1\r\nBad Name: a\r\n\r\n", get(size)));
        client
    };
    let clients: Vec<_> = sizes.clone().map(begin).collect();
    wait_until("the smaller ones are finished", || proxy.in_flight() < 30);
    for (mut client, size) in clients.into_iter().zip(sizes) {
        let response = client.response();
        let is_whole = response.body.len() == size && response.body.iter().all(|&b| b == b'x');
        assert!(is_whole && response.is_complete, "{size}");
        assert_eq!(client.response().status, 400, "{size}");
        client.assert_closed();
    }
}
