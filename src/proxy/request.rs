//! A request's head: may it come in, and as what does it go out?

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, TE, UPGRADE, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

use super::client::Client;
use super::destination::{self, Destination};
use super::error::Problem;
use crate::balance::Address;
use crate::config::{ForwardStyle, HostPolicy};
use crate::http::fields::{
    self, Found, STICKLER_AFFINITY, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT,
    X_FORWARDED_PROTO, X_FORWARDED_SERVER, X_REAL_IP,
};
use crate::http::{authority, forwarded};

/// What the head of an admitted request said about itself.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The fields that concern us.
    pub(crate) found: Found,
    /// The host that it is for; empty for an HTTP/1.0 request without one.
    pub(crate) host: HeaderValue,
}

/// Checks what the framing did not: the method, the form of the target, the host. The target is
/// in origin form afterwards (or `*`), and `Host` agrees with what the client asked for.
pub(crate) fn admit(head: &mut Parts) -> Result<Admitted, Problem> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Problem::method());
    }
    let found = Found::in_headers(&head.headers);
    let mut host = host(&head.headers, head.version)?;
    if let Some(target) = head.uri.authority() {
        if head.uri.scheme().is_none() || !authority::is_valid_host(target.as_str().as_bytes()) {
            return Err(Problem::bad_host());
        }
        // RFC 9112, 3.2.2: the host of an absolute target takes the place of `Host`.
        host = HeaderValue::try_from(target.as_str()).map_err(|_| Problem::bad_host())?;
        head.headers.insert(HOST, host.clone());
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(Problem::malformed());
    }
    if head.method == Method::OPTIONS {
        count_hop(&mut head.headers)?;
    }
    Ok(Admitted { found, host })
}

fn host(headers: &HeaderMap, version: Version) -> Result<HeaderValue, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if authority::is_valid_host(host.as_bytes()) => Ok(host.clone()),
        (None, _) if version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        _ => Err(Problem::bad_host()),
    }
}

