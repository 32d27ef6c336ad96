//! What may be compressed, for whom, and what a head says of it then.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderName, HeaderValue, VARY,
};

use super::accept::thousandths;
use super::fields::any_lists;

/// Sums of a content that is not what goes out.
const SUMS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip (RFC 1952)
    Gzip,
    /// Brotli (RFC 7932)
    Brotli,
    /// Zstandard (RFC 8878)
    Zstd,
}

impl Coding {
    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// What it is called in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Option<Coding> {
        let is_it = |coding: &Coding| {
            name.eq_ignore_ascii_case(coding.as_str())
                || (*coding == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip"))
        };
        Coding::ALL.into_iter().find(is_it)
    }
}

/// Which of these codings a client that sent these `Accept-Encoding` lines likes best, in our own
/// order where it does not care. `None` if it would rather have none (RFC 9110, section 12.5.3).
pub fn negotiate<'a>(lines: impl Iterator<Item = &'a [u8]>, offers: &[Coding]) -> Option<Coding> {
    let mut weights = [None; Coding::ALL.len()];
    let (mut identity, mut others) = (None, None);
    for line in lines {
        let line = std::str::from_utf8(line).unwrap_or_default();
        for item in line.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight =
                parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            // What is no weight is no wish.
            let weight = weight.map_or(1000, |weight| thousandths(weight).unwrap_or(0));
            match Coding::named(name) {
                Some(coding) => weights[coding as usize] = Some(weight),
                None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
                None if name == "*" => others = Some(weight),
                None => {}
            }
        }
    }
    let mut best: Option<(u32, Coding)> = None;
    for &coding in offers {
        let weight = weights[coding as usize].or(others).unwrap_or(0);
        if weight > best.map_or(0, |(best, _)| best) {
            best = Some((weight, coding));
        }
    }
    best.filter(|(weight, _)| identity.is_none_or(|identity| *weight >= identity))
        .map(|(_, coding)| coding)
}

/// Media types: one, or all of a kind. `application/json` and `application/xml` stand for those
/// that are made of them as well, such as `application/problem+json` and `image/svg+xml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange(Box<str>);

impl FromStr for MediaRange {
    type Err = String;

    /// `text/html`, `text/*` or `*/*`.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_token = |part: &str| {
            let valid = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
            !part.is_empty() && part.bytes().all(valid)
        };
        match text.split_once('/') {
            Some((kind, sub)) if is_token(kind) && (sub == "*" || is_token(sub)) => {}
            Some(("*", "*")) => {}
            _ => return Err(format!("{text:?} is not a media type")),
        }
        Ok(MediaRange(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MediaRange {
    /// Is this `Content-Type` among them?
    pub fn matches(&self, content_type: &str) -> bool {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let begins = |with: &str| {
            media.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with))
        };
        let ends = |with: &str| {
            let start = media.len().checked_sub(with.len());
            start.and_then(|start| media.get(start..)).is_some_and(|e| e.eq_ignore_ascii_case(with))
        };
        match &*self.0 {
            "*/*" => true,
            "application/json" if ends("+json") => true,
            "application/xml" if ends("+xml") => true,
            range => match range.strip_suffix('*') {
                Some(kind) => begins(kind),
                None => media.eq_ignore_ascii_case(range),
            },
        }
    }
}

/// May a response be compressed, as far as its head says? Not one that is in a coding already, a
/// part of something, none at all, or not to be touched; nor gRPC, which has codings of its own.
pub fn is_eligible(
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
    min_length: u64,
    types: &[MediaRange],
) -> bool {
    let has_content = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        );
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    has_content
        && length.is_none_or(|length| length >= min_length)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && media.is_some_and(|media| {
            !media.starts_with("application/grpc") && types.iter().any(|range| range.matches(media))
        })
        && !any_lists(headers, &CACHE_CONTROL, "no-transform")
}

