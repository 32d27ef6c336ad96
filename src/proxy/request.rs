//! A request's head: may it come in, and as what does it go out?

use std::net::IpAddr;
use std::rc::Rc;

use http::header::{FORWARDED, HOST, HeaderName, HeaderValue, MAX_FORWARDS, TE, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode, Uri, Version};

use super::affinity::{self, Tokens};
use super::client::Client;
use super::destination::Destination;
use super::error::Problem;
use super::handling::{Handling, Way};
use super::request_id;
use super::security::Security;
use crate::balance::{Address, Hint};
use crate::config::{Family, ForwardStyle, HostPolicy};
use crate::http::field_lines::FieldLines;
use crate::http::fields::{
    Found, Hop, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO,
};
use crate::http::forwarded::Origin;
use crate::http::request_head::{Outgoing, field};
use crate::http::{authority, forwarded};

/// Checks what the framing did not: the method, the form of the target, the host. The target is
/// in origin form afterwards (or `*`), and `Host` agrees with what the client asked for.
///
/// `is_about_server`: the target is absolute, has no path, and the method is OPTIONS.
pub(crate) fn admit(
    head: &mut Parts,
    fields: &mut FieldLines,
    is_about_server: bool,
) -> Result<(), Problem> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Problem::method());
    }
    check_host(fields, head.version)?;
    if let Some(target) = head.uri.authority() {
        let is_http = matches!(head.uri.scheme_str(), Some("http" | "https"));
        if !is_http || !authority::is_valid_host(target.as_str().as_bytes()) {
            return Err(Problem::bad_host());
        }
        // RFC 9112, 3.2.2: the host of an absolute target takes the place of `Host`.
        fields.replace(HOST.as_str(), target.as_str().as_bytes());
        head.uri = origin_form(&head.uri, is_about_server).ok_or_else(Problem::malformed)?;
    }
    match head.uri.path_and_query().map(PathAndQuery::as_str) {
        Some("*") if head.method == Method::OPTIONS => {}
        Some(path) if path.starts_with('/') => {}
        _ => return Err(Problem::malformed()),
    }
    if head.method == Method::OPTIONS {
        count_hop(fields)?;
    }
    Ok(())
}

/// The host that an admitted request is for; empty for an HTTP/1.0 request without one.
pub(crate) fn host(fields: &FieldLines) -> &str {
    let host = fields.of_kind(Found::HOST).next().unwrap_or_default();
    std::str::from_utf8(host).unwrap_or_default() // a valid one is ASCII
}

/// Where a client that came over plain HTTP is to come instead.
pub(crate) fn to_https(head: &Parts, fields: &FieldLines, port: u16) -> Result<Problem, Problem> {
    let host = host(fields).parse::<Authority>().map_err(|_| Problem::bad_host())?;
    let host = host.host();
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = if target == "*" { "/" } else { target };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let location = HeaderValue::try_from(format!("https://{host}{port}{target}"));
    let location = location.map_err(|_| Problem::malformed())?;
    Ok(Problem::redirect(StatusCode::PERMANENT_REDIRECT, location, true))
}

/// Takes out the fields that only we may write, however they are disguised.
pub(crate) fn guard(fields: &mut FieldLines, guarded: &[HeaderName]) {
    guarded.iter().for_each(|name| fields.remove(name.as_str()));
}

/// An absolute target without what names the server (RFC 9112, sections 3.2.1 and 3.2.4).
fn origin_form(uri: &Uri, is_about_server: bool) -> Option<Uri> {
    if is_about_server {
        return Some(Uri::from_static("*"));
    }
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    match target.starts_with('/') {
        true => Uri::try_from(target).ok(),
        false => Uri::try_from(format!("/{target}")).ok(),
    }
}

fn check_host(fields: &FieldLines, version: Version) -> Result<(), Problem> {
    let mut hosts = fields.of_kind(Found::HOST);
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if authority::is_valid_host(host) => Ok(()),
        (None, _) if version == Version::HTTP_10 => Ok(()),
        _ => Err(Problem::bad_host()),
    }
}

/// `Max-Forwards` (RFC 9110, section 7.6.2): whoever sees it at zero is the one who was asked.
fn count_hop(fields: &mut FieldLines) -> Result<(), Problem> {
    let Some(value) = fields.get(MAX_FORWARDS.as_str()) else { return Ok(()) };
    match std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok()) {
        Some(0) => Err(Problem::last_hop()),
        Some(hops) => {
            fields.replace(MAX_FORWARDS.as_str(), (hops - 1).to_string().as_bytes());
            Ok(())
        }
        None => Ok(()),
    }
}

