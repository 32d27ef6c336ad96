//! Hosts: exact, wildcard, any.

use std::borrow::Cow;
use std::str::FromStr;

/// What the host of a request must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Anything.
    #[default]
    Any,
    /// This host, in lower case and without a port.
    Exact(Box<str>),
    /// Any host that ends in this, with at least one label more: `*.` is taken off.
    Wildcard(Box<str>),
}

impl FromStr for HostMatch {
    type Err = String;

    /// `*`, `shop.example.com`, `*.example.com`, `10.0.0.1` or `[::1]`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(HostMatch::Any);
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let is_ipv6 = name.starts_with('[') && name.ends_with(']');
        if !is_ipv6 && name.contains(':') {
            return Err("a host is written without a port".into());
        }
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || !(is_ipv6 || name.bytes().all(valid)) {
            return Err(format!(
                "{text:?} is not a host name; write shop.example.com, *.example.com or *"
            ));
        }
        let name = normalize(name).into();
        Ok(if wildcard { HostMatch::Wildcard(name) } else { HostMatch::Exact(name) })
    }
}

impl HostMatch {
    /// Does the value of a `Host` field match?
    pub fn matches(&self, host: &str) -> bool {
        let host = normalize(host);
        match self {
            HostMatch::Any => true,
            HostMatch::Exact(exact) => **exact == *host,
            HostMatch::Wildcard(suffix) => parents(&host).any(|parent| *parent == **suffix),
        }
    }
}

/// Lower case, without the port and without the dot at the end.
pub(super) fn normalize(host: &str) -> Cow<'_, str> {
    let host = match host.rfind([':', ']']) {
        Some(colon) if host.as_bytes()[colon] == b':' => &host[..colon],
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

/// `b.c` and `c` of `a.b.c`.
pub(super) fn parents(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(|(dot, _)| &host[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_port_and_final_dot() {
        assert_eq!(normalize("Example.COM.:443"), "example.com");
        assert_eq!(normalize("[::1]:80"), "[::1]");
        assert_eq!(normalize("[::1]"), "[::1]");
        assert!(matches!(normalize("plain"), Cow::Borrowed("plain")));
        assert_eq!(parents("a.b.c").collect::<Vec<_>>(), ["b.c", "c"]);
    }

    #[test]
    fn patterns_are_checked() {
        assert_eq!("*".parse(), Ok(HostMatch::Any));
        assert_eq!("*.A.com".parse(), Ok(HostMatch::Wildcard("a.com".into())));
        for bad in ["", "*.", "a.com:80", "a b", "*a.com", "a/b", "http://a"] {
            assert!(bad.parse::<HostMatch>().is_err(), "{bad:?} was accepted");
        }
    }
}
