//! Names: of pools and backends, of fields, cookies, methods, and of what we log.

use std::net::IpAddr;
use std::path::PathBuf;

use http::header::HeaderName;
use http::{HeaderValue, Method};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Leaf;
use crate::balance::affinity::Key;

/// The name of a pool or a backend. It appears in logs, labels and header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl Leaf for Name {
    const FORMAT: &'static str = "name";
    const EXPECTED: &'static str = "a name of 1 to 64 letters, digits, '.', '_' or '-'";

    fn parse(text: &str) -> Result<Self, String> {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match text.chars().find(|&c| !valid(c)) {
            Some(bad) => Err(format!("{bad:?} cannot be part of a name")),
            None if text.is_empty() => Err("a name is not empty".into()),
            None if text.len() > 64 => Err(format!("a name of {} characters", text.len())),
            None => Ok(Name(text.into())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// How backends that are found are named: a name with places to be filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameTemplate(String);

impl NameTemplate {
    /// Where the backend is, as an address. Its colons become dashes: they have no place in a name.
    pub const ADDRESS: &'static str = "{address}";
    /// The name of the target of an SRV record.
    pub const TARGET: &'static str = "{target}";
    /// Its port.
    pub const PORT: &'static str = "{port}";

    /// Does the name depend on this?
    pub fn has(&self, place: &str) -> bool {
        self.0.contains(place)
    }

    /// The name of a backend. `target` is what an SRV record calls it.
    pub fn fill(&self, address: IpAddr, target: &str, port: u16) -> String {
        self.0
            .replace(Self::ADDRESS, &address.to_string().replace(':', "-"))
            .replace(Self::TARGET, target)
            .replace(Self::PORT, &port.to_string())
    }
}

impl Leaf for NameTemplate {
    const FORMAT: &'static str = "name-template";
    const EXPECTED: &'static str =
        "a name with {address}, {target} or {port} in it, such as \"app-{address}\"";

    fn parse(text: &str) -> Result<Self, String> {
        let places = [Self::ADDRESS, Self::TARGET, Self::PORT];
        let rest = places.iter().fold(text.to_owned(), |rest, place| rest.replace(place, "x"));
        Name::parse(&rest)?;
        match rest == text {
            true => Err("all of them would have the same name".into()),
            false => Ok(NameTemplate(text.into())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Leaf for HeaderName {
    const FORMAT: &'static str = "header-name";
    const EXPECTED: &'static str = "the name of a header field such as \"x-user\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not the name of a header field"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for HeaderValue {
    const FORMAT: &'static str = "header-value";
    const EXPECTED: &'static str = "the value of a header field: one line of text";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} cannot be the value of a header field");
        let value = HeaderValue::from_str(text).map_err(|_| wrong())?;
        // Blanks around it are not part of a value, and parsers differ about them.
        if text.trim() == text { Ok(value) } else { Err(wrong()) }
    }

    fn show(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }
}

/// What a header field must be: present, or of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition(pub Option<HeaderValue>);

impl Leaf for HeaderCondition {
    const FORMAT: &'static str = "header-condition";
    const EXPECTED: &'static str = "the value of the header field, or \"*\" for any";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(HeaderCondition(None));
        }
        let value = HeaderValue::from_str(text);
        value
            .map(|value| HeaderCondition(Some(value)))
            .map_err(|_| format!("{text:?} cannot be the value of a header field"))
    }

    fn show(&self) -> String {
        match &self.0 {
            None => "*".into(),
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        }
    }
}

impl Leaf for Method {
    const FORMAT: &'static str = "method";
    const EXPECTED: &'static str = "a method such as \"GET\"";

    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(|c| c.is_ascii_lowercase()) {
            // It would never match: methods are compared with case.
            return Err(format!("methods are in capitals: {:?}", text.to_ascii_uppercase()));
        }
        text.parse().map_err(|_| format!("{text:?} is not a method"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The name of a cookie: a token of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub String);

impl Leaf for CookieName {
    const FORMAT: &'static str = "cookie-name";
    const EXPECTED: &'static str = "the name of a cookie such as \"stickler\"";

    fn parse(text: &str) -> Result<Self, String> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        match text.chars().find(|&c| !valid(c)) {
            Some(bad) => Err(format!("{bad:?} cannot be part of a cookie's name")),
            None if text.is_empty() => Err("a cookie needs a name".into()),
            None => Ok(CookieName(text.into())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The `Path` of a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePath(pub String);

impl Leaf for CookiePath {
    const FORMAT: &'static str = "cookie-path";
    const EXPECTED: &'static str = "a path such as \"/\" or \"/shop\"";

    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} does not begin with a slash"));
        }
        match text.chars().find(|&c| !c.is_ascii_graphic() || c == ';') {
            Some(bad) => Err(format!("{bad:?} cannot be part of a cookie's path")),
            None => Ok(CookiePath(text.into())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The `Domain` of a cookie, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(pub String);

impl Leaf for Domain {
    const FORMAT: &'static str = "domain";
    const EXPECTED: &'static str = "a domain such as \"example.com\"";

    fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix('.').unwrap_or(text); // browsers ignore it, RFC 6265, 5.2.3
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if name.split('.').any(|label| label.is_empty() || !label.bytes().all(valid)) {
            return Err(format!("{text:?} is not a domain name"));
        }
        Ok(Domain(name.to_ascii_lowercase()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The name of a query parameter, as it stands in the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryName(pub String);

impl Leaf for QueryName {
    const FORMAT: &'static str = "query-name";
    const EXPECTED: &'static str = "the name of a query parameter such as \"user\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text.chars().find(|&c| !c.is_ascii_graphic() || matches!(c, '&' | '=' | '#')) {
            Some(bad) => Err(format!("{bad:?} cannot be part of a query parameter's name")),
            None if text.is_empty() => Err("a query parameter needs a name".into()),
            None => Ok(QueryName(text.into())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A `tracing` filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Leaf for LogFilter {
    const FORMAT: &'static str = "log-filter";
    const EXPECTED: &'static str =
        "off, error, warn, info, debug or trace, or a list such as \"stickler::proxy=debug,info\"";

    /// A bare word that is no level would be taken for a module, and nothing would be logged.
    fn parse(text: &str) -> Result<Self, String> {
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        let words = text.split(',').map(str::trim);
        if let Some(word) = words
            .into_iter()
            .find(|word| !word.contains(['=', '[', ']', '{', '}']) && !is_level(word))
        {
            return Err(format!("{word:?} is not a level"));
        }
        EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
        Ok(LogFilter(text.into()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Leaf for Key {
    const FORMAT: &'static str = "token-key";
    const EXPECTED: &'static str = "32 bytes in base64, as \"openssl rand -base64 32\" prints them";

    fn parse(text: &str) -> Result<Self, String> {
        Key::from_base64(text)
    }

    fn show(&self) -> String {
        "secret".into()
    }
}

impl Leaf for PathBuf {
    const FORMAT: &'static str = "file-path";
    const EXPECTED: &'static str = "the path of a file or directory";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("{text:?} is not a path"));
        }
        Ok(text.into())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses<T: Leaf + std::fmt::Debug>(texts: &[&str]) {
        for text in texts {
            assert!(T::parse(text).is_err(), "{text:?} was accepted as {}", T::FORMAT);
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        refuses::<Name>(&["", "a b", "ä", "a/b", &"x".repeat(65)]);
        refuses::<HeaderName>(&["", "x user", "x:user"]);
        refuses::<HeaderCondition>(&["a\nb", "\0"]);
        refuses::<HeaderValue>(&["a\r\nb: c", "a\nb", "\0", " a", "a\t"]);
        refuses::<Method>(&["", "get", "G T"]);
        refuses::<CookieName>(&["", "a=b", "a b", "a;"]);
        refuses::<CookiePath>(&["", "x", "/a;b", "/ "]);
        refuses::<Domain>(&["", ".", "a..b", "a:80", "*.a.com"]);
        refuses::<QueryName>(&["", "a=b", "a&b", "a b"]);
        refuses::<LogFilter>(&["", "infoo", "info,", "stickler=loud"]);
        refuses::<Key>(&["", "c2hvcnQ=", "!"]);
        refuses::<PathBuf>(&["", "\0"]);
    }

    #[test]
    fn what_can_is_shown_as_written() {
        assert_eq!(Name::parse("shop-1.a_b").map(|name| name.show()), Ok("shop-1.a_b".into()));
        assert_eq!(Domain::parse(".Example.com").map(|d| d.show()), Ok("example.com".into()));
        assert_eq!(HeaderCondition::parse("*").map(|c| c.0), Ok(None));
        assert_eq!(Method::parse("PURGE").map(|method| method.show()), Ok("PURGE".into()));
        for filter in ["info", "WARN", "stickler::proxy=debug,info", "off"] {
            assert_eq!(LogFilter::parse(filter).map(|filter| filter.show()), Ok(filter.into()));
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = Key::parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
        assert_eq!(key.show(), "secret");
    }
}
