//! What RFC 9113 and 7541 demand of who receives frames: tables of frames that break a rule, by the
//! section that has the rule, and the error that each must be answered with. Nothing that breaks one
//! is let pass, and no connection hangs.

use std::io::Write;

use crate::support::frames::{
    COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, Frames, GET, GOAWAY, HEADERS, PING, PRIORITY, PROTOCOL_ERROR, PUSH,
    REFUSED_STREAM, RESET, SETTINGS, STREAM_CLOSED, WINDOW, block, frame,
};
use crate::support::{Backend, Proxy};

const H2C: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";

const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// What is wrong, what is said, and what may be answered: an error of this stream, or else one of the
/// whole connection, which any error may become (RFC 9113, section 5.4.1).
enum Must {
    /// One of the stream, or of the connection.
    Refuse(&'static [u32]),
    /// One of the connection.
    End(&'static [u32]),
    /// Nothing is wrong.
    Pass,
}
use Must::{End, Pass, Refuse};

/// The section, what is wrong, and how it is said: in parts, between which the whole response of
/// stream 1 is waited for.
type Row = (&'static str, &'static str, Must, Vec<Vec<u8>>);

fn proxy() -> (Backend, Proxy) {
    let backend = Backend::named("hello");
    let proxy = Proxy::configured(H2C, &[&backend], "");
    (backend, proxy)
}

/// Says each on a connection of its own.
#[track_caller]
fn check(rows: Vec<Row>) {
    let (_backend, proxy) = proxy();
    let mut wrong = Vec::new();
    for (section, what, must, parts) in rows {
        let mut client = Frames::connect(&proxy);
        let (last, before) = parts.split_last().unwrap();
        for part in before {
            client.0.write_all(part).unwrap();
            client.skip_response();
        }
        let _ = client.0.write_all(last); // it may be cut off meanwhile
        let complaint = complaint(&mut client);
        let is_right = match (&must, complaint) {
            (Refuse(codes), Complaint::OfStream(code)) => codes.contains(&code),
            (Refuse(codes) | End(codes), Complaint::OfConnection(code)) => codes.contains(&code),
            (Pass, Complaint::None) => true,
            _ => false,
        };
        if !is_right {
            let expected = match must {
                Refuse(codes) | End(codes) => format!("one of {codes:?}"),
                Pass => "none".into(),
            };
            wrong.push(format!("{section}, {what}: {complaint:?} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    proxy.wait_until_quiet();
}

#[derive(Clone, Copy, Debug)]
enum Complaint {
    None,
    OfStream(u32),
    OfConnection(u32),
    /// The connection has ended without a word.
    Silence,
}

/// What the proxy has against what was said. Asks twice whether it is still there: with the second
/// answer all has come that had to be said before the first.
fn complaint(client: &mut Frames) -> Complaint {
    let code = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    for mark in [[1; 8], [2; 8]] {
        let _ = client.0.write_all(&frame(PING, 0, 0, &mark));
        loop {
            match client.next() {
                None => return Complaint::Silence,
                Some((PING, 1, 0, payload)) if payload == mark => break,
                Some((RESET, _, _, payload)) => return Complaint::OfStream(code(&payload)),
                Some((GOAWAY, _, _, payload)) if code(&payload[4..8]) != 0 => {
                    // The connection ends with it.
                    while client.next().is_some() {}
                    return Complaint::OfConnection(code(&payload[4..8]));
                }
                Some(_) => {}
            }
        }
    }
    Complaint::None
}

/// A GET on a stream.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&GET))
}

/// The head of a request that goes on.
fn open() -> Vec<u8> {
    let mut post = GET;
    post[0] = (":method", "POST");
    frame(HEADERS, END_HEADERS, 1, &block(&post))
}

/// That, and something after it.
fn then(frames: Vec<u8>) -> Vec<Vec<u8>> {
    vec![[open(), frames].concat()]
}

fn reset(code: u8) -> Vec<u8> {
    frame(RESET, 0, 1, &[0, 0, 0, code])
}

fn data(flags: u8, content: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, content)
}

fn continued(flags: u8) -> Vec<u8> {
    frame(CONTINUATION, flags, 1, &block(&[("a", "b")]))
}

/// A head that is not whole yet.
fn begun() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, &block(&GET))
}

fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW, 0, stream, &bytes.to_be_bytes())
}

fn setting(number: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, number][..], &value.to_be_bytes()].concat())
}

