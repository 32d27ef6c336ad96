//! Which fields of a head concern a proxy, and which may not be passed on.
//!
//! One pass over the names finds everything that a proxy must look at, as a set of [`Found`]
//! flags; what is not there costs nothing afterwards.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};

/// `Keep-Alive`
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// `Proxy-Connection`, which old clients send.
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `Proxy`, which CGI servers would take for `HTTP_PROXY` ("httpoxy", CVE-2016-5385).
pub const PROXY: HeaderName = HeaderName::from_static("proxy");
/// `X-Forwarded-For`
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Port`
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// `X-Forwarded-Server`
pub const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
/// `X-Real-IP`
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// `Stickler-Affinity`: what the app is told about the session, and may say about it.
pub const STICKLER_AFFINITY: HeaderName = HeaderName::from_static("stickler-affinity");

/// Fields found in a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        impl Found { $($(#[$doc])* pub const $name: Found = Found(1 << $bit);)* }
    };
}

flags! {
    /// `Host`
    HOST = 0,
    /// `Connection`
    CONNECTION = 1,
    /// `Keep-Alive`, `Proxy-Connection` or `Proxy`
    HOP_BY_HOP = 2,
    /// `TE`
    TE = 3,
    /// `Upgrade`
    UPGRADE = 4,
    /// `Expect`
    EXPECT = 5,
    /// `Cookie`
    COOKIE = 6,
    /// `Via`
    VIA = 7,
    /// `Forwarded`
    FORWARDED = 8,
    /// `X-Forwarded-For`
    X_FORWARDED_FOR = 9,
    /// `X-Forwarded-Proto`
    X_FORWARDED_PROTO = 10,
    /// `X-Forwarded-Host`
    X_FORWARDED_HOST = 11,
    /// `X-Forwarded-Port`, `X-Forwarded-Server` or `X-Real-IP`
    X_OTHER = 12,
    /// `Stickler-Affinity`
    STICKLER_AFFINITY = 13,
    /// `Transfer-Encoding`
    TRANSFER_ENCODING = 14,
    /// `Content-Length`
    CONTENT_LENGTH = 15,
}

impl Found {
    /// What is in `headers`.
    pub fn in_headers(headers: &HeaderMap) -> Found {
        headers.keys().fold(Found::default(), |found, name| Found(found.0 | Found::of(name).0))
    }

    /// The flag of one name.
    fn of(name: &HeaderName) -> Found {
        let name = name.as_str();
        // By length first: most names are told apart from all of these by it alone.
        match name.len() {
            2 if name == "te" => Found::TE,
            3 if name == "via" => Found::VIA,
            4 if name == "host" => Found::HOST,
            5 if name == "proxy" => Found::HOP_BY_HOP,
            6 if name == "cookie" => Found::COOKIE,
            6 if name == "expect" => Found::EXPECT,
            7 if name == "upgrade" => Found::UPGRADE,
            9 if name == "forwarded" => Found::FORWARDED,
            9 if name == "x-real-ip" => Found::X_OTHER,
            10 if name == "connection" => Found::CONNECTION,
            10 if name == "keep-alive" => Found::HOP_BY_HOP,
            14 if name == "content-length" => Found::CONTENT_LENGTH,
            15 if name == "x-forwarded-for" => Found::X_FORWARDED_FOR,
            16 if name == "x-forwarded-host" => Found::X_FORWARDED_HOST,
            16 if name == "x-forwarded-port" => Found::X_OTHER,
            16 if name == "proxy-connection" => Found::HOP_BY_HOP,
            17 if name == "x-forwarded-proto" => Found::X_FORWARDED_PROTO,
            17 if name == "stickler-affinity" => Found::STICKLER_AFFINITY,
            17 if name == "transfer-encoding" => Found::TRANSFER_ENCODING,
            18 if name == "x-forwarded-server" => Found::X_OTHER,
            _ => Found::default(),
        }
    }

    /// Is any of these in it?
    pub const fn has(self, any_of: Found) -> bool {
        self.0 & any_of.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Found) -> Found {
        Found(self.0 | other.0)
    }
}

/// What the fields that end at this hop said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HopByHop {
    /// The protocol that the message asks to switch to, or agrees to.
    pub upgrade: Option<HeaderValue>,
    /// May trailers be sent in answer?
    pub wants_trailers: bool,
}

/// Removes the fields that end at this hop: those that RFC 9110, section 7.6.1 names and those
/// that `Connection` lists. `Transfer-Encoding` stays: it is checked elsewhere, and the encoder
/// behind us needs it.
pub fn take_hop_by_hop(headers: &mut HeaderMap, found: Found) -> HopByHop {
    let any = Found::CONNECTION.or(Found::HOP_BY_HOP).or(Found::TE).or(Found::UPGRADE);
    if !found.has(any) {
        return HopByHop::default();
    }
    let mut asks_to_upgrade = false;
    if found.has(Found::CONNECTION) {
        asks_to_upgrade = take_connection(headers);
    }
    if found.has(Found::HOP_BY_HOP) {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
        headers.remove(PROXY);
    }
    let mut hop = HopByHop::default();
    if found.has(Found::TE) {
        hop.wants_trailers = lists(headers, &TE, "trailers");
        headers.remove(TE);
    }
    if found.has(Found::UPGRADE) {
        // Without `Connection: upgrade` it is only an offer to this hop, which declines.
        let sole = headers.get_all(UPGRADE).iter().count() == 1;
        hop.upgrade = headers.remove(UPGRADE).filter(|_| asks_to_upgrade && sole);
    }
    hop
}

/// Removes `Connection` and what it lists. Does it list `upgrade`?
fn take_connection(headers: &mut HeaderMap) -> bool {
    // Most say `close` or `keep-alive`; the list is copied only when there is more to it.
    let mut asks_to_upgrade = false;
    let mut listed: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|&b| b == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"upgrade") {
                asks_to_upgrade = true;
            } else if !option.is_empty()
                && !option.eq_ignore_ascii_case(b"close")
                && !option.eq_ignore_ascii_case(b"keep-alive")
            {
                listed.extend(HeaderName::from_bytes(option));
            }
        }
    }
    headers.remove(CONNECTION);
    for name in listed {
        // Nobody may talk us out of the fields that say where the message goes and ends, nor, by
        // listing them, out of `TE` and `Upgrade` before they were read.
        if ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE, UPGRADE].contains(&name) {
            headers.remove(name);
        }
    }
    asks_to_upgrade
}

/// Does a comma-separated field list this token?
pub fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|&b| b == b',').any(|member| {
            let member = member.split(|&b| b == b';').next().unwrap_or_default();
            member.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn take(lines: &[(&'static str, &'static str)]) -> (HopByHop, Vec<String>) {
        let mut headers = headers(lines);
        let found = Found::in_headers(&headers);
        let hop = take_hop_by_hop(&mut headers, found);
        let mut left: Vec<String> = headers.keys().map(|name| name.to_string()).collect();
        left.sort();
        (hop, left)
    }

    #[test]
    fn what_ends_here_is_removed() {
        let (hop, left) = take(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Trace"),
            ("connection", "close,cookie"),
            ("x-trace", "1"),
            ("x-trace", "2"),
            ("cookie", "a=b"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy", "http://evil"),
            ("te", "gzip;q=0.5, Trailers"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, ["accept", "host"]);
        assert_eq!(hop, HopByHop { upgrade: None, wants_trailers: true });
    }

    #[test]
    fn connection_cannot_remove_what_frames_or_routes() {
        let (_, left) = take(&[
            ("host", "a"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("connection", "host, content-length, transfer-encoding, bad name, ()"),
        ]);
        assert_eq!(left, ["content-length", "host", "transfer-encoding"]);
    }

    #[test]
    fn an_upgrade_needs_the_connection_option() {
        let upgrade = |lines: &[_]| take(lines).0.upgrade;
        let asked = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(upgrade(&asked).unwrap(), "websocket");
        assert_eq!(upgrade(&[("upgrade", "websocket")]), None);
        assert_eq!(upgrade(&[("connection", "upgrade")]), None);
        let twice = [("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")];
        assert_eq!(upgrade(&twice), None);
    }

    #[test]
    fn names_are_found_in_any_case_and_others_are_not() {
        let found = Found::in_headers(&headers(&[("Cookie", "a"), ("x-forwarded-for", "b")]));
        assert!(found.has(Found::COOKIE) && found.has(Found::X_FORWARDED_FOR));
        assert!(!found.has(Found::HOST.or(Found::CONNECTION).or(Found::X_OTHER)));
        assert_eq!(Found::in_headers(&headers(&[("x-real-ipx", "a"), ("tex", "b")])), Found(0));
    }
}