/// A request head as it goes out: everything but the lines that depend on the backend.
#[derive(Debug)]
pub(crate) struct Rewritten {
    /// Does the request ask to switch protocols, and do we let it?
    pub(crate) asks_to_upgrade: bool,
    /// Did the client come over TLS, as far as we or a trusted proxy can tell?
    pub(crate) is_https: bool,
    /// What it asks for; our cookies, which say so, have been left out.
    pub(crate) hint: Hint,
}

/// Writes the head that a backend is to see, without its last lines. `drops_expectation`: the body
/// has been read already, so nobody needs to ask for it.
pub(crate) fn write(
    to: &mut Vec<u8>,
    head: &Parts,
    fields: &FieldLines,
    client: &Client,
    way: &Way<'_>,
    drops_expectation: bool,
) -> Rewritten {
    let Way { destination, handling, known } = *way;
    let hop = Hop::of(fields);
    // An upgrade to h2c would smuggle whole requests past us through the tunnel.
    let is_h2c = |value: &[u8]| {
        value.split(|&b| b == b',').any(|p| p.trim_ascii().eq_ignore_ascii_case(b"h2c"))
    };
    let may_upgrade = head.version == Version::HTTP_11; // RFC 9110, 7.8
    let upgrade = hop.upgrade.filter(|value| may_upgrade && !is_h2c(value));
    let mut without = forwarding_left_out(client, destination);
    if destination.host != HostPolicy::Client {
        without = without.or(Found::HOST);
    }
    if drops_expectation {
        without = without.or(Found::EXPECT);
    }
    without = without.or(request_id::left_out(client, fields));
    let target = handling.and_then(|handling| handling.target(head));
    let target = target.as_deref();
    let outgoing = Outgoing {
        method: &head.method,
        target: target
            .unwrap_or_else(|| head.uri.path_and_query().map_or("/", PathAndQuery::as_str)),
        fields,
        without,
        hop: &hop,
        left_out: handling.map_or(&[], Handling::left_out),
        underscores: client.worker.site().underscores_in_headers,
        cookies: &destination.cookies,
    };
    let mut tokens = Tokens::new(client, destination, known);
    outgoing.write(to, |name, value| tokens.see(name, value));
    let hint = affinity::hint(tokens, fields, &head.uri);
    match (upgrade, hop.wants_trailers) {
        (Some(_), false) => to.extend_from_slice(b"connection: upgrade\r\n"),
        (Some(_), true) => to.extend_from_slice(b"connection: upgrade, te\r\n"),
        (None, true) => to.extend_from_slice(b"connection: te\r\n"),
        (None, false) => {}
    }
    if let Some(protocol) = upgrade {
        field(to, UPGRADE.as_str(), protocol);
    }
    if hop.wants_trailers {
        field(to, TE.as_str(), b"trailers");
    }
    let origin = client.is_trusted.then(|| client.origin(fields));
    let is_https = origin.map_or(client.security.is_tls(), |origin| origin.is_https);
    forward(to, fields, client, destination, origin);
    // RFC 9110, 7.6.3: the version in which we received it.
    to.extend_from_slice(match head.version {
        Version::HTTP_10 => b"via: 1.0 stickler\r\n",
        Version::HTTP_2 => b"via: 2.0 stickler\r\n",
        _ => b"via: 1.1 stickler\r\n",
    });
    request_id::write(to, client, fields);
    if let Some(handling) = handling {
        to.extend_from_slice(handling.lines());
        let says_prefix =
            client.trusts(Family::XForwarded) && fields.get(X_FORWARDED_PREFIX.as_str()).is_some();
        if !handling.stripped().is_empty() && destination.sends_x_forwarded() && !says_prefix {
            field(to, X_FORWARDED_PREFIX.as_str(), handling.stripped().as_bytes());
        }
    }
    Rewritten { asks_to_upgrade: upgrade.is_some(), is_https, hint }
}

