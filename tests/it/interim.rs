//! Interim (1xx) responses, and bodies that wait for one.

use std::sync::mpsc;

use crate::support::{Backend, Client, Conversation, Gate, PATIENCE, Proxy};

/// Heads that hold their body back: one that would be read before a backend is chosen, one that
/// would not, and one in chunks; each with its body.
fn expecting() -> [(String, String); 3] {
    let head = |length: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{length}\r\n\r\n")
    };
    [
        (head("Content-Length: 3"), "abc".to_owned()),
        (head("Content-Length: 100000"), "x".repeat(100_000)),
        (head("Transfer-Encoding: chunked"), "3\r\nabc\r\n0\r\n\r\n".to_owned()),
    ]
}

/// Reads the body that a backend asked for.
fn read_body(conversation: &mut Conversation, head: &str) {
    let sized = |length: usize| vec![0; length];
    let mut body = match head.to_lowercase() {
        head if head.contains("chunked") => sized("3\r\nabc\r\n0\r\n\r\n".len()),
        head if head.contains("content-length: 3\r\n") => sized(3),
        _ => sized(100_000),
    };
    std::io::Read::read_exact(&mut conversation.stream, &mut body).unwrap();
}

#[test]
fn a_backend_that_asks_for_the_body_gets_it() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            assert!(head.to_lowercase().contains("expect: 100-continue\r\n"), "{head}");
            conversation.send("HTTP/1.1 100 Continue\r\n\r\n");
            read_body(&mut conversation, &head);
            conversation.answer(200, "thanks");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for (head, body) in expecting() {
        assert_eq!(client.send(head).response().status, 100);
        assert_eq!(client.send(body).response().text(), "thanks");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_backend_that_refuses_at_once_spares_the_client_its_body() {
    let (got, gets) = mpsc::channel();
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        conversation.answer(417, "no");
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut conversation.stream, &mut rest);
        got.send(rest.len()).unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    for (head, _) in expecting() {
        let mut client = Client::connect(proxy.address());
        let response = client.send(head).response();
        assert_eq!((response.status, response.text().as_str()), (417, "no"));
        assert_eq!(gets.recv_timeout(PATIENCE).unwrap(), 0, "nothing of a body");
        proxy.wait_until_quiet();
    }
}

#[test]
fn what_a_client_sends_after_a_refusal_is_no_request() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            let smuggled = head.contains("/smuggled");
            conversation.answer(if smuggled { 200 } else { 417 }, "");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len();
    let mut client = Client::connect(proxy.address());
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert_eq!(client.response().status, 417);
    // The client sends its body all the same (RFC 9110, section 10.1.1).
    client.send(smuggled);
    assert!(client.try_response(false).is_none(), "the body was taken for a request");
}

#[test]
fn a_backend_that_does_not_know_how_to_ask_gets_the_body_in_the_end() {
    let backend = Backend::new(|mut conversation| {
        let head = conversation.head().unwrap();
        read_body(&mut conversation, &head);
        conversation.answer(200, "thanks");
    });
    let proxy = Proxy::before(&[&backend], "");
    for (head, body) in expecting() {
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.send(head).response().status, 100);
        assert_eq!(client.send(body).response().text(), "thanks");
    }
}

#[test]
fn a_client_need_not_wait() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            conversation.send("HTTP/1.1 100 Continue\r\n\r\n");
            read_body(&mut conversation, &head);
            conversation.answer(200, "thanks");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for (head, body) in expecting() {
        client.send(head + &body);
        let mut response = client.response();
        if response.status == 100 {
            response = client.response();
        }
        assert_eq!((response.status, response.text().as_str()), (200, "thanks"));
    }
}

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

#[test]
fn interim_responses_pass_at_once() {
    let gate = Gate::new();
    let was_seen = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        conversation.send(HINTS);
        was_seen.wait();
        conversation.send("HTTP/1.1 102 Processing\r\n\r\n");
        conversation.answer(200, "x");
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.response();
    assert_eq!((hints.status, hints.reason.as_str()), (103, "Early Hints"));
    assert_eq!(hints.field("link"), Some("</style.css>; rel=preload"));
    gate.open();
    assert_eq!(client.response().status, 102);
    assert_eq!(client.response().text(), "x");
}

#[test]
fn interim_responses_come_before_their_final_one_even_in_one_packet() {
    let backend = Backend::new(|mut conversation| {
        while conversation.request().is_some() {
            let last = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
            conversation.send(format!("{HINTS}{HINTS}{last}"));
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let statuses = [(); 3].map(|()| client.response().status);
        assert_eq!(statuses, [103, 103, 200]);
    }
}

#[test]
fn interim_responses_come_before_their_final_one_even_if_it_is_ours() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send(HINTS);
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let statuses = [(); 2].map(|()| client.response().status);
        assert_eq!(statuses, [103, 502]);
    }
}

#[test]
fn interim_responses_keep_only_what_is_for_the_client() {
    let backend = Backend::new(|mut conversation| {
        conversation.request().unwrap();
        conversation.send(
            "HTTP/1.1 103 Early Hints\r\nConnection: X-Internal, close\r\nX-Internal: 1\r\n\
             Keep-Alive: timeout=1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\
             Link: </a>\r\n\r\n",
        );
        conversation.answer(200, "x");
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.response();
    assert_eq!(hints.fields, [("Link".to_owned(), "</a>".to_owned())]);
    assert_eq!(client.response().text(), "x");
}

#[test]
fn a_continue_that_nobody_asked_for_does_no_harm() {
    let backend = Backend::new(|mut conversation| {
        while conversation.request().is_some() {
            conversation.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            conversation.answer(200, "x");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        client.send(request);
        let mut response = client.response();
        while response.status == 100 {
            response = client.response();
        }
        assert_eq!((response.status, response.text().as_str()), (200, "x"));
    }
}

#[test]
fn interim_responses_that_the_client_does_not_read_are_not_hoarded() {
    /// Far more than the kernel's buffers and what a proxy may keep.
    const FLOOD: usize = 128 * 1024 * 1024;
    let (sent, was_sent) = mpsc::channel();
    let backend = Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        let stream = conversation.stream.get_mut();
        stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let piece = HINTS.repeat(1000);
        let mut taken = 0;
        while taken < FLOOD && std::io::Write::write_all(stream, piece.as_bytes()).is_ok() {
            taken += piece.len();
        }
        sent.send(taken).unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let taken = was_sent.recv_timeout(PATIENCE).unwrap();
    assert!(taken < FLOOD, "{taken} bytes were taken");
    drop(client);
    proxy.wait_until_quiet();
}
