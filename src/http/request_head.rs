//! What does a request look like when it leaves?
//!
//! The fields that a client sent are not edited in place and encoded afterwards: their lines are
//! copied once, straight into the bytes that go out, and what may not pass is left out on the way.
//! Those bytes are then the request's durable form, which can be sent a second time as it is.

use http::Method;
use http::header::HeaderName;

use super::cookies::CookieName;
use super::field_lines::{Fate, FieldLine, FieldLines};
use super::fields::{Found, Hop};

/// The end of a request line.
const END_OF_LINE: &[u8] = b" HTTP/1.1\r\n";

/// A request head on its way out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, in origin form or `*`.
    pub target: &'a str,
    /// What the client sent.
    pub fields: &'a FieldLines,
    /// Kinds of fields to leave out, beside those that always end here.
    pub without: Found,
    /// Of the fields that end here, what they said.
    pub hop: &'a Hop<'a>,
    /// Names of fields to leave out, too.
    pub left_out: &'a [HeaderName],
    /// May names have underscores?
    pub underscores: bool,
    /// Cookies of ours, to be left out.
    pub cookies: &'a [CookieName],
}

impl Outgoing<'_> {
    /// Fields that always end at this hop, or are ours to write.
    const ENDS_HERE: Found = Found::CONNECTION
        .or(Found::HOP_BY_HOP)
        .or(Found::TE)
        .or(Found::UPGRADE)
        .or(Found::STICKLER_AFFINITY)
        .or(Found::REPLACED);

    /// Writes the request line and the fields, but not the empty line that ends the head: there
    /// may be more fields to come. `seen` is told of each of our cookies: the index of its name,
    /// and its value.
    pub fn write(&self, to: &mut Vec<u8>, mut seen: impl FnMut(usize, &[u8])) {
        let (method, target) = (self.method.as_str().as_bytes(), self.target.as_bytes());
        let line = method.len() + 1 + target.len() + END_OF_LINE.len();
        to.reserve(line + self.fields.len());
        to.extend_from_slice(method);
        to.push(b' ');
        to.extend_from_slice(target);
        to.extend_from_slice(END_OF_LINE);
        let mut without = self.without.or(Self::ENDS_HERE);
        if !self.underscores {
            without = without.or(Found::UNDERSCORE);
        }
        let listed = &self.hop.connection.listed;
        let is_listed = |name: &[u8]| {
            listed.iter().any(|other| name.eq_ignore_ascii_case(other.as_str().as_bytes()))
        };
        let is_left_out =
            |line: FieldLine<'_>| self.left_out.iter().any(|name| line.is_called(name.as_str()));
        let fate = |line: FieldLine<'_>| {
            let flag = line.flag();
            if flag.has(Found::COOKIE) {
                Fate::Changes
            } else if flag.has(without)
                || (!listed.is_empty() && is_listed(line.name()))
                || (!self.left_out.is_empty() && is_left_out(line))
                || (flag.has(Found::UNDERSCORE) && Found::of_disguised(line.name()).has(without))
            {
                Fate::Ends
            } else if flag.has(Found::UNTIDY) {
                Fate::Changes
            } else {
                Fate::Passes
            }
        };
        self.fields.write(to, fate, |to, line| {
            if !line.flag().has(Found::COOKIE) {
                return field(to, line.name(), line.value());
            }
            let start = to.len();
            CookieName::write_without(self.cookies, line.value(), to, &mut seen);
            if !listed.is_empty() && is_listed(b"cookie") {
                to.truncate(start); // they are for us only
            }
        });
    }
}

/// Writes a field line.
pub fn field(to: &mut Vec<u8>, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    // Reserved at once: four appends would each grow it by a little. The two short ones are
    // arrays, so that they become a store each, not a call.
    to.reserve(name.len() + 2 + value.len() + 2);
    to.extend_from_slice(name);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field_lines::tests::field_lines;

    fn written(lines: &[(&str, &str)], without: Found, cookie: bool) -> String {
        written_with(lines, without, cookie, false)
    }

    fn written_with(
        lines: &[(&str, &str)],
        without: Found,
        cookie: bool,
        underscores: bool,
    ) -> String {
        let fields = field_lines(lines);
        let hop = Hop::of(&fields);
        let name = CookieName::new("s");
        let outgoing = Outgoing {
            method: &Method::GET,
            target: "/a?b",
            fields: &fields,
            without,
            hop: &hop,
            left_out: &[],
            underscores,
            cookies: if cookie { std::slice::from_ref(&name) } else { &[] },
        };
        let mut bytes = Vec::new();
        outgoing.write(&mut bytes, |_, _| {});
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_ends_here_does_not_leave() {
        let lines = [
            ("host", "a"),
            ("connection", "keep-alive, X-Trace"),
            ("x-trace", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy", "http://evil"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("stickler-affinity", "bound"),
            ("x-forwarded-for", "6.6.6.6"),
            ("accept", "*/*"),
            ("accept", "text/html"),
        ];
        assert_eq!(
            written(&lines, Found::X_FORWARDED_FOR, false),
            "GET /a?b HTTP/1.1\r\nhost: a\r\naccept: */*\r\naccept: text/html\r\n"
        );
        assert!(written(&lines, Found::default(), false).contains("x-forwarded-for: 6.6.6.6\r\n"));
    }

    #[test]
    fn blanks_are_put_in_order() {
        let lines =
            [("Host", "\ta "), ("X-A", " b"), ("Transfer-Encoding", "\tchunked"), ("X", "")];
        assert_eq!(
            written(&lines, Found::default(), false),
            "GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: b\r\nTransfer-Encoding: chunked\r\nX: \r\n"
        );
    }

    #[test]
    fn underscores_are_no_disguise() {
        let lines = [("x_forwarded_for", "6.6.6.6"), ("stickler_affinity", "bound"), ("a_b", "c")];
        let start = "GET /a?b HTTP/1.1\r\n";
        assert_eq!(written(&lines, Found::X_FORWARDED_FOR, false), start);
        assert_eq!(
            written_with(&lines, Found::X_FORWARDED_FOR, false, true),
            format!("{start}a_b: c\r\n")
        );
    }

    #[test]
    fn framing_and_host_cannot_be_talked_away() {
        let lines = [
            ("host", "a"),
            ("content-length", "5"),
            ("connection", "host, content-length, transfer-encoding"),
        ];
        assert!(
            written(&lines, Found::default(), false).ends_with("host: a\r\ncontent-length: 5\r\n")
        );
    }

    #[test]
    fn our_cookie_stays_here_and_the_others_go() {
        let lines = [("cookie", "a=b; s=token; c=d"), ("cookie", "s=token"), ("cookie", "e=\"f")];
        assert_eq!(
            written(&lines, Found::default(), true),
            "GET /a?b HTTP/1.1\r\ncookie: a=b; c=d\r\ncookie: e=\"f\r\n"
        );
        assert!(written(&lines, Found::default(), false).contains("s=token"));
    }
}
