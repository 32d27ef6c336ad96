//! A client that says frames of HTTP/2 as it is told, wrong ones included.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{PATIENCE, Proxy};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// How the proxy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// Of the stream.
    Reset(u32),
    /// Of the connection.
    GoAway(u32),
    /// The end of the connection, without a word.
    Closed,
}
use Answer::{Closed, GoAway, Reset, Status};

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals that nobody remembers (RFC 7541, section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
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
pub fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// The same with content.
pub fn posted(fields: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut frames = frame(HEADERS, END_HEADERS, 1, &block(fields));
    frames.extend(frame(DATA, END_STREAM, 1, content));
    frames
}

pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.test")];

/// A GET with these fields after its own.
pub fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    request(&[&GET, fields].concat())
}

/// A GET with other pseudo-fields.
pub fn get_of(method: &str, target: &str, authority: &str) -> Vec<u8> {
    let authority = [(":authority", authority)];
    let of = [(":method", method), (":scheme", "http"), (":path", target)];
    request(&[&of, &authority[..]].concat())
}

/// A client of frames.
pub struct Frames(pub TcpStream);

impl Frames {
    /// One that has said its preface and settings.
    pub fn connect(proxy: &Proxy) -> Self {
        let mut client = Frames::raw(proxy);
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.0.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        client
    }

    /// One that has said nothing.
    pub fn raw(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Frames(stream)
    }

    /// Waits for the end of the first response.
    #[track_caller]
    pub fn skip_response(&mut self) {
        loop {
            let (kind, flags, _, _) = self.next().expect("there is a response");
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return;
            }
        }
    }

    /// Exactly so many bytes of a body.
    #[track_caller]
    pub fn data(&mut self, length: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < length {
            if let (DATA, _, _, payload) = self.next().expect("there is data") {
                data.extend(payload);
            }
        }
        assert_eq!(data.len(), length, "not more than there is room for");
        data
    }

    /// The next frame: its kind, flags, stream and payload. `None` at the end.
    pub fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// `None` at the end of the connection, however that comes.
    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        let read = self.0.read_exact(buffer);
        let is_late =
            |e: &io::Error| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!read.as_ref().is_err_and(is_late), "the connection hangs");
        read.ok()
    }

    /// The first thing that is said about stream 1, or about the connection's end.
    pub fn answer(&mut self) -> Answer {
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