#[test]
fn what_all_frames_have_in_common() {
    const SIZE: Must = Refuse(&[FRAME_SIZE_ERROR]);
    const PROTOCOL: Must = End(&[PROTOCOL_ERROR]);
    let large = frame(HEADERS, WHOLE, 1, &[block(&GET), vec![0; 16_384]].concat());
    let reserved = [&[0, 0, 8, PING, 0, 0x80, 0, 0, 0][..], &[0; 8]].concat();
    let unknown = frame(0xff, 0xff, 0, &[0; 8]);
    check(vec![
        ("4.1", "an unknown kind", Pass, vec![unknown.clone()]),
        ("4.1", "flags that mean nothing", Pass, vec![frame(PING, 0x16, 0, &[0; 8])]),
        ("4.1", "the reserved bit", Pass, vec![reserved]),
        ("4.2", "as large as may be", Pass, then(data(END_STREAM, &[0; 16_384]))),
        ("4.2", "too large, data", SIZE, then(data(END_STREAM, &[0; 16_385]))),
        ("4.2", "too large, a head", End(&[FRAME_SIZE_ERROR]), vec![large]),
        ("4.3", "a head within a head", PROTOCOL, vec![[begun(), get(3)].concat()]),
        (
            "4.3",
            "a priority within a head",
            PROTOCOL,
            vec![[begun(), frame(PRIORITY, 0, 1, &[0; 5])].concat()],
        ),
        ("5.5", "an unknown kind within a head", PROTOCOL, vec![[begun(), unknown].concat()]),
        ("5.5", "an unknown setting", Pass, vec![setting(0x55, 1)]),
        ("6.1", "data on no stream", PROTOCOL, vec![frame(DATA, 0, 0, b"a")]),
        ("6.1", "more padding than data", PROTOCOL, then(data(PADDED, &[5, 1, 2, 3]))),
        ("6.1", "no room for padding", SIZE, then(data(PADDED, &[]))),
        ("6.2", "a head on no stream", PROTOCOL, vec![frame(HEADERS, WHOLE, 0, &block(&GET))]),
        (
            "6.2",
            "more padding than head",
            PROTOCOL,
            vec![frame(HEADERS, WHOLE | PADDED, 1, &[&[255][..], &block(&GET)].concat())],
        ),
        ("6.2", "no room for padding", SIZE, vec![frame(HEADERS, WHOLE | PADDED, 1, &[])]),
        ("6.2", "half a priority", SIZE, vec![frame(HEADERS, WHOLE | HAS_PRIORITY, 1, &[0; 3])]),
        (
            "6.2",
            "padding and a priority",
            Pass,
            vec![frame(
                HEADERS,
                WHOLE | HAS_PRIORITY | PADDED,
                1,
                &[&[2, 0, 0, 0, 0, 9][..], &block(&GET), &[0; 2]].concat(),
            )],
        ),
        ("6.3", "a priority of nothing", PROTOCOL, vec![frame(PRIORITY, 0, 0, &[0; 5])]),
        ("6.3", "a priority of four bytes", SIZE, then(frame(PRIORITY, 0, 1, &[0; 4]))),
        ("6.4", "a reset of nothing", PROTOCOL, vec![frame(RESET, 0, 0, &[0; 4])]),
        (
            "6.4",
            "a reset of three bytes",
            End(&[FRAME_SIZE_ERROR]),
            then(frame(RESET, 0, 1, &[0; 3])),
        ),
        ("6.6", "a promise", PROTOCOL, vec![frame(PUSH, END_HEADERS, 1, &[0, 0, 0, 2])]),
        ("7", "a reset with an unknown code", Pass, then(reset(0xff))),
    ]);
}