/// The lines that say who the client is, where nothing special is asked for: no trusted proxy, the
/// client's own `Host`, and the usual fields.
pub(crate) fn usual_lines(peer: IpAddr, security: &Security) -> Rc<[u8]> {
    let mut lines = Vec::new();
    field(&mut lines, X_FORWARDED_FOR.as_str(), peer.to_string().as_bytes());
    let scheme = if security.is_tls() { "https" } else { "http" };
    field(&mut lines, X_FORWARDED_PROTO.as_str(), scheme.as_bytes());
    lines.extend_from_slice(security.subject_line());
    lines.into()
}

/// Which of the client's claims about itself are left out: a stranger's all, a trusted proxy's
/// where we write our own in their place.
fn forwarding_left_out(client: &Client, destination: &Destination) -> Found {
    const X_FORWARDED: Found = Found::X_FORWARDED_FOR
        .or(Found::X_FORWARDED_PROTO)
        .or(Found::X_FORWARDED_HOST)
        .or(Found::X_OTHER);

    let mut without = Found::default();
    if !client.trusts(Family::XForwarded) {
        without = without.or(X_FORWARDED);
    } else if destination.sends_x_forwarded() {
        without = without.or(Found::X_FORWARDED_FOR);
    }
    if !client.trusts(Family::Forwarded) || destination.sends_forwarded() {
        without = without.or(Found::FORWARDED);
    }
    without
}

/// Writes the fields that say who the client is and what it asked for.
fn forward(
    to: &mut Vec<u8>,
    fields: &FieldLines,
    client: &Client,
    destination: &Destination,
    origin: Option<Origin>,
) {
    if !client.is_trusted
        && destination.style == ForwardStyle::XForwarded
        && destination.host == HostPolicy::Client
    {
        return to.extend_from_slice(&client.forward_lines);
    }
    let is_kept = |flag| client.trusts(Family::XForwarded) && fields.found().has(flag);
    to.extend_from_slice(client.security.subject_line());
    let is_https = origin.map_or(client.security.is_tls(), |origin| origin.is_https);
    let scheme = if is_https { "https" } else { "http" };
    // Who was named in the other family's fields, which do not go on.
    let named = origin.map(|origin| origin.client).filter(|named| *named != client.peer);
    if destination.sends_x_forwarded() {
        let peer = client.peer.to_string();
        let list = match named {
            _ if client.trusts(Family::XForwarded) => {
                forwarded::appended(fields, Found::X_FORWARDED_FOR, &peer)
            }
            Some(named) => format!("{named}, {peer}").into(),
            None => peer.into(),
        };
        field(to, X_FORWARDED_FOR.as_str(), &list);
        if !is_kept(Found::X_FORWARDED_PROTO) {
            field(to, X_FORWARDED_PROTO.as_str(), scheme.as_bytes());
        }
        // While `Host` passes unchanged it says the same, so it need not be said twice.
        if destination.host != HostPolicy::Client && !is_kept(Found::X_FORWARDED_HOST) {
            field(to, X_FORWARDED_HOST.as_str(), host(fields).as_bytes());
        }
    }
    if destination.sends_forwarded() {
        let element = forwarded::element(client.peer, scheme, Some(host(fields)));
        let list = match named {
            _ if client.trusts(Family::Forwarded) => {
                forwarded::appended(fields, Found::FORWARDED, &element)
            }
            Some(named) => format!("{}, {element}", forwarded::element(named, scheme, None)).into(),
            None => element.into(),
        };
        field(to, FORWARDED.as_str(), &list);
    }
}

/// Writes the `Host` that the chosen backend is to see, where that is not the client's.
pub(crate) fn write_host(to: &mut Vec<u8>, destination: &Destination, address: &Address) {
    match (&destination.host, address) {
        (HostPolicy::Fixed(value), _) => field(to, HOST.as_str(), value.as_bytes()),
        (_, Address::Tcp { .. }) => field(to, HOST.as_str(), address.to_string().as_bytes()),
        (_, Address::Unix(_)) => field(to, HOST.as_str(), b"localhost"),
    }
}

/// May this be sent again after it was sent in vain (RFC 9110, section 9.2.2)?
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field_lines::tests::field_lines;

    fn admitted(
        line: (&str, &str, Version),
        lines: &[(&str, &str)],
    ) -> Result<(String, String), u16> {
        let request = http::Request::builder().method(line.0).uri(line.1).version(line.2);
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let mut fields = field_lines(lines);
        admit(&mut head, &mut fields, false).map_err(|problem| problem.status().as_u16())?;
        Ok((host(&fields).to_owned(), head.uri.to_string()))
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
