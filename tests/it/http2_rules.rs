//! What RFC 9113 and 7541 demand of who receives frames: a table of requests and frames that break
//! a rule, and how each is answered.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Backend, PATIENCE, Proxy};

const H2C: &str = "[server.limits]\nheader_count = 20\nheader_bytes = \"8KiB\"\nuri_length = \"4KiB\"\n\
                   [[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// How the proxy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Status(u16),
    /// Of the stream.
    Reset(u32),
    /// Of the connection.
    GoAway(u32),
    /// The end of the connection, without a word.
    Closed,
}
use Answer::{Closed, GoAway, Reset, Status};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals that nobody remembers (RFC 7541, section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            match text.len() {
                length @ ..127 => block.push(length as u8),
                length => {
                    block.push(127);
                    let mut rest = length - 127;
                    while rest >= 128 {
                        block.push((rest % 128 + 128) as u8);
                        rest /= 128;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// One whole request on stream 1.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// The same with content.
fn posted(fields: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut frames = frame(HEADERS, END_HEADERS, 1, &block(fields));
    frames.extend(frame(DATA, END_STREAM, 1, content));
    frames
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.test")];

/// A GET with these fields after its own.
fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    request(&[&GET, fields].concat())
}

/// A GET with other pseudo-fields.
fn get_of(method: &str, target: &str, authority: &str) -> Vec<u8> {
    let authority = [(":authority", authority)];
    let of = [(":method", method), (":scheme", "http"), (":path", target)];
    request(&[&of, &authority[..]].concat())
}

/// A client of frames.
struct Frames(TcpStream);

impl Frames {
    fn connect(proxy: &Proxy) -> Self {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Frames(stream)
    }

    /// The next frame: its kind, flags, stream and payload. `None` at the end.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// The first thing that is said about stream 1, or about the connection's end.
    fn answer(&mut self) -> Answer {
        let code = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        loop {
            match self.next() {
                None => return Closed,
                Some((HEADERS, _, _, block)) => return Status(status(&block)),
                Some((RESET, _, _, payload)) => return Reset(code(&payload)),
                Some((GOAWAY, _, _, payload)) => return GoAway(code(&payload[4..8])),
                Some(_) => {}
            }
        }
    }
}

/// `:status`, which comes first in a block: indexed, or a literal in the code of RFC 7541, appendix
/// B, of which only digits are needed.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        _ if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        _ => {
            let bits = block[2..].iter().take(3).fold(0_u32, |bits, &b| bits << 8 | u32::from(b));
            let (mut at, mut status) = (24, 0);
            for _ in 0..3 {
                let five = bits >> (at - 5) & 0x1f;
                let digit = match five {
                    0..=2 => {
                        at -= 5;
                        five
                    }
                    _ => {
                        at -= 6;
                        (bits >> at & 0x3f) - 0b01_1001 + 3
                    }
                };
                status = status * 10 + digit;
            }
            status as u16
        }
    }
}

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
    // COMPRESSION_ERROR is what RFC 9113 says; h2 has one code for all that it cannot read.
    let compressed: &[Answer] = &[GoAway(COMPRESSION_ERROR), GoAway(PROTOCOL_ERROR)];
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
        ("an index that means nothing", frame(HEADERS, 5, 1, &[0xff, 0x70]), compressed),
        ("half an integer", frame(HEADERS, 5, 1, &[0x7f]), compressed),
    ];
    check(&proxy, cases);
    let seen = backend.requests();
    assert!(seen.iter().all(|request| request.method != "TRACE" && request.body.is_empty()));
}

#[test]
fn frames_that_break_a_rule() {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(H2C, &[&backend], "");
    let open = frame(HEADERS, END_HEADERS, 1, &block(&GET));
    let after = |frames: &[u8]| [&open[..], frames].concat();
    let of_the_connection: &[Answer] = &[GoAway(PROTOCOL_ERROR)];
    // FRAME_SIZE_ERROR is what RFC 9113 says; h2 has the other code for some of these.
    let sized: &[Answer] = &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)];
    let get = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
    let cases: &[Row<'_>] = &[
        ("data on no stream", frame(DATA, 0, 0, b"a"), of_the_connection),
        ("data on an idle stream", frame(DATA, 0, 1, b"a"), of_the_connection),
        ("a head on no stream", frame(HEADERS, 5, 0, &block(&GET)), of_the_connection),
        ("an even stream", frame(HEADERS, 5, 2, &block(&GET)), of_the_connection),
        (
            "a lower stream",
            [get(3), get(1)].concat(),
            &[Status(200), GoAway(PROTOCOL_ERROR), GoAway(STREAM_CLOSED), Reset(STREAM_CLOSED)],
        ),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, &[]), of_the_connection),
        (
            "something within a head",
            [frame(HEADERS, 1, 1, &block(&GET)), frame(PING, 0, 0, &[0; 8])].concat(),
            of_the_connection,
        ),
        ("a promise", frame(PUSH, 4, 1, &[0, 0, 0, 2]), of_the_connection),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), sized),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[]), of_the_connection),
        (
            "a window that is too large",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
            &[GoAway(FLOW_CONTROL_ERROR), GoAway(PROTOCOL_ERROR)],
        ),
        ("push: 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), of_the_connection),
        ("frames of 1 byte", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), of_the_connection),
        ("a ping of five bytes", frame(PING, 0, 0, &[0; 5]), sized),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8]), of_the_connection),
        ("a reset of nothing", frame(RESET, 0, 1, &[0; 4]), of_the_connection),
        ("a reset of three bytes", after(&frame(RESET, 0, 1, &[0; 3])), sized),
        ("no more room", after(&frame(WINDOW, 0, 1, &[0; 4])), &[Reset(1), GoAway(1)]),
        ("no more room at all", frame(WINDOW, 0, 0, &[0; 4]), of_the_connection),
        (
            "too much room",
            frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            &[GoAway(FLOW_CONTROL_ERROR)],
        ),
        ("a frame that is too large", after(&frame(DATA, 0, 1, &vec![0; 70_000])), sized),
        ("more padding than there is", after(&frame(DATA, 8, 1, &[9, 1])), of_the_connection),
        (
            "a priority of its own",
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 5]), request(&GET)].concat(),
            &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR), Status(200)],
        ),
        ("an unknown frame", [frame(0x55, 3, 0, b"?"), request(&GET)].concat(), &[Status(200)]),
        (
            "unknown settings",
            [frame(SETTINGS, 0, 0, &[0x55, 0, 0, 0, 0, 1]), request(&GET)].concat(),
            &[Status(200)],
        ),
    ];
    check(&proxy, cases);
    proxy.wait_until_quiet();
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