#[test]
fn frames_of_the_connection() {
    const SIZE: Must = End(&[FRAME_SIZE_ERROR]);
    const PROTOCOL: Must = End(&[PROTOCOL_ERROR]);
    const FLOW: Must = End(&[FLOW_CONTROL_ERROR]);
    let two = [&[0, 4, 0, 0, 0, 100][..], &[0, 4, 0, 0, 0, 1]].concat();
    check(vec![
        ("6.5", "settings of five bytes", SIZE, vec![frame(SETTINGS, 0, 0, &[0; 5])]),
        ("6.5", "an acknowledgement of something", SIZE, vec![frame(SETTINGS, 1, 0, &[0; 6])]),
        ("6.5", "settings on a stream", PROTOCOL, vec![frame(SETTINGS, 0, 1, &[])]),
        ("6.5.2", "push: 2", PROTOCOL, vec![setting(2, 2)]),
        ("6.5.2", "a window of 2^31", FLOW, vec![setting(4, 1 << 31)]),
        ("6.5.2", "the largest window", Pass, vec![setting(4, (1 << 31) - 1)]),
        ("6.5.2", "frames of 2^14 - 1", PROTOCOL, vec![setting(5, (1 << 14) - 1)]),
        ("6.5.2", "frames of 2^24", PROTOCOL, vec![setting(5, 1 << 24)]),
        ("6.5.3", "one twice", Pass, vec![frame(SETTINGS, 0, 0, &two)]),
        ("6.7", "a ping of six bytes", SIZE, vec![frame(PING, 0, 0, &[0; 6])]),
        ("6.7", "a ping on a stream", PROTOCOL, vec![frame(PING, 0, 1, &[0; 8])]),
        ("6.7", "an answer to no ping", Pass, vec![frame(PING, 1, 0, &[7; 8])]),
        ("6.8", "a goodbye on a stream", PROTOCOL, vec![frame(GOAWAY, 0, 1, &[0; 8])]),
        ("6.8", "half a goodbye", SIZE, vec![frame(GOAWAY, 0, 0, &[0; 7])]),
        ("6.9", "no more room", PROTOCOL, vec![room(0, 0)]),
        ("6.9", "no more room on a stream", Refuse(&[PROTOCOL_ERROR]), then(room(1, 0))),
        ("6.9", "room in three bytes", SIZE, vec![frame(WINDOW, 0, 0, &[0, 0, 1])]),
        ("6.9", "the same on a stream", SIZE, then(frame(WINDOW, 0, 1, &[0, 0, 1]))),
        ("6.9.1", "too much room", FLOW, vec![room(0, (1 << 31) - 1)]),
        (
            "6.9.1",
            "too much room on a stream",
            Refuse(&[FLOW_CONTROL_ERROR]),
            then(room(1, (1 << 31) - 1)),
        ),
        (
            "6.9.1",
            "more than there is room for",
            Refuse(&[FLOW_CONTROL_ERROR]),
            then(data(0, &[0; 16_384]).repeat(80)),
        ),
    ]);
}

#[test]
fn a_connection_begins_with_its_preface_and_settings() {
    let (_backend, proxy) = proxy();
    for begin in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\x0012345678",
    ] {
        let mut client = Frames::raw(&proxy);
        client.0.write_all(begin).unwrap();
        // A goodbye is not a must (RFC 9113, section 3.4).
        while let Some((kind, _, _, payload)) = client.next() {
            assert!(kind != GOAWAY || payload[7] == PROTOCOL_ERROR as u8);
            assert_ne!((kind, &payload[..]), (PING, &b"12345678"[..]));
        }
    }
}

