//! A backend's response head, from bytes to fields, with everything that ends at this hop left
//! out and its framing beyond doubt.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::affinity::SessionWord;
use super::copies::Copies;
use super::fields::{Connection, Found};
use super::framing::{Refusal, content_length};
use super::known_names::KnownNames;

/// Fields that a response may have. Many apps set cookies and policies by the dozen; room for them
/// on the stack costs nothing while it is not used.
const MAX_FIELDS: usize = 500;

/// Bytes that a response head may have.
pub const MAX_HEAD: usize = 64 * 1024 - 1024;

/// A response head.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase, if it is not the usual one.
    pub reason: Option<Bytes>,
    /// The fields, without those of the hop.
    pub headers: HeaderMap,
    /// How the body is framed.
    pub body: BodyFraming,
    /// May the connection be used again after this?
    pub keeps_alive: bool,
    /// The protocol that `Upgrade` names.
    pub upgrade: Option<HeaderValue>,
    /// What the app says of the session.
    pub word: SessionWord,
}

/// How a response's body is framed (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is none.
    None,
    /// It has so many bytes.
    Sized(u64),
    /// It is chunked.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// What the bytes of a backend begin with.
#[derive(Debug)]
pub enum Parsed {
    /// Not a whole head yet.
    Partial,
    /// An interim (1xx) head of this status and length.
    Interim(StatusCode, usize),
    /// The head of the response, and its length.
    Final(ResponseHead, usize),
}

/// Reads the head at the beginning of `bytes`. `to_head`: it answers a HEAD request. `map` is
/// emptied and used, so that its memory goes round, and `names` are those seen before.
pub fn parse(
    bytes: &[u8],
    to_head: bool,
    map: &mut HeaderMap,
    names: &mut KnownNames,
    copies: &mut Copies,
) -> Result<Parsed, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(Parsed::Partial),
        Ok(_) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
        Err(httparse::Error::Version) => return Err(Refusal::Version),
        Err(httparse::Error::Status) => return Err(Refusal::StatusLine),
        Err(_) => return Err(Refusal::Malformed),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Refusal::StatusLine)?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Parsed::Interim(status, length));
    }
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());

    // One copy of the head: its fields then share it, and the read buffer stays free.
    let head = copies.copy(&bytes[..length]);
    map.clear();
    map.try_reserve(response.headers.len()).map_err(|_| Refusal::TooManyFields)?;
    let mut reader = Reader { headers: std::mem::take(map), ..Reader::default() };
    for field in response.headers.iter() {
        let start = field.value.as_ptr() as usize - bytes.as_ptr() as usize;
        let name = names.get(field.name).ok_or(Refusal::Malformed)?;
        reader.read(name, head.slice(start..start + field.value.len()))?;
    }
    for name in &reader.connection.listed {
        reader.headers.remove(name);
    }
    let body = reader.framing(status, version, to_head)?;
    let response = ResponseHead {
        status,
        reason: reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes())),
        headers: reader.headers,
        body,
        // A backend that speaks HTTP/1.0 might not understand how the next request is framed.
        keeps_alive: version == Version::HTTP_11
            && !reader.connection.says_close
            && body != BodyFraming::UntilClose,
        upgrade: reader.upgrade,
        word: reader.word,
    };
    Ok(Parsed::Final(response, length))
}

/// Sorts fields into those that go on and those that end here.
#[derive(Debug, Default)]
struct Reader {
    headers: HeaderMap,
    length: Option<u64>,
    is_chunked: bool,
    connection: Connection,
    upgrade: Option<HeaderValue>,
    word: SessionWord,
}

impl Reader {
    fn read(&mut self, (name, flag): (HeaderName, Found), value: Bytes) -> Result<(), Refusal> {
        if flag.has(Found::CONNECTION) {
            self.connection.read(&value);
            return Ok(());
        }
        if flag.has(Found::TRANSFER_ENCODING) {
            // hyper writes its own when it needs it.
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferCoding);
            }
            self.is_chunked = true;
            return Ok(());
        }
        if flag.has(Found::HOP_BY_HOP.or(Found::TE).or(Found::STICKLER_AFFINITY)) {
            if flag.has(Found::STICKLER_AFFINITY) {
                self.word.hear(&value);
            }
            return Ok(());
        }
        if flag.has(Found::CONTENT_LENGTH) {
            if self.length.is_some() {
                return Err(Refusal::ContentLength);
            }
            self.length = Some(content_length(&value).ok_or(Refusal::ContentLength)?);
        }
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Refusal::Malformed)?;
        if flag.has(Found::UPGRADE) {
            self.upgrade = Some(value);
            return Ok(());
        }
        self.headers.try_append(name, value).map_err(|_| Refusal::TooManyFields)?;
        Ok(())
    }

    fn framing(
        &self,
        status: StatusCode,
        version: Version,
        to_head: bool,
    ) -> Result<BodyFraming, Refusal> {
        if self.is_chunked && self.length.is_some() {
            return Err(Refusal::LengthAndCoding);
        }
        if self.is_chunked && version == Version::HTTP_10 {
            return Err(Refusal::TransferCoding);
        }
        let has_none = matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        Ok(match self.length {
            _ if to_head || has_none => BodyFraming::None,
            Some(0) => BodyFraming::None,
            Some(length) => BodyFraming::Sized(length),
            None if self.is_chunked => BodyFraming::Chunked,
            None => BodyFraming::UntilClose,
        })
    }
}

fn is_connection(name: &str) -> bool {
    Found::of_text(name).has(Found::CONNECTION)
}

