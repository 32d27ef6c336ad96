//! Where does this message end, beyond any doubt?
//!
//! A [`Scanner`] follows the raw bytes that a client sends, before any parser sees them, and refuses whatever two parsers might read differently: request smuggling lives on such
//! differences. It is stricter than hyper, which accepts several of these and drops the evidence
//! while parsing:
//!
//! * `Content-Length` and `Transfer-Encoding` together, or either of them twice (RFC 9112, 6.3);
//! * a transfer coding other than exactly `chunked`, or any in HTTP/1.0 (6.1);
//! * a chunk size with blanks, a bare or malformed chunk extension (7.1.1);
//! * framing fields among trailers (RFC 9110, 6.5.1);
//! * lines that end in a bare line feed, folded lines (RFC 9112, 2.2 and 5.2);
//! * a request target with bytes that none may have (3.2);
//! * field names that are none, and control bytes in field values (RFC 9110, 5.1 and 5.5).
//!
//! It collects the [`FieldLines`] of a head, knows where every message ends, so that its caller can
//! hand over one message at a time, and enforces the limits on heads while they arrive.

pub(super) mod chunk;
mod head;

use memchr::{memchr, memchr_iter};

use head::Head;

use super::field_lines::FieldLines;
use super::fields::Found;

/// Why a message is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A line ends in LF without CR.
    BareLineFeed,
    /// A field line begins with a blank.
    FoldedLine,
    /// The first line is not a request line.
    RequestLine,
    /// The first line is not a status line.
    StatusLine,
    /// A field is not one.
    Malformed,
    /// A version of HTTP that we do not speak.
    Version,
    /// The request target has bytes that none may have.
    Target,
    /// The request target is too long.
    TargetTooLong,
    /// The head, or the trailer section, is too large.
    HeadTooLarge,
    /// The head has too many fields.
    TooManyFields,
    /// `Content-Length` is not one number.
    ContentLength,
    /// `Transfer-Encoding` is not exactly `chunked`, or not allowed here.
    TransferCoding,
    /// `Content-Length` and `Transfer-Encoding` together.
    LengthAndCoding,
    /// A chunk is not framed as it must be.
    Chunk,
    /// A trailer field that may not be one.
    TrailerField,
    /// Interim responses without end.
    TooManyInterim,
}

impl Refusal {
    /// What is wrong, in words for a log line or an error page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::BareLineFeed => "a line ends in a bare line feed",
            Refusal::FoldedLine => "a field line is folded",
            Refusal::RequestLine => "the request line is malformed",
            Refusal::StatusLine => "the status line is malformed",
            Refusal::Malformed => "a header field is malformed",
            Refusal::Version => "this version of HTTP is not spoken here",
            Refusal::Target => "the request target has bytes that none may have",
            Refusal::TargetTooLong => "the request target is too long",
            Refusal::HeadTooLarge => "the header section is too large",
            Refusal::TooManyFields => "there are too many header fields",
            Refusal::ContentLength => "Content-Length is not one number",
            Refusal::TransferCoding => "Transfer-Encoding is not exactly chunked",
            Refusal::LengthAndCoding => "both Content-Length and Transfer-Encoding are given",
            Refusal::Chunk => "a chunk is malformed",
            Refusal::TrailerField => "a trailer has a field that may not be in one",
            Refusal::TooManyInterim => "there are too many interim responses",
        }
    }
}

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head; also of a trailer section.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the next message has been seen.
    Idle,
    /// Within a head.
    Head,
    /// So many bytes of the body are left.
    Sized(u64),
    /// A chunk-size line is next.
    ChunkSize,
    /// So many bytes of the chunk are left.
    ChunkData(u64),
    /// The line end after a chunk's data is next.
    ChunkEnd,
    /// Within the trailer section.
    Trailers,
}

/// What a look at some bytes has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// So many of them belong to the current message: all of them, unless it ends before.
    pub taken: usize,
    /// A head has ended in them, and all of its field lines stand here and nowhere else.
    pub whole_fields: Option<usize>,
}