#[test]
fn states_of_streams() {
    const PROTOCOL: Must = End(&[PROTOCOL_ERROR]);
    const CLOSED: Must = Refuse(&[STREAM_CLOSED]);
    // A continuation of nothing is wrong whatever the stream is.
    const EITHER: Must = End(&[STREAM_CLOSED, PROTOCOL_ERROR]);
    let cut = |frames: Vec<u8>| then([reset(8), frames].concat());
    let done = |frames: Vec<u8>| vec![get(1), frames];
    let many = |count| (0..count).flat_map(|i| get(2 * i + 1)).collect::<Vec<_>>();
    let stuck = |count| [setting(4, 0), many(count)].concat(); // so that they do not end
    let later_ones = many(100)[get(1).len()..].to_vec();
    let later = |frame: Vec<u8>| vec![[stuck(100), frame].concat()];
    check(vec![
        ("5.1", "idle: data", PROTOCOL, vec![data(0, b"a")]),
        ("5.1", "idle: a reset", PROTOCOL, vec![reset(8)]),
        ("5.1", "idle: room", PROTOCOL, vec![room(1, 9)]),
        ("5.1", "idle: a continuation", PROTOCOL, vec![continued(END_HEADERS)]),
        ("5.1", "idle: a priority", Pass, vec![frame(PRIORITY, 0, 1, &[0; 5])]),
        ("5.1", "half closed: data", CLOSED, vec![[get(1), data(0, b"a")].concat()]),
        ("5.1", "half closed: a head", CLOSED, vec![[get(1), get(1)].concat()]),
        (
            "5.1",
            "half closed: a continuation",
            EITHER,
            vec![[get(1), continued(END_HEADERS)].concat()],
        ),
        ("5.1", "half closed: room", Pass, vec![[get(1), room(1, 9)].concat()]),
        ("5.1", "reset: data", CLOSED, cut(data(0, b"a"))),
        ("5.1", "reset: a head", CLOSED, cut(get(1))),
        ("5.1", "reset: a continuation", EITHER, cut(continued(END_HEADERS))),
        ("5.1", "reset: a priority", Pass, cut(frame(PRIORITY, 0, 1, &[0; 5]))),
        ("5.1", "closed: data", CLOSED, done(data(0, b"a"))),
        ("5.1", "closed: a head", CLOSED, done(get(1))),
        ("5.1", "closed: a continuation", EITHER, done(continued(END_HEADERS))),
        ("5.1", "closed: a reset", Pass, done(reset(8))),
        ("5.1", "closed: room", Pass, done(room(1, 9))),
        ("5.1", "closed: another stream", Pass, done(get(3))),
        ("5.1", "half closed for long: data", CLOSED, later(data(0, b"a"))),
        ("5.1", "half closed for long: a head", CLOSED, later(get(1))),
        ("5.1", "half closed for long: room", Pass, later(room(1, 9))),
        ("5.1", "closed for long: a head", CLOSED, vec![many(100), get(1)]),
        (
            "5.1",
            "open for long: the end",
            Pass,
            vec![[open(), later_ones, data(END_STREAM, b"a")].concat()],
        ),
        ("5.1.1", "an even stream", PROTOCOL, vec![get(2)]),
        ("5.1.1", "one that was left out", PROTOCOL, vec![[get(5), get(3)].concat()]),
        ("5.1.2", "too many", Refuse(&[PROTOCOL_ERROR, REFUSED_STREAM]), vec![stuck(130)]),
        (
            "5.3.1 of RFC 7540",
            "a head before itself",
            Refuse(&[PROTOCOL_ERROR]),
            vec![frame(
                HEADERS,
                WHOLE | HAS_PRIORITY,
                1,
                &[&[0, 0, 0, 1, 9][..], &block(&GET)].concat(),
            )],
        ),
    ]);
}

#[test]
fn heads_in_pieces_and_trailers() {
    const PROTOCOL: Must = End(&[PROTOCOL_ERROR]);
    const MALFORMED: Must = Refuse(&[PROTOCOL_ERROR]);
    let trailers = |flags, fields: &[(&str, &str)]| {
        let trailers = frame(HEADERS, flags, 1, &block(fields));
        then([data(0, b"a"), trailers].concat())
    };
    // The head has ":path: /a" and "x: y", which are remembered.
    let remembered = |trailers: &[u8]| {
        let mut fields = block(&[(":method", "POST"), GET[1], GET[3]]);
        fields.extend(b"\x44\x02/a\x40\x01x\x01y");
        let head = frame(HEADERS, END_HEADERS, 1, &fields);
        vec![[head, data(0, b"a"), frame(HEADERS, WHOLE, 1, trailers)].concat()]
    };
    check(vec![
        (
            "6.10",
            "pieces",
            Pass,
            vec![[begun(), continued(0), frame(CONTINUATION, END_HEADERS, 1, &[])].concat()],
        ),
        ("6.10", "data after a piece", PROTOCOL, vec![[begun(), data(0, b"a")].concat()]),
        (
            "6.10",
            "a piece of nothing",
            PROTOCOL,
            vec![[begun(), frame(CONTINUATION, END_HEADERS, 0, &[])].concat()],
        ),
        (
            "6.10",
            "a piece of another head",
            PROTOCOL,
            vec![[begun(), frame(CONTINUATION, END_HEADERS, 3, &[])].concat()],
        ),
        ("6.10", "a piece after the last one", PROTOCOL, then(continued(END_HEADERS))),
        (
            "6.10",
            "two last pieces",
            PROTOCOL,
            vec![[begun(), continued(END_HEADERS), continued(END_HEADERS)].concat()],
        ),
        (
            "6.10",
            "a piece after data",
            PROTOCOL,
            then([data(0, b"a"), continued(END_HEADERS)].concat()),
        ),
        ("8.1", "trailers", Pass, trailers(WHOLE, &[("x-sum", "1")])),
        ("8.1", "trailers that are not the end", MALFORMED, trailers(END_HEADERS, &[("a", "b")])),
        ("8.1", "a pseudo-field in trailers", MALFORMED, trailers(WHOLE, &[(":path", "/")])),
        ("8.1", "a new pseudo-field in trailers", MALFORMED, trailers(WHOLE, &[(":new", "/")])),
        ("8.3", "a remembered pseudo-field in trailers", PROTOCOL, remembered(&[0xbf])),
        ("8.3", "the name of one in trailers", PROTOCOL, remembered(&[0x7f, 0, 1, b'a'])),
        ("8.1", "another remembered field in trailers", Pass, remembered(&[0xbe])),
        ("8.2.1", "capitals in trailers", MALFORMED, trailers(WHOLE, &[("X-Sum", "1")])),
        ("8.2.2", "connection in trailers", MALFORMED, trailers(WHOLE, &[("connection", "a")])),
    ]);
}

