//! The formats of access logs, and which of them a log has.

mod caddy;
mod haproxy;
mod pattern;
mod stickler;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use self::pattern::Pattern;
use super::entry::{Entry, Part, SessionKey};

/// nginx's and Apache's `combined`; what follows on a line is not looked at.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                        $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// `common`, the same without the last two.
const COMMON: &str =
    "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent";

/// How a log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Stickler's own access log, JSON.
    Stickler,
    /// Caddy's, JSON.
    Caddy,
    /// HAProxy's HTTP log.
    Haproxy,
    /// nginx's and Apache's combined log.
    Combined(Pattern),
    /// The common log format.
    Common(Pattern),
    /// As an nginx `log_format` says.
    Given(Pattern),
}

impl Format {
    /// The names that [`FromStr`] reads besides a `log_format`.
    pub const NAMES: [&str; 5] = ["stickler", "caddy", "haproxy", "combined", "common"];

    /// The name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Format::Stickler => "stickler",
            Format::Caddy => "caddy",
            Format::Haproxy => "haproxy",
            Format::Combined(_) => "combined",
            Format::Common(_) => "common",
            Format::Given(_) => "log_format",
        }
    }

    /// What makes requests one session, if nobody says: the best that such logs have.
    pub fn usual_key(&self) -> SessionKey {
        SessionKey::new(match self {
            Format::Stickler => vec![Part::Session],
            Format::Caddy | Format::Combined(_) => vec![Part::UserAgent, Part::Address],
            Format::Haproxy | Format::Common(_) => vec![Part::Address],
            Format::Given(pattern) if pattern.has_user_agent() => {
                vec![Part::UserAgent, Part::Address]
            }
            Format::Given(_) => vec![Part::Address],
        })
    }

    /// What can make requests one session in such logs, in words.
    pub fn keys(&self) -> String {
        match self {
            Format::Stickler => "session, address and user-agent".into(),
            Format::Caddy => {
                "address, user-agent, user, header:NAME and, with Caddy's log_credentials, \
                 cookie:NAME"
                    .into()
            }
            Format::Haproxy => {
                "address, cookie:NAME (of the captured cookie) and header:N (the N-th captured \
                 header)"
                    .into()
            }
            Format::Combined(pattern) | Format::Common(pattern) | Format::Given(pattern) => {
                pattern.keys()
            }
        }
    }

    /// Reads a line. The error says why it cannot be read.
    pub fn parse(&self, line: &[u8], key: &SessionKey) -> Result<Entry, &'static str> {
        let text = || std::str::from_utf8(line).map_err(|_| "not UTF-8");
        match self {
            Format::Stickler => stickler::parse(line, key),
            Format::Caddy => caddy::parse(line, key),
            Format::Haproxy => haproxy::parse(text()?, key),
            Format::Combined(pattern) | Format::Common(pattern) | Format::Given(pattern) => {
                pattern.parse(&String::from_utf8_lossy(line), key)
            }
        }
    }

    /// The format of these lines, if most of them have one.
    pub fn detect(lines: &[Vec<u8>]) -> Option<Format> {
        let all = Format::NAMES.into_iter().filter_map(|name| name.parse::<Format>().ok());
        let mut candidates = all.map(|format| {
            let key = SessionKey::new(Vec::new());
            let good = lines.iter().filter(|line| format.parse(line, &key).is_ok()).count();
            (good, format)
        });
        candidates.find(|(good, _)| *good > 0 && 2 * good >= lines.len()).map(|(_, format)| format)
    }
}

impl fmt::Display for Format {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Given(pattern) => pattern.text(),
            known => known.as_str(),
        })
    }
}

impl FromStr for Format {
    type Err = String;

    /// A name, or an nginx `log_format`: a text with `$variables`.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "stickler" => Format::Stickler,
            "caddy" => Format::Caddy,
            "haproxy" => Format::Haproxy,
            "combined" => Format::Combined(Pattern::new(COMBINED)?),
            "common" => Format::Common(Pattern::new(COMMON)?),
            given if given.contains('$') => Format::Given(Pattern::new(given)?),
            other => {
                let names = Format::NAMES.join(", ");
                return Err(format!("{other:?} is not one of {names}, nor an nginx log_format"));
            }
        })
    }
}