/// `Max-Forwards` (RFC 9110, section 7.6.2): whoever sees it at zero is the one who was asked.
fn count_hop(headers: &mut HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(MAX_FORWARDS) else { return Ok(()) };
    match value.to_str().ok().and_then(|text| text.parse::<u32>().ok()) {
        Some(0) => Err(Problem::last_hop()),
        Some(hops) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(hops - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

/// What goes out differs from what came in by more than the fields: what they said.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// The protocol that the client asks to switch to, if we let it.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Did the client come over TLS, as far as we or a trusted proxy can tell?
    pub(crate) is_https: bool,
}

/// Makes the fields of a request those that a backend is to see.
pub(crate) fn rewrite(
    headers: &mut HeaderMap,
    admitted: &Admitted,
    client: &Client,
    destination: &Destination,
) -> Rewritten {
    let found = admitted.found;
    let hop = fields::take_hop_by_hop(headers, found);
    if hop.wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        add_connection(headers, "te");
    }
    // An upgrade to h2c would smuggle whole requests past us through the tunnel.
    let is_h2c = |value: &HeaderValue| {
        value.as_bytes().split(|&b| b == b',').any(|p| p.trim_ascii().eq_ignore_ascii_case(b"h2c"))
    };
    let upgrade = hop.upgrade.filter(|value| !is_h2c(value));
    if let Some(protocol) = &upgrade {
        headers.insert(UPGRADE, protocol.clone());
        add_connection(headers, "upgrade");
    }
    if found.has(Found::STICKLER_AFFINITY) {
        headers.remove(STICKLER_AFFINITY);
    }
    let is_https = client.is_trusted && forwarded::says_https(headers);
    forward(headers, admitted, client, destination, is_https);
    match found.has(Found::VIA) {
        true => headers.append(VIA, destination::VIA),
        false => headers.insert(VIA, destination::VIA).is_some(),
    };
    Rewritten { upgrade, is_https }
}

fn add_connection(headers: &mut HeaderMap, option: &'static str) {
    headers.append(http::header::CONNECTION, HeaderValue::from_static(option));
}

/// The fields that say who the client is and what it asked for.
fn forward(
    headers: &mut HeaderMap,
    admitted: &Admitted,
    client: &Client,
    destination: &Destination,
    is_https: bool,
) {
    let found = admitted.found;
    if !client.is_trusted {
        strip_claims(headers, found);
    }
    let scheme = if is_https { "https" } else { "http" };
    let sends_x = matches!(destination.style, ForwardStyle::XForwarded | ForwardStyle::Both);
    let sends_forwarded = matches!(destination.style, ForwardStyle::Forwarded | ForwardStyle::Both);
    if sends_x {
        if client.is_trusted && found.has(Found::X_FORWARDED_FOR) {
            let peer = client.peer_text.to_str().unwrap_or_default();
            forwarded::append(headers, X_FORWARDED_FOR, peer);
        } else {
            headers.insert(X_FORWARDED_FOR, client.peer_text.clone());
        }
        if !(client.is_trusted && found.has(Found::X_FORWARDED_PROTO)) {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        }
        // While `Host` passes unchanged it says the same, so it need not be said twice.
        let changes_host = destination.host != HostPolicy::Client;
        if changes_host && !(client.is_trusted && found.has(Found::X_FORWARDED_HOST)) {
            headers.insert(X_FORWARDED_HOST, admitted.host.clone());
        }
    }
    if sends_forwarded {
        let element = forwarded::element(client.peer, scheme, Some(&admitted.host));
        forwarded::append(headers, http::header::FORWARDED, &element);
    }
}

/// A stranger's claims about itself are not passed on.
fn strip_claims(headers: &mut HeaderMap, found: Found) {
    const CLAIMS: [(Found, HeaderName); 7] = [
        (Found::FORWARDED, http::header::FORWARDED),
        (Found::X_FORWARDED_FOR, X_FORWARDED_FOR),
        (Found::X_FORWARDED_PROTO, X_FORWARDED_PROTO),
        (Found::X_FORWARDED_HOST, X_FORWARDED_HOST),
        (Found::X_OTHER, X_FORWARDED_PORT),
        (Found::X_OTHER, X_FORWARDED_SERVER),
        (Found::X_OTHER, X_REAL_IP),
    ];
    let any = CLAIMS.iter().fold(Found::default(), |any, (flag, _)| any.or(*flag));
    if found.has(any) {
        for (_, name) in CLAIMS.iter().filter(|(flag, _)| found.has(*flag)) {
            headers.remove(name);
        }
    }
}

/// The `Host` that the chosen backend is to see.
pub(crate) fn set_host(headers: &mut HeaderMap, destination: &Destination, address: &Address) {
    let value = match &destination.host {
        HostPolicy::Client if headers.contains_key(HOST) => return,
        HostPolicy::Fixed(value) => Some(value.clone()),
        HostPolicy::Client | HostPolicy::Backend => match address {
            Address::Tcp { .. } => HeaderValue::try_from(address.to_string()).ok(),
            Address::Unix(_) => Some(HeaderValue::from_static("localhost")),
        },
    };
    if let Some(value) = value {
        headers.insert(HOST, value);
    }
}

/// May this be sent again after it was sent in vain (RFC 9110, section 9.2.2)?
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(
        line: (&str, &str, Version),
        lines: &[(&'static str, &str)],
    ) -> Result<(String, String), u16> {
        let mut request = http::Request::builder().method(line.0).uri(line.1).version(line.2);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let admitted = admit(&mut head).map_err(|problem| problem.status().as_u16())?;
        let sent = head.headers.get(HOST).map_or("", |host| host.to_str().unwrap());
        assert_eq!(sent.as_bytes(), admitted.host.as_bytes());
        Ok((sent.to_owned(), head.uri.to_string()))
    }

    const V11: Version = Version::HTTP_11;

    #[test]
    fn hosts_are_required_and_checked() {
        assert_eq!(admitted(("GET", "/", V11), &[("host", "a")]), Ok(("a".into(), "/".into())));
        assert_eq!(admitted(("GET", "/", V11), &[]), Err(400));
        assert_eq!(admitted(("GET", "/", Version::HTTP_10), &[]), Ok(("".into(), "/".into())));
        assert_eq!(admitted(("GET", "/", V11), &[("host", "a"), ("host", "a")]), Err(400));
        assert_eq!(admitted(("GET", "/", V11), &[("host", "")]), Err(400));
        assert_eq!(admitted(("GET", "/", V11), &[("host", "a b")]), Err(400));
    }

    #[test]
    fn absolute_targets_become_origin_form() {
        let host = [("host", "other")];
        let absolute = admitted(("GET", "http://shop.example:8080/a?b", V11), &host);
        assert_eq!(absolute, Ok(("shop.example:8080".into(), "/a?b".into())));
        assert_eq!(admitted(("GET", "http://user@shop.example/", V11), &host), Err(400));
        assert_eq!(admitted(("GET", "http://a/", V11), &[]), Err(400), "Host is still required");
        assert_eq!(admitted(("GET", "shop.example", V11), &host), Err(400), "authority form");
    }

    #[test]
    fn methods_and_the_asterisk() {
        let host = [("host", "a")];
        assert_eq!(admitted(("CONNECT", "a:443", V11), &host), Err(405));
        assert_eq!(admitted(("TRACE", "/", V11), &host), Err(405));
        assert_eq!(admitted(("OPTIONS", "*", V11), &host), Ok(("a".into(), "*".into())));
        assert_eq!(admitted(("GET", "*", V11), &host), Err(400));
        let last = [("host", "a"), ("max-forwards", "0")];
        assert_eq!(admitted(("OPTIONS", "/", V11), &last), Err(200));
        assert!(admitted(("GET", "/", V11), &last).is_ok());
    }
}
