//! What RFC 9113 demands of who receives requests: heads that break a rule, and how each is answered;
//! floods of frames, and what stops them. What is wrong with frames themselves is in `http2_frames`.

use std::io::Write;

use crate::support::frames::Answer::{Closed, GoAway, Reset, Status};
use crate::support::frames::{
    Answer, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, Frames, GET,
    HEADERS, PING, PRIORITY, PROTOCOL_ERROR, RESET, SETTINGS, block, frame, get_of, get_with,
    posted, request,
};
use crate::support::{Backend, Proxy, wait_until};

const H2C: &str = "[server.limits]\nheader_count = 20\nheader_bytes = \"8KiB\"\nuri_length = \"4KiB\"\n\
                   [[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";

/// A row of a table: what is wrong, how it is said, and what may be answered.
type Row<'a> = (&'a str, Vec<u8>, &'a [Answer]);

/// Says each on a connection of its own and compares the answer.
#[track_caller]
fn check(proxy: &Proxy, rows: &[Row<'_>]) {
    let mut wrong = Vec::new();
    for (what, frames, expected) in rows {
        let mut client = Frames::connect(proxy);
        let _ = client.0.write_all(frames); // it may be cut off meanwhile
        let answer = client.answer();
        if !expected.contains(&answer) {
            wrong.push(format!("{what}: {answer:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn heads_that_break_a_rule() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let malformed: &[Answer] = &[Reset(PROTOCOL_ERROR)];
    // A stream error may be made one of the connection (RFC 9113, section 5.4.2).
    let refused: &[Answer] =
        &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR), GoAway(COMPRESSION_ERROR)];
    let extended = |protocol| {
        let of = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http")];
        frame(HEADERS, END_HEADERS, 1, &block(&[&of, &GET[2..]].concat()))
    };
    let bad = [Status(400)];
    let cases: &[Row<'_>] = &[
        ("nothing", request(&GET), &[Status(200)]),
        ("no method", request(&GET[1..]), malformed),
        ("no scheme", request(&[GET[0], GET[2], GET[3]]), malformed),
        ("no path", request(&[GET[0], GET[1], GET[3]]), malformed),
        ("an empty path", get_of("GET", "", "a"), malformed),
        ("a relative path", get_of("GET", "relative", "a"), &[Status(400), Reset(PROTOCOL_ERROR)]),
        ("two methods", get_with(&[(":method", "GET")]), malformed),
        ("a late pseudo-field", get_with(&[("a", "b"), (":path", "/")]), malformed),
        ("a pseudo-field of responses", get_with(&[(":status", "200")]), malformed),
        ("an unknown pseudo-field", get_with(&[(":new", "1")]), refused),
        ("capitals", get_with(&[("X-A", "b")]), refused),
        ("a name with a blank", get_with(&[("x a", "b")]), refused),
        ("a value with a line end", get_with(&[("x-a", "b\r\nc: d")]), refused),
        ("a value with a zero", get_with(&[("x-a", "b\0")]), refused),
        ("a value that begins with a blank", get_with(&[("x-a", " b")]), &bad),
        ("connection", get_with(&[("connection", "close")]), malformed),
        ("keep-alive", get_with(&[("keep-alive", "1")]), malformed),
        ("proxy-connection", get_with(&[("proxy-connection", "close")]), malformed),
        ("transfer-encoding", get_with(&[("transfer-encoding", "chunked")]), malformed),
        ("upgrade", get_with(&[("upgrade", "h2c")]), malformed),
        ("te", get_with(&[("te", "gzip")]), malformed),
        ("te: trailers, which is right", get_with(&[("te", "trailers")]), &[Status(200)]),
        ("another host", get_with(&[("host", "other.test")]), &bad),
        ("the same host, in capitals", get_with(&[("host", "SHOP.test")]), &[Status(200)]),
        ("host alone", request(&[&GET[..3], &[("host", "a")]].concat()), &[Status(200)]),
        ("two hosts", request(&[&GET[..3], &[("host", "a"), ("host", "b")]].concat()), &bad),
        ("no host at all", request(&GET[..3]), &bad),
        ("a user in the authority", get_of("GET", "/", "user@shop.test"), &bad),
        ("an empty authority", get_of("GET", "/", ""), &[Status(400), Reset(PROTOCOL_ERROR)]),
        ("the asterisk", get_of("GET", "*", "a"), &bad),
        ("the asterisk where it belongs", get_of("OPTIONS", "*", "a"), &[Status(200)]),
        ("TRACE", get_of("TRACE", "/", "a"), &[Status(405)]),
        ("CONNECT", request(&[(":method", "CONNECT"), (":authority", "a:1")]), &[Status(405)]),
        ("CONNECT with a path", get_of("CONNECT", "/", "a"), malformed),
        ("another protocol", extended("connect-udp"), &[Status(501)]),
        ("a protocol for GET", get_with(&[(":protocol", "websocket")]), malformed),
        ("a length without content", get_with(&[("content-length", "5")]), malformed),
        ("a length that is none", get_with(&[("content-length", "x")]), malformed),
        (
            "a signed length",
            posted(&[&GET[..], &[("content-length", "+3")]].concat(), b"abc"),
            &[Status(400), Reset(PROTOCOL_ERROR)],
        ),
        ("too little", posted(&[&GET[..], &[("content-length", "5")]].concat(), b"abc"), malformed),
        ("too much", posted(&[&GET[..], &[("content-length", "2")]].concat(), b"abc"), malformed),
        ("many fields", get_with(&[("a", "b"); 30]), &[Status(431)]),
        ("large fields", get_with(&[("a", &"b".repeat(9000))]), &[Status(431)]),
    ];
    check(&proxy, cases);
    let problem = [("problem", "head_too_large")];
    let refused = || proxy.scrape().sum("stickler_problems_total", &problem);
    wait_until("both that are too large are counted", || refused() == 2.0);
    let seen = backend.requests();
    assert!(seen.iter().all(|request| request.method != "TRACE" && request.body.is_empty()));
}

/// Sends the same again and again, and reads meanwhile. How the proxy ends it.
fn flood(proxy: &Proxy, begin: &[u8], again: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Answer {
    let mut client = Frames::connect(proxy);
    client.0.write_all(begin).unwrap();
    let mut stream = client.0.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let sent = (0..200_000).find(|&i| stream.write_all(&again(i)).is_err());
        sent.expect("it may go on for ever")
    });
    let answer = loop {
        match client.answer() {
            answer @ (GoAway(_) | Closed) => break answer,
            Status(_) | Reset(_) => {}
        }
    };
    while client.next().is_some() {}
    drop(client);
    writer.join().unwrap();
    answer
}

#[test]
fn bodies_that_nobody_reads_are_no_flood() {
    // It answers without reading, again and again.
    let backend = Backend::new(|mut conversation| {
        let Some(head) = conversation.head() else { return };
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        conversation.answer(200, "enough");
    });
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let mut client = Frames::connect(&proxy);
    let large = frame(DATA, 0, 1, &[b'x'; 16_000]);
    for i in 0..40 {
        let id = 2 * i + 1;
        let mut request = frame(HEADERS, END_HEADERS, id, &block(&GET));
        for _ in 0..4 {
            let mut data = large.clone();
            data[5..9].copy_from_slice(&id.to_be_bytes());
            request.extend(data);
        }
        client.0.write_all(&request).unwrap();
        let answer = loop {
            match client.answer() {
                Reset(0) => {} // of the one before: the rest of its body is not wanted
                answer => break answer,
            }
        };
        assert!(matches!(answer, Status(200 | 502)), "{i}: {answer:?}");
    }
}

#[test]
fn floods_are_stopped() {
    let backend = Backend::new(|mut conversation| conversation.wait_for_close());
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let calm: &[Answer] = &[GoAway(ENHANCE_YOUR_CALM), Closed];
    let many = |frame: Vec<u8>| move |_| frame.repeat(20);
    let pings = flood(&proxy, &[], many(frame(PING, 0, 0, &[0; 8])));
    assert!(calm.contains(&pings), "pings: {pings:?}");
    let settings = flood(&proxy, &[], many(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])));
    assert!(calm.contains(&settings), "settings: {settings:?}");
    let priorities = flood(&proxy, &[], many(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 5])));
    assert!(calm.contains(&priorities), "priorities: {priorities:?}");
    let empty = flood(&proxy, &frame(HEADERS, 4, 1, &block(&GET)), many(frame(DATA, 0, 1, &[])));
    assert!(calm.contains(&empty), "empty data: {empty:?}");
    let pieces = frame(CONTINUATION, 0, 1, &[]);
    let continued = flood(&proxy, &frame(HEADERS, 1, 1, &block(&GET)), many(pieces));
    assert!(calm.contains(&continued), "empty continuations: {continued:?}");
    let pieces = frame(CONTINUATION, 0, 1, &block(&[("a", &"b".repeat(1000))]));
    let continued = flood(&proxy, &frame(HEADERS, 1, 1, &block(&GET)), many(pieces));
    assert!(calm.contains(&continued), "endless heads: {continued:?}");
    let resets = flood(&proxy, &[], |i| {
        // Slowly enough that each becomes a request of ours.
        std::thread::sleep(std::time::Duration::from_micros(200));
        let id = i * 2 + 1;
        let mut frames = frame(HEADERS, 5, id, &block(&GET));
        frames.extend(frame(RESET, 0, id, &8_u32.to_be_bytes()));
        frames
    });
    assert!(calm.contains(&resets), "rapid resets: {resets:?}");
    proxy.wait_until_quiet();
}

#[test]
fn heads_that_unpack_to_much_more_than_they_are_worth_are_refused() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(H2C, &[&backend], "");
    // One large field, remembered, and then named by its number again and again.
    let mut bomb = block(&GET);
    bomb.push(0x40);
    bomb.extend([1, b'a', 127, 0x81, 0x17]); // 3,000 bytes
    bomb.extend([b'b'; 3000 + 72]);
    bomb.extend([0xbe; 10_000]);
    let answers = &[
        Status(431),
        Reset(PROTOCOL_ERROR),
        GoAway(ENHANCE_YOUR_CALM),
        GoAway(PROTOCOL_ERROR),
        GoAway(COMPRESSION_ERROR),
        Closed,
    ];
    check(&proxy, &[("a bomb", frame(HEADERS, 5, 1, &bomb), answers)]);
    assert!(backend.requests().is_empty());
}
