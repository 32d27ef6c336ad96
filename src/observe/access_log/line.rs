//! One line of the access log. What its client sent is escaped: no request can break out of its
//! line, or out of its quotes.

use std::net::IpAddr;

use super::stamp::Stamp;
use crate::balance::{Cause, Timestamp};
use crate::config::{self, AccessLogFormat};
use crate::observe::{End, ProblemKind};

/// A buffer that has grown beyond this is not kept.
const MAX_SPARE: usize = 8 * 1024;

/// What a request spends its time with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its body is read before a backend is chosen.
    Body,
    /// It waits for a backend.
    Queue,
    /// A connection is made, or is not.
    Connect,
    /// It was sent, in vain.
    Failed,
    /// It is sent, and the backend works on it.
    Head,
    /// The response is passed on.
    Transfer,
}

impl Phase {
    pub(crate) const COUNT: usize = Phase::Transfer as usize + 1;
}

/// The id of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Id<'a> {
    /// To be written in sixteen digits.
    Number(u64),
    /// As a trusted proxy gave it.
    Text(&'a str),
}

/// What the request said, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The client, as far as a trusted proxy can be believed.
    pub(crate) client: IpAddr,
    /// Who connected.
    pub(crate) peer: IpAddr,
    /// Nothing more is known of requests that could not be understood.
    pub(crate) head: Option<Head<'a>>,
}

/// What the head of a request said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a [u8],
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) protocol: &'static str,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
}

/// What has become of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline<'a> {
    /// 0 if there was none.
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) pool: Option<&'a str>,
    pub(crate) backend: Option<&'a str>,
    pub(crate) cause: Option<Cause>,
    pub(crate) attempts: u16,
    pub(crate) session: Option<u64>,
    pub(crate) end: End,
    pub(crate) problem: Option<ProblemKind>,
    /// Whether it was made here, or given.
    pub(crate) request_id: Id<'a>,
    /// Nanoseconds by [`Phase`].
    pub(crate) phases: [u64; Phase::COUNT],
    pub(crate) nanos: u64,
}

impl Outline<'_> {
    /// Is it worth a line where ordinary requests are not?
    pub(super) fn is_notable(&self) -> bool {
        self.status >= 500
            || self.end != End::Complete
            || self.problem.is_some()
            || self.cause.is_some_and(|cause| cause.reason().is_some())
            || self.attempts > 1
    }
}

/// A line that has begun.
#[derive(Debug)]
pub(crate) struct Line {
    format: AccessLogFormat,
    bytes: Vec<u8>,
    /// What becomes of the request is written there.
    gap: usize,
    /// The trace that the request belongs to.
    pub(crate) trace: Option<[u8; 32]>,
}

impl Default for Line {
    fn default() -> Self {
        Line { format: AccessLogFormat::Json, bytes: Vec::new(), gap: 0, trace: None }
    }
}

impl Line {
    /// Writes what is known when a request comes.
    pub(super) fn begin(
        &mut self,
        settings: &config::AccessLog,
        request: &Request<'_>,
        stamp: &mut Stamp,
        now: Timestamp,
    ) {
        self.format = settings.format;
        self.trace = None;
        self.bytes.clear();
        match self.format {
            AccessLogFormat::Json => self.begin_json(settings, request, stamp, now),
            AccessLogFormat::Combined | AccessLogFormat::Extended => {
                self.begin_combined(settings, request, stamp, now);
            }
        }
    }

    fn begin_json(
        &mut self,
        settings: &config::AccessLog,
        request: &Request<'_>,
        stamp: &mut Stamp,
        now: Timestamp,
    ) {
        let to = &mut self.bytes;
        to.extend_from_slice(b"{\"time\":\"");
        stamp.write(to, AccessLogFormat::Json, now);
        to.extend_from_slice(b"\",\"client\":\"");
        address(to, request.client);
        to.push(b'"');
        if request.peer != request.client {
            to.extend_from_slice(b",\"peer\":\"");
            address(to, request.peer);
            to.push(b'"');
        }
        if let Some(head) = &request.head {
            string(to, b",\"method\":\"", head.method.as_bytes());
            string(to, b",\"host\":\"", head.host);
            string(to, b",\"path\":\"", head.path.as_bytes());
            if let Some(query) = head.query.filter(|_| settings.query) {
                string(to, b",\"query\":\"", query.as_bytes());
            }
            string(to, b",\"protocol\":\"", head.protocol.as_bytes());
            if let Some(agent) = head.user_agent {
                string(to, b",\"user_agent\":\"", agent);
            }
            if let Some(referer) = head.referer {
                string(to, b",\"referer\":\"", without_query(referer, settings.query));
            }
        }
        self.gap = to.len();
    }

