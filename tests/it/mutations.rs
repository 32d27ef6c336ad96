//! Messages that are nearly right: whatever they do, they harm only themselves.

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Backend, Client, Proxy, get};

const SEED: u64 = 1;
const ROUNDS: usize = 400;

/// Bytes that mean something to a parser.
const MEANINGFUL: &[u8] = b"\r\n\t \0:;,=\"\\0159afHTP/.-\x7f\xff";

/// The text, with a few bytes changed, left out, doubled or moved.
fn mutated(text: &str, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        let byte = MEANINGFUL[rng.random_range(0..MEANINGFUL.len())];
        match rng.random_range(0..4) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => bytes.rotate_left(at),
        }
    }
    bytes
}

const REQUESTS: [&str; 4] = [
    "GET /a?b HTTP/1.1\r\nHost: test\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    "POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nConnection: x\r\n\r\n\
     5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "GET http://test/ HTTP/1.0\r\nConnection: keep-alive\r\nX-Forwarded-For: ::1\r\n\r\n",
];

#[test]
fn nearly_right_requests_harm_only_themselves() {
    let backend = Backend::named("fine");
    let proxy = Proxy::before(&[&backend], "");
    let mut rng = StdRng::seed_from_u64(SEED);
    for round in 0..ROUNDS {
        let request = mutated(REQUESTS[round % REQUESTS.len()], &mut rng);
        let mut client = Client::connect(proxy.address());
        // Nothing more comes, so that it need not wait for what is missing.
        let (answer, _) = client.send(&request).finish().rest();
        let shown = String::from_utf8_lossy(&request);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{round}: {shown:?}");
        assert_eq!(get(proxy.address(), "/", "").text(), "fine", "{round}: after {shown:?}");
    }
    proxy.wait_until_quiet();
    for request in backend.requests() {
        assert_eq!(request.version, "HTTP/1.1");
        assert!(request.target.starts_with(['/', '*']), "{request:?}");
        assert_eq!(request.fields("host").len(), 1, "{request:?}");
        let framings =
            request.fields("content-length").len() + request.fields("transfer-encoding").len();
        assert!(framings <= 1, "{request:?}");
    }
}

const RESPONSES: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x\r\n\r\n\
     5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
];

#[test]
fn nearly_right_responses_harm_only_themselves() {
    let rng = Mutex::new(StdRng::seed_from_u64(SEED));
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            match request.target.strip_prefix("/mutated/") {
                Some(kind) => {
                    let kind: usize = kind.parse().unwrap();
                    conversation.send(mutated(RESPONSES[kind], &mut rng.lock().unwrap()));
                    // What is missing does not come.
                    return;
                }
                None => conversation.answer(200, "fine"),
            }
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    for round in 0..ROUNDS {
        let mut client = Client::connect(proxy.address());
        let target = format!("/mutated/{}", round % RESPONSES.len());
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (answer, _) = client.send(request).rest();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{round}: {answer:?}");
        assert_eq!(get(proxy.address(), "/", "").text(), "fine", "{round}");
    }
    proxy.wait_until_quiet();
}
