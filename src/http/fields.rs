//! Which fields of a head concern a proxy, and which may not be passed on.
//!
//! One look at a name says whether it concerns a proxy, as a [`Found`] flag; what is not there
//! costs nothing afterwards.

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING};

use super::field_lines::FieldLines;

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
/// `X-Forwarded-Prefix`: what was taken off the path.
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
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
    /// A name with underscores, whatever it is.
    UNDERSCORE = 16,
    /// A line that another one has taken the place of.
    REPLACED = 17,
    /// A line with other blanks around its value than one space before it, or with no value.
    UNTIDY = 18,
    /// `traceparent`
    TRACEPARENT = 19,
    /// `tracestate`
    TRACESTATE = 20,
}

impl Found {
    /// The fields that HTTP itself is made of: whoever speaks it with a client needs them.
    pub const PROTOCOL: Found =
        Found::CONNECTION.or(Found::TE).or(Found::UPGRADE).or(Found::EXPECT).or(Found::FRAMING);

    /// The fields that say where a body ends.
    pub const FRAMING: Found = Found::TRANSFER_ENCODING.or(Found::CONTENT_LENGTH);

    /// The flag of one name as somebody wrote it, in any case.
    pub fn of_text(name: &str) -> Found {
        Found::of_bytes(name.as_bytes())
    }

    /// The same of bytes.
    #[inline]
    pub fn of_bytes(name: &[u8]) -> Found {
        const X_FORWARDED: &str = "x-forwarded-";

        // The first byte tells nearly all others apart.
        let is = |other: &str| {
            name[0] | 0x20 == other.as_bytes()[0] && name.eq_ignore_ascii_case(other.as_bytes())
        };
        let is_x_forwarded = || {
            name[0] | 0x20 == b'x'
                && name[..X_FORWARDED.len()].eq_ignore_ascii_case(X_FORWARDED.as_bytes())
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
    pub fn of_disguised(name: &[u8]) -> Found {
        /// The longest name that there is a flag for is shorter.
        const LONGEST: usize = 64;

        let mut plain = [0; LONGEST];
        let length = name.len().min(LONGEST);
        for (to, &from) in plain.iter_mut().zip(name) {
            *to = if from == b'_' { b'-' } else { from };
        }
        Found::of_bytes(&plain[..length])
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
pub struct Hop<'a> {
    /// What `Connection` says.
    pub connection: Connection,
    /// The protocol that the request asks to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// May trailers be sent in answer?
    pub wants_trailers: bool,
}

impl<'a> Hop<'a> {
    /// Reads those of `fields`.
    pub fn of(fields: &'a FieldLines) -> Self {
        let mut hop = Hop::default();
        if fields.found().has(Found::CONNECTION) {
            fields.of_kind(Found::CONNECTION).for_each(|value| hop.connection.read(value));
        }
        if fields.found().has(Found::TE) {
            hop.wants_trailers = fields.of_kind(Found::TE).any(|value| lists(value, "trailers"));
        }
        if fields.found().has(Found::UPGRADE) && hop.connection.says_upgrade {
            // Without `Connection: upgrade` it is only an offer to this hop, which declines.
            let mut protocols = fields.of_kind(Found::UPGRADE);
            hop.upgrade = protocols.next().filter(|_| protocols.next().is_none());
        }
        hop
    }
}

/// Does the value of a comma-separated field list this token?
pub fn lists(value: &[u8], token: &str) -> bool {
    value.split(|&b| b == b',').any(|member| {
        let member = member.split(|&b| b == b';').next().unwrap_or_default();
        member.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

/// Does a comma-separated field of a response list this token?
pub fn any_lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| lists(value.as_bytes(), token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field_lines::tests::field_lines;

    #[test]
    fn connection_lists_what_ends_here_but_not_what_frames_or_routes() {
        let fields = field_lines(&[
            ("connection", "keep-alive"),
            ("connection", "Keep-Alive, X-Trace ,, bad name"),
            ("connection", "close,cookie,host, content-length, transfer-encoding"),
            ("te", "gzip;q=0.5, Trailers"),
        ]);
        let hop = Hop::of(&fields);
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
        let upgrade = |lines: &[(&str, &str)]| {
            Hop::of(&field_lines(lines)).upgrade.map(|protocol| protocol.to_ascii_lowercase())
        };
        let asked = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(upgrade(&asked).unwrap(), b"websocket");
        assert_eq!(upgrade(&[("upgrade", "websocket")]), None);
        assert_eq!(upgrade(&[("connection", "upgrade")]), None);
        let twice = [("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")];
        assert_eq!(upgrade(&twice), None);
    }

    #[test]
    fn names_are_found_in_any_case_and_others_are_not() {
        let found = field_lines(&[("Cookie", "a"), ("x-forwarded-for", "b")]).found();
        assert!(found.has(Found::COOKIE) && found.has(Found::X_FORWARDED_FOR));
        assert_eq!(Found::of_text("X-Forwarded-Ssl"), Found::X_OTHER);
        assert_eq!(Found::of_text("x-forwarded-"), Found::X_OTHER);
        assert_eq!(Found::of_text("true-client-ip"), Found::X_OTHER);
        assert_eq!(Found::of_text("x-forwardes-for"), Found::default());
        assert_eq!(Found::of_disguised(b"X_Forwarded_For"), Found::X_FORWARDED_FOR);
        assert_eq!(Found::of_disguised(b"stickler-affinity_"), Found::default());
        assert!(!found.has(Found::HOST.or(Found::CONNECTION).or(Found::X_OTHER)));
        assert_eq!(field_lines(&[("x-real-ipx", "a"), ("tex", "b")]).found(), Found(0));
    }
}