    fn begin_combined(
        &mut self,
        settings: &config::AccessLog,
        request: &Request<'_>,
        stamp: &mut Stamp,
        now: Timestamp,
    ) {
        let to = &mut self.bytes;
        address(to, request.client);
        to.extend_from_slice(b" - - [");
        stamp.write(to, AccessLogFormat::Combined, now);
        to.extend_from_slice(b"] \"");
        match &request.head {
            None => to.push(b'-'),
            Some(head) => {
                hexed(to, head.method.as_bytes());
                to.push(b' ');
                hexed(to, head.path.as_bytes());
                if let Some(query) = head.query.filter(|_| settings.query) {
                    to.push(b'?');
                    hexed(to, query.as_bytes());
                }
                to.push(b' ');
                to.extend_from_slice(head.protocol.as_bytes());
            }
        }
        to.push(b'"');
        self.gap = to.len();
        let head = request.head.as_ref();
        let referer = head.and_then(|head| head.referer);
        let agent = head.and_then(|head| head.user_agent);
        for (open, value) in [
            (b" \"", referer.map(|referer| without_query(referer, settings.query))),
            (b" \"", agent),
        ] {
            to.extend_from_slice(open);
            hexed(to, value.unwrap_or(b"-"));
            to.push(b'"');
        }
    }

    /// Writes the line, with what has become of the request.
    pub(super) fn end(&self, outline: &Outline<'_>, to: &mut Vec<u8>) {
        let (before, after) = self.bytes.split_at(self.gap);
        /// What becomes of a request takes about so much.
        const USUAL: usize = 512;

        to.reserve(self.bytes.len() + USUAL);
        to.extend_from_slice(before);
        match self.format {
            AccessLogFormat::Json => self.end_json(outline, to),
            AccessLogFormat::Combined | AccessLogFormat::Extended => {
                // What nginx writes of clients that left before they were answered.
                let status = if outline.status == 0 { 499 } else { outline.status };
                number(to, b" ", status.into());
                number(to, b" ", outline.bytes_out);
            }
        }
        to.extend_from_slice(after);
        if self.format == AccessLogFormat::Extended {
            end_extended(outline, to);
        }
        to.push(b'\n');
    }

    fn end_json(&self, outline: &Outline<'_>, to: &mut Vec<u8>) {
        match outline.status {
            0 => to.extend_from_slice(b",\"status\":null"),
            status => number(to, b",\"status\":", status.into()),
        }
        number(to, b",\"bytes_in\":", outline.bytes_in);
        number(to, b",\"bytes_out\":", outline.bytes_out);
        label(to, b",\"pool\":\"", outline.pool);
        label(to, b",\"backend\":\"", outline.backend);
        label(to, b",\"cause\":\"", outline.cause.map(Cause::as_str));
        let reason = outline.cause.and_then(Cause::reason);
        label(to, b",\"reason\":\"", reason.map(|reason| reason.as_str()));
        label(to, b",\"problem\":\"", outline.problem.map(ProblemKind::as_str));
        label(to, b",\"end\":\"", Some(outline.end.as_str()));
        number(to, b",\"attempts\":", outline.attempts.into());
        if let Some(session) = outline.session {
            to.extend_from_slice(b",\"session\":\"");
            to.extend_from_slice(&hex(session));
            to.push(b'"');
        }
        to.extend_from_slice(b",\"request_id\":\"");
        request_id(to, outline);
        to.push(b'"');
        if let Some(trace) = &self.trace {
            to.extend_from_slice(b",\"trace_id\":\"");
            to.extend_from_slice(trace);
            to.push(b'"');
        }
        number(to, b",\"duration_us\":", outline.nanos / 1_000);
        let micros = outline.phases.map(|nanos| nanos / 1_000);
        number(to, b",\"body_us\":", micros[Phase::Body as usize]);
        number(to, b",\"queue_us\":", micros[Phase::Queue as usize]);
        number(to, b",\"connect_us\":", micros[Phase::Connect as usize]);
        number(to, b",\"failed_us\":", micros[Phase::Failed as usize]);
        number(to, b",\"head_us\":", micros[Phase::Head as usize]);
        number(to, b",\"transfer_us\":", micros[Phase::Transfer as usize]);
        to.push(b'}');
    }

    pub(super) fn is_worth_keeping(&self) -> bool {
        self.bytes.capacity() <= MAX_SPARE
    }
}

fn request_id(to: &mut Vec<u8>, outline: &Outline<'_>) {
    match outline.request_id {
        Id::Number(id) => to.extend_from_slice(&hex(id)),
        Id::Text(id) => to.extend_from_slice(id.as_bytes()), // of a few harmless characters
    }
}

