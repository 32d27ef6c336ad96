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
/// `traceparent`
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
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
    /// `X-Request-Id`
    REQUEST_ID = 7,
    /// `Forwarded`
    FORWARDED = 8,
    /// `X-Forwarded-For`
    X_FORWARDED_FOR = 9,
    /// `X-Forwarded-Proto`
    X_FORWARDED_PROTO = 10,
    /// `X-Forwarded-Host`
    X_FORWARDED_HOST = 11,
    /// Any other `X-Forwarded-*`, `X-Real-IP`, `X-Client-IP` or `True-Client-IP`
    X_OTHER = 12,
    /// `Stickler-Affinity`
    STICKLER_AFFINITY = 13,
    /// `Transfer-Encoding`
    TRANSFER_ENCODING = 14,
    /// `Content-Length`
    CONTENT_LENGTH = 15,
    /// `traceparent`
    TRACEPARENT = 16,
    /// `tracestate`
    TRACESTATE = 17,
}

impl Found {
    /// What is in `headers`.
    pub fn in_headers(headers: &HeaderMap) -> Found {
        headers.keys().fold(Found::default(), |found, name| found.or(Found::of(name)))
    }

    /// The flag of one name.
    pub fn of(name: &HeaderName) -> Found {
        let name = name.as_str(); // in lower case
        Found::by(name, |part, other| part == other)
    }

    /// The flag of one name as somebody wrote it, in any case.
    pub fn of_text(name: &str) -> Found {
        Found::by(name, str::eq_ignore_ascii_case)
    }

    /// The flag of a name; `equals` compares it, or its beginning, with those that have one.
    #[inline]
    fn by(name: &str, equals: impl Fn(&str, &str) -> bool) -> Found {
        const X_FORWARDED: &str = "x-forwarded-";

        let is = |other: &str| equals(name, other);
        // The first byte tells nearly all others apart.
        let is_x_forwarded = || {
            name.as_bytes()[0] | 0x20 == b'x'
                && name.get(..X_FORWARDED.len()).is_some_and(|begin| equals(begin, X_FORWARDED))
        };
        // By length first: most names are told apart from all of these by it alone.
        match name.len() {
            2 if is("te") => Found::TE,
            4 if is("host") => Found::HOST,
            5 if is("proxy") => Found::HOP_BY_HOP,
            6 if is("cookie") => Found::COOKIE,
            6 if is("expect") => Found::EXPECT,
            7 if is("upgrade") => Found::UPGRADE,
            9 if is("forwarded") => Found::FORWARDED,
            9 if is("x-real-ip") => Found::X_OTHER,
            10 if is("connection") => Found::CONNECTION,
            10 if is("keep-alive") => Found::HOP_BY_HOP,
            10 if is("tracestate") => Found::TRACESTATE,
            11 if is("traceparent") => Found::TRACEPARENT,
            12 if is("x-request-id") => Found::REQUEST_ID,
            14 if is("content-length") => Found::CONTENT_LENGTH,
            15 if is("x-forwarded-for") => Found::X_FORWARDED_FOR,
            16 if is("x-forwarded-host") => Found::X_FORWARDED_HOST,
            16 if is("proxy-connection") => Found::HOP_BY_HOP,
            17 if is("x-forwarded-proto") => Found::X_FORWARDED_PROTO,
            17 if is("stickler-affinity") => Found::STICKLER_AFFINITY,
            17 if is("transfer-encoding") => Found::TRANSFER_ENCODING,
            11 if is("x-client-ip") => Found::X_OTHER,
            14 if is("true-client-ip") => Found::X_OTHER,
            12.. if is_x_forwarded() => Found::X_OTHER,
            _ => Found::default(),
        }
    }

    /// The flag of a name with its underscores read as hyphens: CGI and its children (WSGI, Rack,
    /// PHP) make the same variable of both.
    pub fn of_disguised(name: &str) -> Found {
        /// The longest name that there is a flag for is shorter.
        const LONGEST: usize = 64;

        let mut plain = [0; LONGEST];
        let length = name.len().min(LONGEST);
        for (to, &from) in plain.iter_mut().zip(name.as_bytes()) {
            *to = if from == b'_' { b'-' } else { from };
        }
        std::str::from_utf8(&plain[..length]).map_or(Found::default(), Found::of_text)
    }

