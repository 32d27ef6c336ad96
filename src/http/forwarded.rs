//! Who is the client, and how do we tell the backend?
//!
//! `X-Forwarded-*` and `Forwarded` (RFC 7239) are claims. A stranger's are removed; a trusted
//! proxy's are read from the right, because every proxy appends: the client is the first address
//! from the right that is not itself a trusted proxy.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::field_lines::FieldLines;
use super::fields::Found;

/// An IPv4 address in IPv6 clothes is the IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Is this address in one of the ranges?
pub fn is_trusted(address: IpAddr, ranges: &[IpNet]) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

/// The fields in which the trusted proxies speak of their clients. The others, which they may pass
/// on as they came from anybody, say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
}

/// What trusted proxies say about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its address.
    pub client: IpAddr,
    /// It came over TLS.
    pub is_https: bool,
}

impl Origin {
    /// What the trusted `peer` says, and the trusted proxies behind it.
    pub fn behind(peer: IpAddr, fields: &FieldLines, trusted: &[IpNet], family: Family) -> Self {
        let kind = match family {
            Family::XForwarded => Found::X_FORWARDED_FOR,
            Family::Forwarded => Found::FORWARDED,
        };
        let mut origin = Origin { client: peer, is_https: false };
        // Every element was written by who stands to its right, the last one by the peer.
        let mut hops = 0_usize;
        for element in from_the_right(fields, kind) {
            if family == Family::Forwarded {
                origin.is_https = parameter(element, "proto").is_some_and(is_https);
            }
            let node = match family {
                Family::XForwarded => Some(element),
                Family::Forwarded => parameter(element, "for"),
            };
            // A name, `unknown` or nonsense: nothing to its left can be believed either.
            let Some(address) = node.and_then(node_address) else { break };
            origin.client = address;
            if !is_trusted(address, trusted) {
                break;
            }
            hops += 1;
        }
        if family == Family::XForwarded {
            // As many hops back as the address, or the first hop's if not all of them say.
            let schemes = from_the_right(fields, Found::X_FORWARDED_PROTO);
            origin.is_https = schemes.take(hops + 1).last().is_some_and(is_https);
        }
        origin
    }
}

/// The elements of a comma-separated field, whatever lines it has, from the last to the first.
fn from_the_right(fields: &FieldLines, kind: Found) -> impl Iterator<Item = &str> {
    let is_text = |value: &&[u8]| value.iter().all(|&b| b == b'\t' || (b' '..0x7f).contains(&b));
    let values = fields.of_kind(kind).rev().filter(is_text);
    values.flat_map(|value| std::str::from_utf8(value).unwrap_or_default().rsplit(','))
}

fn is_https(scheme: &str) -> bool {
    scheme.trim().trim_matches('"').eq_ignore_ascii_case("https")
}

/// A `Forwarded` element for one hop.
pub fn element(client: IpAddr, scheme: &str, host: Option<&str>) -> String {
    let mut text = match client {
        IpAddr::V4(v4) => format!("for={v4};proto={scheme}"),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\";proto={scheme}"),
    };
    // A valid host has no quotes or backslashes, so quoting is enough.
    if let Some(host) = host {
        let _ = write!(text, ";host=\"{host}\"");
    }
    text
}

