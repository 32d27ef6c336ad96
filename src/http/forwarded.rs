//! Who is the client, and how do we tell the backend?
//!
//! `X-Forwarded-*` and `Forwarded` (RFC 7239) are claims. A stranger's are removed; a trusted
//! proxy's are read from the right, because every proxy appends: the client is the first address
//! from the right that is not itself a trusted proxy.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::fields::{X_FORWARDED_FOR, X_FORWARDED_PROTO};

/// An IPv4 address in IPv6 clothes is the IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Is this address in one of the ranges?
pub fn is_trusted(address: IpAddr, ranges: &[IpNet]) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

/// The client that a trusted `peer` speaks for.
pub fn client_behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    // `Forwarded` is the standard; whoever sends both should agree with itself.
    let field = if headers.contains_key(FORWARDED) { FORWARDED } else { X_FORWARDED_FOR };
    let mut client = peer;
    for value in headers.get_all(&field).iter().rev() {
        for element in value.to_str().unwrap_or_default().rsplit(',') {
            let node = if field == FORWARDED { for_parameter(element) } else { Some(element) };
            // A name, `unknown` or nonsense: nothing to its left can be believed either.
            let Some(address) = node.and_then(node_address) else { return client };
            client = address;
            if !is_trusted(address, trusted) {
                return client;
            }
        }
    }
    client
}

/// Does a trusted proxy say that the client came over TLS?
pub fn says_https(headers: &HeaderMap) -> bool {
    let is_https = |scheme: &str| scheme.trim().trim_matches('"').eq_ignore_ascii_case("https");
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(forwarded) = text(&FORWARDED) {
        let first = forwarded.split(',').next().unwrap_or_default();
        return parameter(first, "proto").is_some_and(is_https);
    }
    text(&X_FORWARDED_PROTO).is_some_and(|list| list.split(',').next().is_some_and(is_https))
}

/// A `Forwarded` element for one hop.
pub fn element(client: IpAddr, scheme: &str, host: Option<&HeaderValue>) -> String {
    let mut text = match client {
        IpAddr::V4(v4) => format!("for={v4};proto={scheme}"),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\";proto={scheme}"),
    };
    // A valid host has no quotes or backslashes, so quoting is enough.
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        let _ = write!(text, ";host=\"{host}\"");
    }
    text
}

/// A comma-separated field, whatever lines it has, as one list with one more element.
pub fn appended(headers: &HeaderMap, name: &HeaderName, element: &str) -> Vec<u8> {
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        if !value.as_bytes().trim_ascii().is_empty() {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
    }
    list.extend_from_slice(element.as_bytes());
    list
}

fn for_parameter(element: &str) -> Option<&str> {
    parameter(element, "for")
}

fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or
/// `"[2001:db8::1]:80"`.
fn node_address(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
    let address = bare
        .parse::<IpAddr>()
        .ok()
        .or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(canonical(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(lines: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_behind("10.0.0.1".parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_client_is_the_first_stranger_from_the_right() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&[("x-forwarded-for", "192.0.2.1")]), "192.0.2.1");
        assert_eq!(client(&[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.9.9.9")]), "192.0.2.1");
        let lines = [("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(client(&lines), "192.0.2.1");
        assert_eq!(client(&[("x-forwarded-for", "10.2.2.2, 10.3.3.3")]), "10.2.2.2");
        assert_eq!(client(&[("x-forwarded-for", "192.0.2.1, nonsense, 10.1.1.1")]), "10.1.1.1");
        assert_eq!(client(&[("x-forwarded-for", "::ffff:192.0.2.7")]), "192.0.2.7");
        assert_eq!(client(&[("x-forwarded-for", "192.0.2.1:4711")]), "192.0.2.1");
    }

    #[test]
    fn forwarded_is_read_too() {
        let value = "for=192.0.2.43, For=\"[2001:db8:cafe::17]:4711\";proto=https";
        assert_eq!(client(&[("forwarded", value)]), "2001:db8:cafe::17");
        assert_eq!(client(&[("forwarded", "for=192.0.2.43;by=x, for=10.0.0.9")]), "192.0.2.43");
        assert_eq!(client(&[("forwarded", "for=unknown")]), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_the_first_hops() {
        let says = |name: &'static str, value| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            says_https(&headers)
        };
        assert!(says("x-forwarded-proto", "https"));
        assert!(says("x-forwarded-proto", "HTTPS, http"));
        assert!(!says("x-forwarded-proto", "http"));
        assert!(says("forwarded", "for=a;proto=https, for=b;proto=http"));
        assert!(!says("forwarded", "for=a"));
    }

    #[test]
    fn elements_are_built_and_appended() {
        let host = HeaderValue::from_static("shop.example:8080");
        let v6 = element("2001:db8::1".parse().unwrap(), "http", Some(&host));
        assert_eq!(v6, "for=\"[2001:db8::1]\";proto=http;host=\"shop.example:8080\"");
        let mut headers = HeaderMap::new();
        let appended = |headers: &_| appended(headers, &X_FORWARDED_FOR, "192.0.2.3");
        assert_eq!(appended(&headers), b"192.0.2.3");
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.2"));
        assert_eq!(appended(&headers), b"192.0.2.1, 192.0.2.2, 192.0.2.3");
    }
}
