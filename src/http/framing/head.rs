//! The lines of a request head, as far as framing goes.

use super::chunk::{is_forbidden_trailer, is_token};
use super::{HeadLimits, Refusal, content_length};
use crate::http::fields::Found;

/// What the lines of the current head, or trailer section, have said so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) is_http10: bool,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
    bytes: usize,
    fields: usize,
    has_start_line: bool,
    pub(super) is_about_server: bool,
}

impl Head {
    /// For a trailer section, which has no start line.
    pub(super) fn for_trailers() -> Self {
        Head { has_start_line: true, ..Head::default() }
    }

    /// Has no line been counted?
    pub(super) fn is_untouched(&self) -> bool {
        self.bytes == 0
    }

    /// So many bytes and field lines more.
    pub(super) fn grow(
        &mut self,
        bytes: usize,
        fields: usize,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        self.bytes += bytes;
        self.fields += fields;
        if self.bytes > limits.bytes {
            return Err(Refusal::HeadTooLarge);
        }
        if self.fields > limits.fields { Err(Refusal::TooManyFields) } else { Ok(()) }
    }

    /// May the head grow by `more` bytes?
    pub(super) fn check_size(&self, more: usize, limits: &HeadLimits) -> Result<(), Refusal> {
        /// What a request line may have beside the target: a method, blanks, a version.
        const AROUND_TARGET: usize = 64;

        if !self.has_start_line && more > limits.target.saturating_add(AROUND_TARGET) {
            return Err(Refusal::TargetTooLong);
        }
        if self.bytes + more > limits.bytes { Err(Refusal::HeadTooLarge) } else { Ok(()) }
    }

    /// `method SP request-target SP HTTP-version`, with single spaces.
    pub(super) fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        /// What a version looks like, with the space before it.
        const VERSION: usize = " HTTP/1.1".len();

        self.has_start_line = true;
        let space = line.iter().position(|&b| !is_token(b)).ok_or(Refusal::RequestLine)?;
        let (method, rest) = line.split_at(space);
        let version = rest.len().checked_sub(VERSION).ok_or(Refusal::RequestLine)?;
        let (target, version) = rest.split_at(version);
        let (false, Some(target)) = (method.is_empty(), target.strip_prefix(b" ")) else {
            return Err(Refusal::RequestLine);
        };
        self.is_http10 = match version {
            b" HTTP/1.1" => false,
            b" HTTP/1.0" => true,
            [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        };
        if target.len() > limits.target {
            return Err(Refusal::TargetTooLong);
        }
        // `/path`, `*`, or an absolute form. What else begins with a mark has no scheme.
        let begins_well = matches!(target.first(), Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'/' | b'*'));
        if !begins_well || !target.iter().all(|&b| TARGET[b as usize]) {
            let is_one = !target.is_empty() && !target.contains(&b' ');
            return Err(if is_one { Refusal::Target } else { Refusal::RequestLine });
        }
        self.is_about_server = method == b"OPTIONS" && is_absolute_without_path(target);
        Ok(())
    }

    /// One of the two fields that frame a body: which, and what it says.
    pub(super) fn frame(&mut self, flag: Found, value: &[u8]) -> Result<(), Refusal> {
        let value = trim_blanks(value);
        if flag.has(Found::CONTENT_LENGTH) {
            // A repeated length is refused even if both agree: who sends two has lost count.
            match (content_length(value), self.length) {
                (Some(length), None) => self.length = Some(length),
                _ => return Err(Refusal::ContentLength),
            }
        } else {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferCoding);
            }
            self.is_chunked = true;
        }
        Ok(())
    }

    /// A field line of a trailer section.
    pub(super) fn trailer(&self, line: &[u8]) -> Result<(), Refusal> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(Refusal::FoldedLine);
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(Refusal::TrailerField)?;
        let name = &line[..colon];
        let is_name = !name.is_empty() && name.iter().all(|&b| is_token(b));
        let is_value = line[colon..].iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f));
        match is_name && is_value && !is_forbidden_trailer(name) {
            true => Ok(()),
            false => Err(Refusal::TrailerField),
        }
    }
}

/// `http://host` and nothing more.
fn is_absolute_without_path(target: &[u8]) -> bool {
    let scheme = target.iter().position(|&b| b == b':');
    let authority = scheme.and_then(|colon| target[colon..].strip_prefix(b"://"));
    authority.is_some_and(|authority| !authority.iter().any(|b| matches!(b, b'/' | b'?')))
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Bytes that a request target may have: those of RFC 3986, and the few more that browsers send
/// as they are (`[ ] \ ^ { | }`: WHATWG URL, query state); the backquote is left to the parser. No blanks, controls,
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