/// The fields of an interim head, cleaned, as they may be passed on.
pub fn interim(head: &[u8], status: StatusCode) -> Vec<u8> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let _ = response.parse(head); // it was parsed before
    let reason = response.reason.unwrap_or_default();
    let mut clean = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    let of_the_hop = Found::CONNECTION
        .or(Found::HOP_BY_HOP)
        .or(Found::TE)
        .or(Found::UPGRADE)
        .or(Found::TRANSFER_ENCODING)
        .or(Found::CONTENT_LENGTH)
        .or(Found::STICKLER_AFFINITY);
    let mut connection = Connection::default();
    for field in response.headers.iter().filter(|field| is_connection(field.name)) {
        connection.read(field.value);
    }
    let ends_here = |name: &str| {
        let is_listed = |listed: &HeaderName| name.eq_ignore_ascii_case(listed.as_str());
        Found::of_text(name).has(of_the_hop) || connection.listed.iter().any(is_listed)
    };
    for field in response.headers.iter().filter(|field| !ends_here(field.name)) {
        for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
            clean.extend_from_slice(part);
        }
    }
    clean.extend_from_slice(b"\r\n");
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(bytes: &[u8], to_head: bool) -> Result<Parsed, Refusal> {
        let (mut map, mut names) = (HeaderMap::new(), KnownNames::default());
        parse(bytes, to_head, &mut map, &mut names, &mut Copies::default())
    }

    fn head(text: &str) -> Result<ResponseHead, Refusal> {
        match parsed(text.as_bytes(), false)? {
            Parsed::Final(head, length) => {
                assert_eq!(length, text.find("\r\n\r\n").map_or(text.len(), |end| end + 4));
                Ok(head)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_of_the_hop_are_left_out() {
        let head = head(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Internal\r\nKeep-Alive: timeout=5\r\n\
             X-Internal: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=\"d; e\r\nServer: x\r\n\
             Stickler-Affinity: release\r\nContent-Length: 3\r\n\r\nabc",
        )
        .unwrap();
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "server", "set-cookie"]);
        let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=b", "c=\"d; e"]);
        assert_eq!(head.body, BodyFraming::Sized(3));
        assert!(head.keeps_alive && head.reason.is_none());
    }

    #[test]
    fn bodies_are_framed_as_status_method_and_version_say() {
        let framing = |text: &str| head(text).map(|head| (head.body, head.keeps_alive));
        assert_eq!(
            framing("HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n"),
            Ok((BodyFraming::None, true))
        );
        assert_eq!(framing("HTTP/1.1 304 x\r\n\r\n"), Ok((BodyFraming::None, true)));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"),
            Ok((BodyFraming::Chunked, true))
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Ok((BodyFraming::UntilClose, false)));
        assert_eq!(
            framing("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n"),
            Ok((BodyFraming::Sized(1), false))
        );
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"),
            Ok((BodyFraming::Sized(1), false))
        );
        let to_head = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true);
        assert!(matches!(to_head, Ok(Parsed::Final(head, _))
            if head.body == BodyFraming::None && head.headers["content-length"] == "9"));
    }

    #[test]
    fn doubt_is_refused() {
        for (fields, why) in [
            ("Content-Length: 2\r\nContent-Length: 2", Refusal::ContentLength),
            ("Content-Length: 2, 2", Refusal::ContentLength),
            ("Content-Length: +2", Refusal::ContentLength),
            ("Content-Length: 2\r\nTransfer-Encoding: chunked", Refusal::LengthAndCoding),
            ("Transfer-Encoding: gzip, chunked", Refusal::TransferCoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refusal::TransferCoding),
            ("Content-Length : 2", Refusal::Malformed),
            ("X: a\r\n b", Refusal::Malformed),
            ("X: \u{1}", Refusal::Malformed),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(head(&text).err(), Some(why), "{fields:?}");
        }
        let chunked10 = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(chunked10).err(), Some(Refusal::TransferCoding));
        assert_eq!(head("HTTP/2.0 200 OK\r\n\r\n").err(), Some(Refusal::Version));
        assert_eq!(head("HTTP/1.1 20 OK\r\n\r\n").err(), Some(Refusal::StatusLine));
        let many = "x: y\r\n".repeat(MAX_FIELDS + 1);
        let many = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
        assert_eq!(head(&many).err(), Some(Refusal::TooManyFields));
        let huge = vec![b'x'; MAX_HEAD];
        let huge = [b"HTTP/1.1 200 OK\r\nx: ", &huge[..]].concat();
        assert_eq!(parsed(&huge, false).err(), Some(Refusal::HeadTooLarge));
    }

    #[test]
    fn interim_heads_are_told_apart_and_cleaned() {
        let bytes =
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\n\r\nHTTP";
        let Ok(Parsed::Interim(status, length)) = parsed(bytes, false) else {
            panic!("not interim");
        };
        assert_eq!(status.as_u16(), 103);
        let clean = interim(&bytes[..length], status);
        assert_eq!(clean, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
        let switching = parsed(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            false,
        );
        assert!(matches!(switching, Ok(Parsed::Final(head, _))
            if head.upgrade.as_ref().is_some_and(|protocol| protocol == "websocket")));
    }

    #[test]
    fn own_reason_phrases_are_kept() {
        let head = head("HTTP/1.1 200 All Good\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(head.reason.unwrap(), "All Good");
        assert_eq!(head.body, BodyFraming::None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parsed(&bytes, false);
            let text = [b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat();
            let _ = parsed(&text, false);
        }
    }
}