    /// May a trailer section pass a field of this name on? Whoever merges trailers into the head
    /// would believe it, so nothing that is judged, replaced or left out there may come in through
    /// the back door, nor what routes, frames, authenticates or describes the content (RFC 9110,
    /// section 6.5.1).
    pub fn may_be_trailer(name: &str) -> bool {
        const OTHERS: [&str; 9] = [
            "via",
            "authorization",
            "proxy-authorization",
            "proxy-authenticate",
            "www-authenticate",
            "set-cookie",
            "cache-control",
            "location",
            "trailer",
        ];
        let begins = |prefix: &str| {
            name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        };
        Found::of_text(name) == Found::default()
            && !begins("content-")
            && !name.contains('_')
            && !OTHERS.iter().any(|other| name.eq_ignore_ascii_case(other))
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

/// What `Connection` says, over all its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// It lists `close`.
    pub says_close: bool,
    /// It lists `upgrade`.
    pub says_upgrade: bool,
    /// The fields that it lists: they end at this hop (RFC 9110, section 7.6.1).
    pub listed: Vec<HeaderName>,
}

impl Connection {
    /// Reads one line's value.
    pub fn read(&mut self, value: &[u8]) {
        if value == b"keep-alive" {
            return; // what most say
        }
        for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"upgrade") {
                self.says_upgrade = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.says_close = true;
            } else if let Ok(name) = HeaderName::from_bytes(option)
                // Nobody may talk us out of the fields that say where a message goes and ends.
                && ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name)
                && name != KEEP_ALIVE
            {
                self.listed.push(name);
            }
        }
    }
}

/// What a request's fields that end at this hop say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// What `Connection` says.
    pub connection: Connection,
    /// The protocol that the request asks to switch to.
    pub upgrade: Option<HeaderValue>,
    /// May trailers be sent in answer?
    pub wants_trailers: bool,
}

impl Hop {
    /// Reads those of `headers`.
    pub fn of(headers: &HeaderMap, found: Found) -> Self {
        let mut hop = Hop::default();
        if found.has(Found::CONNECTION) {
            for value in headers.get_all(CONNECTION) {
                hop.connection.read(value.as_bytes());
            }
        }
        if found.has(Found::TE) {
            hop.wants_trailers = lists(headers, &TE, "trailers");
        }
        if found.has(Found::UPGRADE) && hop.connection.says_upgrade {
            // Without `Connection: upgrade` it is only an offer to this hop, which declines.
            let mut protocols = headers.get_all(UPGRADE).iter();
            hop.upgrade = protocols.next().filter(|_| protocols.next().is_none()).cloned();
        }
        hop
    }
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

    fn hop(lines: &[(&'static str, &'static str)]) -> Hop {
        let headers = headers(lines);
        Hop::of(&headers, Found::in_headers(&headers))
    }

    #[test]
    fn connection_lists_what_ends_here_but_not_what_frames_or_routes() {
        let hop = hop(&[
            ("connection", "keep-alive"),
            ("connection", "Keep-Alive, X-Trace ,, bad name"),
            ("connection", "close,cookie,host, content-length, transfer-encoding"),
            ("te", "gzip;q=0.5, Trailers"),
        ]);
        let listed: Vec<_> = hop.connection.listed.iter().map(HeaderName::as_str).collect();
        assert_eq!(listed, ["x-trace", "cookie"]);
        assert!(hop.connection.says_close && hop.wants_trailers && !hop.connection.says_upgrade);
    }

    #[test]
    fn trailers_are_for_what_concerns_nobody_on_the_way() {
        for name in ["x-checksum", "Server-Timing", "grpc-status", "etag", "digest"] {
            assert!(Found::may_be_trailer(name), "{name}");
        }
        for name in ["Cookie", "te", "X-Forwarded-For", "Stickler-Affinity", "host", "Set-Cookie"] {
            assert!(!Found::may_be_trailer(name), "{name}");
        }
        for name in ["authorization", "Content-Type", "x_forwarded_for", "upgrade", "trailer"] {
            assert!(!Found::may_be_trailer(name), "{name}");
        }
    }

    #[test]
    fn an_upgrade_needs_the_connection_option() {
        let asked = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(hop(&asked).upgrade.unwrap(), "websocket");
        assert_eq!(hop(&[("upgrade", "websocket")]).upgrade, None);
        assert_eq!(hop(&[("connection", "upgrade")]).upgrade, None);
        let twice = [("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")];
        assert_eq!(hop(&twice).upgrade, None);
    }

    #[test]
    fn names_are_found_in_any_case_and_others_are_not() {
        let found = Found::in_headers(&headers(&[("Cookie", "a"), ("x-forwarded-for", "b")]));
        assert!(found.has(Found::COOKIE) && found.has(Found::X_FORWARDED_FOR));
        assert_eq!(Found::of_text("X-Forwarded-Ssl"), Found::X_OTHER);
        assert_eq!(Found::of_text("x-forwarded-"), Found::X_OTHER);
        assert_eq!(Found::of_text("true-client-ip"), Found::X_OTHER);
        assert_eq!(Found::of_text("x-forwardes-for"), Found::default());
        assert_eq!(Found::of_disguised("X_Forwarded_For"), Found::X_FORWARDED_FOR);
        assert_eq!(Found::of_disguised("stickler-affinity_"), Found::default());
        assert!(!found.has(Found::HOST.or(Found::CONNECTION).or(Found::X_OTHER)));
        assert_eq!(Found::in_headers(&headers(&[("x-real-ipx", "a"), ("tex", "b")])), Found(0));
    }
}
