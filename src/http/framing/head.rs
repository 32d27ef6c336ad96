//! The lines of a head, as far as framing goes.

use super::chunk::is_token;
use super::{HeadLimits, Refusal, Role};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    #[default]
    Http11,
}

/// What the lines of the current head, or trailer section, have said so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) version: Version,
    /// Of a response; 0 of a request.
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    /// The head itself, if it is an interim response's.
    pub(super) raw: Vec<u8>,
    bytes: usize,
    fields: usize,
    start_line_seen: bool,
}

impl Head {
    /// For a trailer section, which has no start line.
    pub(super) fn for_trailers() -> Self {
        Head { start_line_seen: true, ..Head::default() }
    }

    /// Has no line been counted?
    pub(super) fn is_untouched(&self) -> bool {
        self.bytes == 0
    }

    /// Is it an interim response's? 101 is not interim: nothing of HTTP follows it.
    pub(super) fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// So many bytes and field lines more.
    pub(super) fn grow(
        &mut self,
        bytes: &[u8],
        fields: usize,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        if self.is_interim() {
            self.raw.extend_from_slice(bytes);
        }
        self.count(bytes.len(), fields, limits)
    }

    /// The same for a line whose end has been taken off.
    pub(super) fn grow_line(
        &mut self,
        line: &[u8],
        fields: usize,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        if self.is_interim() {
            self.raw.extend_from_slice(line);
            self.raw.extend_from_slice(b"\r\n");
        }
        self.count(line.len() + 2, fields, limits)
    }

    fn count(&mut self, bytes: usize, fields: usize, limits: &HeadLimits) -> Result<(), Refusal> {
        self.bytes += bytes;
        self.fields += fields;
        if self.bytes > limits.bytes {
            return Err(Refusal::HeadTooLarge);
        }
        if self.fields > limits.fields { Err(Refusal::TooManyFields) } else { Ok(()) }
    }

    /// May the head grow by `more` bytes?
    pub(super) fn check_size(
        &self,
        more: usize,
        role: Role,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        /// What a request line may have beside the target: a method, blanks, a version.
        const AROUND_TARGET: usize = 64;

        let in_request_line = role == Role::Requests && !self.start_line_seen;
        if in_request_line && more > limits.target.saturating_add(AROUND_TARGET) {
            return Err(Refusal::TargetTooLong);
        }
        if self.bytes + more > limits.bytes { Err(Refusal::HeadTooLarge) } else { Ok(()) }
    }

    pub(super) fn start_line(
        &mut self,
        line: &[u8],
        role: Role,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        self.start_line_seen = true;
        match role {
            Role::Requests => self.request_line(line, limits),
            Role::Responses => self.status_line(line),
        }
    }

    /// `method SP request-target SP HTTP-version`, with single spaces.
    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let mut parts = line.split(|&b| b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|&b| is_token(b)) || target.is_empty() {
            return Err(Refusal::RequestLine);
        }
        if target.len() > limits.target {
            return Err(Refusal::TargetTooLong);
        }
        if !target.iter().all(|&b| TARGET[b as usize]) {
            return Err(Refusal::Target);
        }
        self.version = version_of(version).ok_or(Refusal::RequestLine)??;
        Ok(())
    }

    /// `HTTP-version SP status-code [SP reason]`
    fn status_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (version, rest) = line.split_at_checked(8).ok_or(Refusal::StatusLine)?;
        self.version = version_of(version).ok_or(Refusal::StatusLine)??;
        match rest {
            [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..]
                if matches!(rest, [] | [b' ', ..]) =>
            {
                let digit = |b: &u8| u16::from(b - b'0');
                self.status = 100 * digit(a) + 10 * digit(b) + digit(c);
            }
            _ => return Err(Refusal::StatusLine),
        }
        Ok(())
    }

    /// A field line. Only the two that frame a body are read.
    pub(super) fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        match line[0] | 0x20 {
            b'c' => match value_of(line, b"content-length") {
                Some(value) => self.content_length(value),
                None => Ok(()),
            },
            b't' => match value_of(line, b"transfer-encoding") {
                Some(value) => self.transfer_encoding(value),
                None => Ok(()),
            },
            _ if matches!(line[0], b' ' | b'\t') => Err(Refusal::FoldedLine),
            _ => Ok(()),
        }
    }

    /// A field line of a trailer section: nothing there may change what was read before.
    pub(super) fn trailer(&self, line: &[u8]) -> Result<(), Refusal> {
        const FORBIDDEN: [&[u8]; 5] =
            [b"content-length", b"transfer-encoding", b"host", b"trailer", b"connection"];

        if matches!(line[0], b' ' | b'\t') {
            return Err(Refusal::FoldedLine);
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(Refusal::TrailerField)?;
        let name = &line[..colon];
        let is_name = !name.is_empty() && name.iter().all(|&b| is_token(b));
        if !is_name || FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
            return Err(Refusal::TrailerField);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // A repeated length is refused even if both agree: who sends two has lost count.
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits);
        let length = length.and_then(|digits| digits.parse().ok());
        if length.is_none() || self.length.is_some() {
            return Err(Refusal::ContentLength);
        }
        self.length = length;
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferCoding);
        }
        self.chunked = true;
        Ok(())
    }
}

/// The version that this text names. `None` if it names none at all.
fn version_of(text: &[u8]) -> Option<Result<Version, Refusal>> {
    match text {
        b"HTTP/1.1" => Some(Ok(Version::Http11)),
        b"HTTP/1.0" => Some(Ok(Version::Http10)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Err(Refusal::Version))
        }
        _ => None,
    }
}

/// The value of a field line of this name (in lower case), without blanks around it.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| trim_blanks(value))
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Bytes that a request target may have: those of RFC 3986, and the few more that browsers send
/// as they are (`[ ] \ ^ { | }` and the backquote: WHATWG URL, query state). No blanks, controls,
/// quotes, angle brackets, fragments, or anything beyond ASCII.
static TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x21;
    while b < 0x7f {
        table[b] = !matches!(b as u8, b'"' | b'#' | b'<' | b'>');
        b += 1;
    }
    table
};
