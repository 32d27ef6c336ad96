//! Whoever leaves, and whenever: nothing stays in flight, and nobody works for nobody.

use std::io::Write;
use std::sync::mpsc;

use crate::support::{Backend, BlackHole, Client, Gate, PATIENCE, Proxy, pool, wait_until};

type Leave = fn(Client);

/// The ways to leave.
const WAYS: [(&str, Leave); 2] = [("closes", drop), ("resets", Client::reset)];

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client that has sent this leaves when `is_time`; the backend's connection then ends, and
/// nothing stays in flight.
#[track_caller]
fn assert_noticed(request: &str, answer: &'static str, leave: Leave) {
    let (backend, begun, has_ended) = Backend::left_alone_after(answer);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(request);
    begun.wait();
    if !answer.is_empty() {
        client.head();
    }
    assert_eq!(proxy.in_flight(), 1);
    leave(client);
    has_ended.recv_timeout(PATIENCE).expect("the backend's request goes on");
    proxy.wait_until_quiet();
    assert_eq!(proxy.member("b0").outcomes(), [0, 0, 1], "a cancelled one");
}

#[test]
fn before_the_head_of_the_response() {
    for (_, leave) in WAYS {
        assert_noticed(GET, "", leave);
        assert_noticed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "", leave);
    }
}

#[test]
fn while_its_backend_is_being_connected_to() {
    let hole = BlackHole::new();
    let settings = "timeouts = { connect = \"1h\" }";
    let proxy = Proxy::with(&pool(&[hole.address.to_string()], settings));
    for (_, leave) in WAYS {
        let mut client = Client::connect(proxy.address());
        client.send(GET);
        wait_until("it is in flight", || proxy.in_flight() == 1);
        leave(client);
        proxy.wait_until_quiet();
    }
}

#[test]
fn during_an_upload() {
    for (_, leave) in WAYS {
        assert_noticed(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
            "",
            leave,
        );
        let chunked =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        assert_noticed(chunked, "", leave);
    }
}

#[test]
fn while_its_body_is_held_back() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    for (_, leave) in WAYS {
        assert_noticed(request, "", leave);
    }
}

#[test]
fn during_an_upload_whose_response_has_begun() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (_, leave) in WAYS {
        let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc";
        assert_noticed(upload, answer, leave);
    }
}

#[test]
fn during_a_response() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\n\r\nabc",
    ] {
        for (_, leave) in WAYS {
            assert_noticed(GET, answer, leave);
        }
    }
}

#[test]
fn after_it_has_sent_another_request() {
    for (_, leave) in WAYS {
        assert_noticed(&GET.repeat(2), "", leave);
    }
}

#[test]
fn after_it_has_sent_another_request_in_a_packet_of_its_own() {
    let (ended, has_ended) = mpsc::channel();
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        conversation.wait_for_close();
        ended.send(()).unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(GET);
    wait_until("it is in flight", || proxy.in_flight() == 1);
    client.send(GET);
    client.reset();
    has_ended.recv_timeout(PATIENCE).expect("the backend's request goes on");
    proxy.wait_until_quiet();
}

#[test]
fn during_an_upload_that_its_backend_does_not_read() {
    let gone = Gate::new();
    let has_gone = gone.clone();
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        has_gone.wait(); // and read nothing
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 30));
    let stream = client.stream.get_mut();
    stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
    client.reset();
    proxy.wait_until_quiet();
    gone.open();
}

#[test]
fn in_a_tunnel() {
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    for (how, leave) in WAYS {
        let ended = Gate::new();
        let has_ended = ended.clone();
        let backend = Backend::new(move |mut conversation| {
            conversation.head().unwrap();
            conversation.send(answer);
            conversation.wait_for_close();
            has_ended.open();
        });
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send(ask).head();
        assert_eq!(proxy.in_flight(), 1, "{how}");
        leave(client);
        ended.wait();
        proxy.wait_until_quiet();
    }
}

#[test]
fn in_the_middle_of_a_large_download() {
    for (_, leave) in WAYS {
        let (ended, has_ended) = mpsc::channel();
        let backend = Backend::new(move |mut conversation| {
            conversation.request().unwrap();
            conversation.send("HTTP/1.1 200 OK\r\n\r\n");
            let piece = [b'x'; 64 * 1024];
            while conversation.stream.get_mut().write_all(&piece).is_ok() {}
            ended.send(()).unwrap();
        });
        let proxy = Proxy::before(&[&backend], "");
        let mut client = Client::connect(proxy.address());
        client.send(GET).bytes(1_000_000);
        leave(client);
        has_ended.recv_timeout(PATIENCE).unwrap();
        proxy.wait_until_quiet();
    }
}

#[test]
fn before_its_request_is_whole() {
    let backend = Backend::named("a");
    let proxy = Proxy::before(&[&backend], "");
    for request in [
        "",
        "GET",
        &GET[..GET.len() - 1],
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
    ] {
        for (_, leave) in WAYS {
            let mut client = Client::connect(proxy.address());
            client.send(request);
            leave(client);
        }
    }
    assert_eq!(Client::connect(proxy.address()).send(GET).response().status, 200);
    assert_eq!((backend.requests().len(), proxy.in_flight()), (1, 0));
}

#[test]
fn a_client_that_only_stops_talking_gets_its_answer() {
    // A request may be all that a client has to say (RFC 9112, section 9.6).
    let backend = Backend::named("hello");
    let proxy = Proxy::before(&[&backend], "");
    for request in [GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"] {
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.send(request).finish().response().text(), "hello");
        client.assert_closed();
    }
}

#[test]
fn crowds_that_leave_at_any_moment_leave_nothing_behind() {
    let backend = Backend::new(|mut conversation| {
        while let Some(head) = conversation.head() {
            if head.contains("/hold") {
                return conversation.wait_for_close();
            }
            conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
            conversation.send("0\r\n\r\n");
        }
    });
    let settings = "[pools.pool.affinity]\nmode = \"cookie\"";
    let proxy = Proxy::before(&[&backend], settings);
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
        "POST /hold HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /hold HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /hold HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx",
    ];
    for round in 0..20 {
        for request in requests {
            for (_, leave) in WAYS {
                let mut client = Client::connect(proxy.address());
                client.send(&request[..request.len() - round % 3]);
                leave(client);
            }
        }
    }
    wait_until("all of them have gone", || proxy.in_flight() == 0);
    assert_eq!(Client::connect(proxy.address()).send(GET).response().text(), "abc");
}