/// What became of the request, in words without blanks; `-` for what is not known.
fn end_extended(outline: &Outline<'_>, to: &mut Vec<u8>) {
    let reason = outline.cause.and_then(Cause::reason);
    for (name, value) in [
        (" pool=", outline.pool),
        (" backend=", outline.backend),
        (" cause=", outline.cause.map(Cause::as_str)),
        (" reason=", reason.map(|reason| reason.as_str())),
        (" problem=", outline.problem.map(ProblemKind::as_str)),
        (" end=", Some(outline.end.as_str())),
    ] {
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(value.unwrap_or("-").as_bytes());
    }
    number(to, b" attempts=", outline.attempts.into());
    to.extend_from_slice(b" request_id=");
    request_id(to, outline);
    number(to, b" duration_us=", outline.nanos / 1_000);
    let micros = outline.phases.map(|nanos| nanos / 1_000);
    number(to, b" body_us=", micros[Phase::Body as usize]);
    number(to, b" queue_us=", micros[Phase::Queue as usize]);
    number(to, b" connect_us=", micros[Phase::Connect as usize]);
    number(to, b" failed_us=", micros[Phase::Failed as usize]);
    number(to, b" head_us=", micros[Phase::Head as usize]);
    number(to, b" transfer_us=", micros[Phase::Transfer as usize]);
}

/// A referer may carry the query of another page.
fn without_query(referer: &[u8], keeps_query: bool) -> &[u8] {
    match memchr::memchr(b'?', referer) {
        Some(at) if !keeps_query => &referer[..at],
        _ => referer,
    }
}

#[inline(always)] // the name becomes a store or two
fn number<const N: usize>(to: &mut Vec<u8>, name: &[u8; N], value: u64) {
    to.extend_from_slice(name);
    match u8::try_from(value) {
        Ok(digit @ 0..10) => to.push(b'0' + digit),
        _ => to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

fn address(to: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (i, octet) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    to.push(b'.');
                }
                number(to, b"", octet.into());
            }
        }
        IpAddr::V6(v6) => to.extend_from_slice(v6.to_string().as_bytes()),
    }
}

/// The sixteen digits of a number.
pub(crate) fn hex(value: u64) -> [u8; 16] {
    /// Eight digits at once, one in each byte.
    fn digits(half: u32) -> [u8; 8] {
        const ONES: u64 = 0x0101_0101_0101_0101;

        let mut x = u64::from(half);
        x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
        x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = (x + 6 * ONES) >> 4 & ONES;
        (x + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
    }

    let mut text = [0; 16];
    text[..8].copy_from_slice(&digits((value >> 32) as u32));
    text[8..].copy_from_slice(&digits(value as u32));
    text
}

/// Is this a text that no format has to escape? Written so that the compiler looks at many bytes
/// at once.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |plain, &b| plain & (0x20..0x7f).contains(&b) & (b != b'"') & (b != b'\\'))
}

/// Writes `name`, which ends with a quote, a text as JSON has it, and a quote.
#[inline(always)] // as above
fn string<const N: usize>(to: &mut Vec<u8>, name: &[u8; N], text: &[u8]) {
    to.extend_from_slice(name);
    text_of(to, text);
}

fn text_of(to: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        to.reserve(text.len() + 1);
        to.extend_from_slice(text);
    } else {
        escaped(to, text);
    }
    to.push(b'"');
}

/// Writes a name or a label of ours: they have no character that would have to be escaped.
#[inline(always)] // as above
fn label<const N: usize>(to: &mut Vec<u8>, name: &[u8; N], value: Option<&str>) {
    if let Some(value) = value {
        to.extend_from_slice(name);
        to.extend_from_slice(value.as_bytes());
        to.push(b'"');
    }
}

/// What is not UTF-8 is taken for Latin-1, byte by byte.
fn escaped(to: &mut Vec<u8>, text: &[u8]) {
    let mut escape = |c: char| match c {
        '"' | '\\' => to.extend_from_slice(&[b'\\', c as u8]),
        '\t' => to.extend_from_slice(b"\\t"),
        // Two line ends that some readers of JSON still trip over.
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
            to.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
        }
        c => to.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    };
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(&mut escape);
        chunk.invalid().iter().for_each(|&byte| escape(char::from(byte)));
    }
}

/// Writes a text as nginx and Apache do in such lines.
fn hexed(to: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        return to.extend_from_slice(text);
    }
    for &byte in text {
        match is_plain(&[byte]) {
            true => to.push(byte),
            false => to.extend_from_slice(format!("\\x{byte:02X}").as_bytes()),
        }
    }
}