/// Follows what a client sends.
#[derive(Debug)]
pub struct Scanner {
    limits: HeadLimits,
    state: State,
    head: Head,
    /// The part of a line that came with earlier bytes. Nearly always empty: heads come whole.
    partial: Vec<u8>,
    /// Bytes of chunk extensions in the current body.
    extensions: usize,
    /// Whole heads seen.
    heads: u64,
    /// The last head was `OPTIONS` of an absolute target without a path.
    is_about_server: bool,
}

impl Scanner {
    /// A scanner at the beginning of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Scanner {
            limits,
            state: State::Idle,
            head: Head::default(),
            partial: Vec::new(),
            extensions: 0,
            heads: 0,
            is_about_server: false,
        }
    }

    /// Has nothing of the next message been seen yet?
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle && self.partial.is_empty()
    }

    /// Has nothing at all been seen since the last message, not even an empty line?
    pub fn is_at_rest(&self) -> bool {
        self.is_idle() && self.head.is_untouched()
    }

    /// Has a part of a head been seen?
    pub fn is_in_head(&self) -> bool {
        self.state == State::Head || (self.state == State::Idle && !self.partial.is_empty())
    }

    /// How many whole heads have been seen so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Did the last head ask for the options of a whole server, by an absolute target without a
    /// path? Parsed URIs do not tell it from one with the path `/` (RFC 9112, section 3.2.4).
    pub fn is_about_server(&self) -> bool {
        self.is_about_server
    }

    /// Follows the next `bytes`, and collects the field lines of a head in `fields`.
    pub fn scan(&mut self, bytes: &[u8], fields: &mut FieldLines) -> Result<Scanned, Refusal> {
        let mut whole_fields = None;
        let taken = self.follow(bytes, fields, &mut whole_fields)?;
        Ok(Scanned { taken, whole_fields })
    }

    fn follow(
        &mut self,
        bytes: &[u8],
        fields: &mut FieldLines,
        whole_fields: &mut Option<usize>,
    ) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Sized(left) => {
                    let (taken, left) = skip(rest, left);
                    at += taken;
                    self.state = if left == 0 { State::Idle } else { State::Sized(left) };
                }
                State::ChunkData(left) => {
                    let (taken, left) = skip(rest, left);
                    at += taken;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                }
                State::Head if self.partial.is_empty() => {
                    let (start, is_first) = (at, fields.is_empty());
                    at += self.field_lines(rest, fields)?;
                    if self.state == State::Head {
                        self.keep_partial(&bytes[at..])?;
                        return Ok(bytes.len());
                    }
                    *whole_fields = is_first.then_some(start);
                }
                _ => match memchr(b'\n', rest) {
                    Some(end) => {
                        at += end + 1;
                        self.whole_line(&rest[..end], fields)?;
                    }
                    None => {
                        self.keep_partial(rest)?;
                        return Ok(bytes.len());
                    }
                },
            }
            if self.state == State::Idle && self.head.is_untouched() {
                return Ok(at);
            }
        }
        Ok(at)
    }

    /// The whole field lines at the beginning of `bytes`, up to the end of the head if it is
    /// there. Gives how many bytes they are. Nearly every head passes through here in one go.
    fn field_lines(&mut self, bytes: &[u8], fields: &mut FieldLines) -> Result<usize, Refusal> {
        let mut start = 0;
        let mut count = 0;
        let mut has_ended = false;
        for end in memchr_iter(b'\n', bytes) {
            if end == start || bytes[end - 1] != b'\r' {
                return Err(Refusal::BareLineFeed);
            }
            let line = &bytes[start..end - 1];
            if line.is_empty() {
                has_ended = true;
                break;
            }
            let (flag, value) = fields.note(line, start)?;
            if flag.has(Found::FRAMING) {
                self.head.frame(flag, value)?;
            }
            start = end + 1;
            count += 1;
        }
        fields.add_text(&bytes[..start], count)?;
        if has_ended {
            start += 2;
        }
        self.head.grow(start, count, &self.limits)?;
        if has_ended {
            self.end_head()?;
        }
        Ok(start)
    }

    fn keep_partial(&mut self, rest: &[u8]) -> Result<(), Refusal> {
        self.partial.extend_from_slice(rest);
        let len = self.partial.len();
        match self.state {
            State::ChunkSize | State::ChunkEnd if len > chunk::MAX_LINE => Err(Refusal::Chunk),
            State::ChunkSize | State::ChunkEnd => Ok(()),
            State::Trailers => self.head.check_size(len, &self.trailer_limits()),
            _ => self.head.check_size(len, &self.limits),
        }
    }

    /// A trailer section may not be larger than the parser behind us takes.
    fn trailer_limits(&self) -> HeadLimits {
        HeadLimits { bytes: self.limits.bytes.min(chunk::MAX_TRAILERS), ..self.limits }
    }

    fn whole_line(&mut self, line: &[u8], fields: &mut FieldLines) -> Result<(), Refusal> {
        if self.partial.is_empty() {
            return self.line(line, fields);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(line);
        let result = self.line(&whole, fields);
        whole.clear();
        self.partial = whole; // its capacity is of use for the next split line
        result
    }

    /// One line, without its line feed.
    fn line(&mut self, line: &[u8], fields: &mut FieldLines) -> Result<(), Refusal> {
        let line = without_carriage_return(line)?;
        match self.state {
            State::ChunkSize => self.chunk_size_line(line),
            State::ChunkEnd if line.is_empty() => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::ChunkEnd => Err(Refusal::Chunk),
            State::Trailers => self.trailer_line(line),
            State::Idle => {
                fields.clear();
                self.start_line(line)
            }
            _ => self.field_line(line, fields),
        }
    }

    fn start_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.head.check_size(line.len() + 2, &self.limits)?;
        if !line.is_empty() {
            self.head.request_line(line, &self.limits)?;
            self.state = State::Head;
        } // RFC 9112, 2.2: empty lines before a request line are ignored
        self.head.grow(line.len() + 2, 0, &self.limits)
    }

    fn field_line(&mut self, line: &[u8], fields: &mut FieldLines) -> Result<(), Refusal> {
        if line.is_empty() {
            self.head.grow(2, 0, &self.limits)?;
            return self.end_head();
        }
        self.head.grow(line.len() + 2, 1, &self.limits)?;
        let (flag, value) = fields.push(line)?;
        if flag.has(Found::FRAMING) { self.head.frame(flag, value) } else { Ok(()) }
    }

    fn end_head(&mut self) -> Result<(), Refusal> {
        self.state = self.body()?;
        self.is_about_server = self.head.is_about_server;
        self.head = Head::default();
        self.extensions = 0;
        self.heads += 1;
        Ok(())
    }

    fn chunk_size_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.len() > chunk::MAX_LINE {
            return Err(Refusal::Chunk);
        }
        let size = chunk::size(line).ok_or(Refusal::Chunk)?;
        let digits = line.iter().position(|&b| b == b';').unwrap_or(line.len());
        self.extensions += line.len() - digits;
        if self.extensions > chunk::MAX_EXTENSIONS {
            return Err(Refusal::Chunk);
        }
        self.state = match size {
            0 => {
                self.head = Head::for_trailers();
                State::Trailers
            }
            size => State::ChunkData(size),
        };
        Ok(())
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.is_empty() {
            self.state = State::Idle;
            self.head = Head::default();
            return Ok(());
        }
        self.head.grow(line.len() + 2, 1, &self.trailer_limits())?;
        self.head.trailer(line)
    }

    /// How the body after the head that has just ended is framed (RFC 9112, 6.3).
    fn body(&self) -> Result<State, Refusal> {
        let head = &self.head;
        if head.is_chunked && head.length.is_some() {
            return Err(Refusal::LengthAndCoding);
        }
        if head.is_chunked && head.is_http10 {
            return Err(Refusal::TransferCoding);
        }
        Ok(match head.length {
            _ if head.is_chunked => State::ChunkSize,
            None | Some(0) => State::Idle,
            Some(length) => State::Sized(length),
        })
    }
}

fn without_carriage_return(line: &[u8]) -> Result<&[u8], Refusal> {
    line.strip_suffix(b"\r").ok_or(Refusal::BareLineFeed)
}

/// The value of a `Content-Length`: one number (RFC 9110, section 8.6).
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let length = value.iter().try_fold(0_u64, |length, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    });
    // No body is as long as that, and the largest lengths have a meaning of their own in parsers.
    length.filter(|&length| length <= i64::MAX as u64)
}

fn skip(bytes: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (taken, left - taken as u64)
}

#[cfg(test)]
mod tests;