/// Says to caches that others may get this in another coding.
pub fn vary(headers: &mut HeaderMap) {
    if !any_lists(headers, &VARY, "*") && !any_lists(headers, &VARY, "accept-encoding") {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Says that the body is in this coding. Its length is another one then, and it is no longer byte
/// for byte what the `ETag` and sums are of, nor can parts of it be asked for.
pub fn mark(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    SUMS.iter().for_each(|sum| drop(headers.remove(sum)));
    if let Some(etag) = headers.get_mut(ETAG)
        && etag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat())
    {
        *etag = weak;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn best(accept: &str, offers: &[Coding]) -> Option<&'static str> {
        negotiate([accept.as_bytes()].into_iter(), offers).map(Coding::as_str)
    }

    #[test]
    fn clients_get_what_they_like_best() {
        let all = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
        for (accept, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("gzip;q=1.0, br;q=0.5", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.1, gzip;q=0.2", Some("gzip")),
            ("zstd;q=0, *", Some("br")),
            ("gzip;q=0", None),
            ("gzip;q=bad", None),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
            ("identity", None),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(best(accept, &all), expected, "{accept}");
        }
        assert_eq!(best("br, gzip", &[Coding::Gzip]), Some("gzip"));
        assert_eq!(negotiate(std::iter::empty(), &all), None, "who says nothing gets no coding");
        let lines = [&b"gzip;q=0.5"[..], b"br"];
        assert_eq!(negotiate(lines.into_iter(), &all), Some(Coding::Brotli));
    }

    #[test]
    fn media_types_are_matched_by_kind_and_by_what_they_are_made_of() {
        let matches =
            |range: &str, media: &str| range.parse::<MediaRange>().unwrap().matches(media);
        assert!(matches("text/*", "Text/HTML; charset=utf-8"));
        assert!(matches("application/json", "application/problem+json"));
        assert!(matches("application/xml", "image/svg+xml") && matches("*/*", "image/png"));
        assert!(!matches("text/*", "textual/html") && !matches("text/html", "text/htmlx"));
        assert!(!matches("application/json", "application/jsonp"));
        for bad in ["", "text", "/", "text/", "*/html", "te xt/a", "text/a;b", "text/a*"] {
            assert!(bad.parse::<MediaRange>().is_err(), "{bad:?} was accepted");
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        fields.collect()
    }

    #[test]
    fn not_everything_may_be_compressed() {
        let types = ["text/*".parse().unwrap()];
        let may = |status: u16, length: Option<u64>, more: &[(&'static str, &'static str)]| {
            let mut headers = headers(&[("content-type", "text/css")]);
            headers.extend(self::headers(more));
            is_eligible(StatusCode::from_u16(status).unwrap(), &headers, length, 100, &types)
        };
        assert!(may(200, Some(100), &[]) && may(200, None, &[]) && may(404, Some(500), &[]));
        assert!(!may(200, Some(99), &[]));
        for status in [101, 204, 206, 304] {
            assert!(!may(status, None, &[]), "{status}");
        }
        for more in [
            ("content-encoding", "gzip"),
            ("content-range", "bytes 0-1/2"),
            ("cache-control", "public, No-Transform"),
            ("content-type", "image/png"),
        ] {
            let mut headers = headers(&[("content-type", "text/css")]);
            headers.insert(more.0, HeaderValue::from_static(more.1));
            assert!(!is_eligible(StatusCode::OK, &headers, None, 0, &types), "{more:?}");
        }
        assert!(!is_eligible(StatusCode::OK, &HeaderMap::new(), None, 0, &types));
        let grpc = headers(&[("content-type", "application/grpc+proto")]);
        assert!(!is_eligible(StatusCode::OK, &grpc, None, 0, &["*/*".parse().unwrap()]));
    }

    #[test]
    fn the_head_says_what_has_become_of_the_body() {
        let mut changed = headers(&[
            ("content-length", "5"),
            ("etag", "\"a\""),
            ("accept-ranges", "bytes"),
            ("content-digest", "x"),
            ("vary", "cookie"),
        ]);
        vary(&mut changed);
        vary(&mut changed);
        mark(&mut changed, Coding::Brotli);
        let mut expected = headers(&[("content-encoding", "br"), ("etag", "W/\"a\"")]);
        expected.append(VARY, HeaderValue::from_static("cookie"));
        expected.append(VARY, HeaderValue::from_static("accept-encoding"));
        assert_eq!(changed, expected);
        let mut weak = headers(&[("etag", "W/\"a\""), ("vary", "*")]);
        vary(&mut weak);
        mark(&mut weak, Coding::Gzip);
        assert_eq!(
            (weak["etag"].as_bytes(), weak["vary"].as_bytes()),
            (&b"W/\"a\""[..], &b"*"[..])
        );
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_it_gets_what_it_named(
            accept in "[a-z*;=,.0-9 -]{0,40}|((gzip|br|zstd|\\*)(;q=[01](\\.[0-9])?)?,? ?){0,5}",
        ) {
            let offers = [Coding::Gzip, Coding::Zstd];
            if let Some(coding) = negotiate([accept.as_bytes()].into_iter(), &offers) {
                prop_assert!(offers.contains(&coding));
                prop_assert!(accept.contains(coding.as_str()) || accept.contains('*'));
            }
        }
    }
}