/// A comma-separated field, whatever lines it has, as one list with one more element.
pub fn appended(fields: &FieldLines, kind: Found, element: &str) -> Vec<u8> {
    let mut list = Vec::new();
    for value in fields.of_kind(kind).filter(|value| !value.is_empty()) {
        list.extend_from_slice(value);
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    list
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
    use proptest::prelude::*;

    use super::*;
    use crate::http::field_lines::tests::field_lines;

    fn origin(family: Family, lines: &[(&str, &str)]) -> (String, bool) {
        let fields = field_lines(lines);
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let origin = Origin::behind("10.0.0.1".parse().unwrap(), &fields, &trusted, family);
        (origin.client.to_string(), origin.is_https)
    }

    fn client(lines: &[(&str, &str)]) -> String {
        origin(Family::XForwarded, lines).0
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
    fn forwarded_is_read_where_it_is_what_is_trusted() {
        let client = |value| origin(Family::Forwarded, &[("forwarded", value)]).0;
        let value = "for=192.0.2.43, For=\"[2001:db8:cafe::17]:4711\";proto=https";
        assert_eq!(client(value), "2001:db8:cafe::17");
        assert_eq!(client("for=192.0.2.43;by=x, for=10.0.0.9"), "192.0.2.43");
        assert_eq!(client("for=unknown"), "10.0.0.1");
    }

    #[test]
    fn the_other_family_is_not_believed() {
        let both = [("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(origin(Family::XForwarded, &both), ("192.0.2.1".into(), false));
        let both = [("forwarded", "for=192.0.2.1"), ("x-forwarded-proto", "https")];
        assert_eq!(origin(Family::Forwarded, &both), ("192.0.2.1".into(), false));
    }

    #[test]
    fn the_scheme_is_said_by_whoever_says_the_address() {
        let x = |addresses, schemes| {
            let lines = [("x-forwarded-for", addresses), ("x-forwarded-proto", schemes)];
            origin(Family::XForwarded, &lines).1
        };
        assert!(x("192.0.2.1", "https") && x("192.0.2.1", "HTTPS") && !x("192.0.2.1", "http"));
        assert!(!x("192.0.2.1", "https, http"), "a stranger's, with the proxy's own behind it");
        assert!(
            x("192.0.2.1, 10.0.0.2", "https, http") && !x("192.0.2.1, 10.0.0.2", "http, https")
        );
        assert!(x("192.0.2.1, 10.0.0.2", "https"), "said once for all hops");
        assert!(origin(Family::XForwarded, &[("x-forwarded-proto", "https")]).1);
        let forwarded = |value| origin(Family::Forwarded, &[("forwarded", value)]).1;
        assert!(forwarded("for=192.0.2.1;proto=https, for=10.0.0.2;proto=http"));
        assert!(!forwarded("for=6.6.6.6;proto=https, for=192.0.2.1;proto=http"));
        assert!(forwarded("for=_hidden;proto=\"https\"") && !forwarded("for=192.0.2.1"));
    }

    #[test]
    fn elements_are_built_and_appended() {
        let host = "shop.example:8080";
        let v6 = element("2001:db8::1".parse().unwrap(), "http", Some(host));
        assert_eq!(v6, "for=\"[2001:db8::1]\";proto=http;host=\"shop.example:8080\"");
        let appended = |lines: &[(&str, &str)]| {
            appended(&field_lines(lines), Found::X_FORWARDED_FOR, "192.0.2.3")
        };
        assert_eq!(appended(&[]), b"192.0.2.3");
        let two = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")];
        assert_eq!(appended(&two), b"192.0.2.1, 192.0.2.2, 192.0.2.3");
    }

    proptest! {
        /// Whatever a stranger writes to the left of its own address, as our proxies have seen it,
        /// changes nothing.
        #[test]
        fn strangers_are_who_they_are(
            left in "[ -~]{0,40}",
            stranger in any::<[u8; 4]>().prop_filter("is none of ours", |a| a[0] != 10),
            hops in 0usize..3,
        ) {
            let stranger = IpAddr::from(stranger).to_string();
            let behind = ", 10.1.1.1".repeat(hops);
            let list = format!("{left}, {stranger}{behind}");
            prop_assert_eq!(client(&[("x-forwarded-for", &list)]), stranger.clone());
            let quoted = left.replace(',', ";");
            let elements = ", for=10.1.1.1".repeat(hops);
            let list = format!("{quoted}, for={stranger}{elements}");
            prop_assert_eq!(origin(Family::Forwarded, &[("forwarded", &list)]).0, stranger);
        }

        /// What we tell others is read as it was meant.
        #[test]
        fn elements_are_read_back(address in any::<[u16; 8]>(), is_v4 in any::<bool>(), tls in any::<bool>()) {
            let address = match is_v4 {
                true => IpAddr::from([172, 16, address[0] as u8, address[1] as u8]),
                false => canonical(IpAddr::from(address)),
            };
            let scheme = if tls { "https" } else { "http" };
            let said = element(address, scheme, Some("shop.test"));
            let read = origin(Family::Forwarded, &[("forwarded", &said)]);
            prop_assert_eq!(read, (address.to_string(), tls));
        }
    }
}