#[test]
fn field_blocks_that_are_none() {
    const COMPRESSION: Must = End(&[COMPRESSION_ERROR]);
    let after = |bytes: &[u8]| vec![frame(HEADERS, WHOLE, 1, &[&block(&GET)[..], bytes].concat())];
    let before = |bytes: &[u8]| vec![frame(HEADERS, WHOLE, 1, &[bytes, &block(&GET)[..]].concat())];
    let coded = |value: &[u8]| {
        let length = 0x80 | value.len() as u8;
        after(&[&[0, 1, b'a', length][..], value].concat())
    };
    // Fields that are remembered, of 3,072 and 4,096 bytes.
    let large = [&[0x40, 1, b'a', 127, 0x81, 0x17][..], &[b'b'; 3072]].concat();
    let larger = [&[0x40, 1, b'a', 127, 0x81, 0x1f][..], &[b'b'; 4096]].concat();
    check(vec![
        ("HPACK 2.3.3", "an index beyond the tables", COMPRESSION, after(&[0xc6])),
        ("HPACK 2.3.3", "a name beyond the tables", COMPRESSION, after(&[0x7f, 7, 1, b'a'])),
        ("HPACK 4.2", "a size after fields", COMPRESSION, after(&[0x20])),
        ("HPACK 4.2", "two sizes", Pass, before(&[0x20, 0x3f, 0xe1, 0x1f])),
        ("HPACK 5.1", "a number without end", COMPRESSION, after(&[0x7f, 255, 255, 255, 255, 1])),
        ("HPACK 5.1", "half a number", COMPRESSION, after(&[0x7f])),
        ("HPACK 5.2", "half a string", COMPRESSION, after(&[0, 16, b'a'])),
        ("HPACK 5.2", "a string in the code", Pass, coded(&[0x49, 0x50, 0x9f])),
        (
            "HPACK 5.2",
            "padding of more than seven bits",
            COMPRESSION,
            coded(&[0x49, 0x50, 0x9f, 0xff]),
        ),
        ("HPACK 5.2", "padding of zeros", COMPRESSION, coded(&[0x49, 0x50, 0x90])),
        (
            "HPACK 5.2",
            "the end of strings in one",
            COMPRESSION,
            coded(&[0xff, 0xff, 0xff, 0xfc, 0x1f]),
        ),
        (
            "HPACK 5.2",
            "a name with padding of zeros",
            COMPRESSION,
            after(&[0, 0x83, 0x49, 0x50, 0x90, 0]),
        ),
        ("HPACK 4.4", "remembered", Pass, after(&[&large[..], &[0xbe]].concat())),
        ("HPACK 4.4", "forgotten", COMPRESSION, after(&[&large[..], &large, &[0xbf]].concat())),
        ("HPACK 4.4", "too large", COMPRESSION, after(&[&larger[..], &[0xbe]].concat())),
        ("HPACK 6.1", "index 0", COMPRESSION, after(&[0x80])),
        ("HPACK 6.3", "a size that is too large", COMPRESSION, before(&[0x3f, 0xe2, 0x1f])),
        ("4.3", "half a field in trailers", COMPRESSION, then(frame(HEADERS, WHOLE, 1, &[0x40]))),
        (
            "4.3",
            "half a field in pieces",
            COMPRESSION,
            vec![[begun(), frame(CONTINUATION, END_HEADERS, 1, &[0x40])].concat()],
        ),
    ]);
}

#[test]
fn responses_keep_to_the_room_that_there_is() {
    let (_backend, proxy) = proxy();
    let mut client = Frames::connect(&proxy);
    // No room at all, then for three bytes, then less than none, then enough (6.9.2).
    client.0.write_all(&[setting(4, 0), get(1)].concat()).unwrap();
    client.0.write_all(&setting(4, 3)).unwrap();
    let mut body = client.data(3);
    client.0.write_all(&[setting(4, 2), room(1, 2)].concat()).unwrap();
    body.extend(client.data(1));
    client.0.write_all(&room(1, 100)).unwrap();
    body.extend(client.data(1));
    assert_eq!(body, b"hello");
}
