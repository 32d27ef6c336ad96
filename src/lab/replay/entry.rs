//! What a line of an access log says, as far as a replay needs it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

/// A request of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it arrived, in nanoseconds since the epoch.
    pub at: u64,
    /// How exactly that is known, in nanoseconds: a log may only have seconds.
    pub grain: u64,
    /// The hash of its session's key, if it has one.
    pub key: Option<u64>,
    /// How long it took, in nanoseconds.
    pub took: Option<u64>,
}

/// What makes requests one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKey(Vec<Part>);

/// A field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the log itself calls the session: Stickler's own does.
    Session,
    /// The user who has logged in.
    User,
    /// The client's address.
    Address,
    /// `User-Agent`.
    UserAgent,
    /// The value of a cookie.
    Cookie(String),
    /// The value of a header field, in lower case.
    Header(String),
}

impl SessionKey {
    /// What [`FromStr`] reads, for messages and help.
    pub const FORMS: &str =
        "session, user, address, user-agent, cookie:NAME or header:NAME, or several with + between";

    /// A key of these fields.
    pub fn new(parts: Vec<Part>) -> Self {
        SessionKey(parts)
    }

    /// The hash of the fields that `field` finds; `None` if one is missing or empty.
    pub(super) fn hash<'a>(&self, field: impl Fn(&Part) -> Option<Cow<'a, str>>) -> Option<u64> {
        let mut hash = Xxh3::new();
        for part in &self.0 {
            let value = field(part).filter(|value| !matches!(&**value, "" | "-"))?;
            hash.update(value.as_bytes());
            hash.update(&[0]);
        }
        Some(hash.digest())
    }
}

impl FromStr for SessionKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            Ok(match part.trim().split_once(':').unwrap_or((part.trim(), "")) {
                ("session", "") => Part::Session,
                ("user", "") => Part::User,
                ("address", "") => Part::Address,
                ("user-agent", "") => Part::UserAgent,
                ("cookie", name) if !name.is_empty() => Part::Cookie(name.into()),
                ("header", name) if !name.is_empty() => Part::Header(name.to_ascii_lowercase()),
                _ => return Err(format!("{part:?} is no session key; write {}", Self::FORMS)),
            })
        };
        text.split('+').map(part).collect::<Result<_, _>>().map(SessionKey)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("+")?;
            }
            match part {
                Part::Session => f.write_str("session")?,
                Part::User => f.write_str("user")?,
                Part::Address => f.write_str("address")?,
                Part::UserAgent => f.write_str("user-agent")?,
                Part::Cookie(name) => write!(f, "cookie:{name}")?,
                Part::Header(name) => write!(f, "header:{name}")?,
            }
        }
        Ok(())
    }
}

/// The value of a cookie in a `Cookie` field.
pub(super) fn cookie<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    field.split(';').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_shown() {
        for text in ["session", "user", "user-agent+address", "cookie:sid", "header:x-user"] {
            assert_eq!(text.parse::<SessionKey>().unwrap().to_string(), text);
        }
        for text in ["", "cookie", "cookie:", "session:3", "ip"] {
            assert!(text.parse::<SessionKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_needs_all_of_its_fields() {
        let key: SessionKey = "user-agent+address".parse().unwrap();
        let hash = |agent: &'static str, address: &'static str| {
            key.hash(|part| match part {
                Part::UserAgent => Some(agent.into()),
                _ => Some(address.into()),
            })
        };
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        assert_eq!(hash("a", "b"), hash("a", "b"));
        assert_eq!((hash("-", "b"), hash("a", "")), (None, None));
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        assert_eq!(cookie("a=1; sid=x=y ;b=2", "sid"), Some("x=y"));
        assert_eq!(cookie("xsid=1; sid2=2", "sid"), None);
    }
}
