//! A request head as HTTP/2 has it, made into one as the rest of the path knows it.
//!
//! h2 has seen to what RFC 9113 says about pseudo-fields, names, fields of the connection and the
//! length of the content. What is left are our own limits, and what another hop in HTTP/1.1 might
//! read differently.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Version};
use rand::rngs::StdRng;
use rand_core::Rng;

use super::client::Client;
use super::error::Problem;
use crate::http::field_lines::FieldLines;
use crate::http::fields::Found;
use crate::http::framing::Refusal;

/// What a field counts for beside its name and value (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Checks and adapts a head, and makes field lines of its fields. `is_whole`: it has no body.
pub(crate) fn adapt(head: &mut Parts, is_whole: bool, client: &Client) -> Result<(), Problem> {
    let site = client.worker.site();
    let limits = &site.limits;
    let is_extended = head.extensions.get::<Protocol>().is_some();
    if head.method == Method::CONNECT && !is_extended {
        return Err(Problem::method());
    }
    let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > limits.uri_length {
        return Err(Problem::refused(Refusal::TargetTooLong));
    }
    if head.headers.len() > limits.header_count {
        return Err(Problem::refused(Refusal::TooManyFields));
    }
    let fields = &mut *client.fields.borrow_mut();
    place_host(head, fields)?;
    join_cookies(&mut head.headers);
    if is_extended {
        ask_to_upgrade(head, &client.worker.rng)?;
    }
    fields.add_all(&head.headers);
    if fields.found().has(Found::UNTIDY) && head.headers.values().any(has_blank_ends) {
        return Err(Problem::malformed());
    }
    if !is_extended {
        say_length(&head.method, fields, is_whole)?;
    }
    // What stands between and behind names and values in HTTP/1.1 is counted already.
    match fields.len() + fields.count() * (FIELD_OVERHEAD - 4) > limits.header_bytes {
        true => Err(Problem::refused(Refusal::HeadTooLarge)),
        false => Ok(()),
    }
}

/// A field's value neither begins nor ends with blanks (RFC 9113, section 8.2.1).
fn has_blank_ends(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
}

/// `:authority` takes the place of `Host`, which must not say anything else (RFC 9113, section
/// 8.3.1). The target is in origin form afterwards.
fn place_host(head: &mut Parts, fields: &mut FieldLines) -> Result<(), Problem> {
    let Some(authority) = head.uri.authority() else { return Ok(()) };
    let says_else =
        |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    let is_http = matches!(head.uri.scheme_str(), Some("http" | "https"));
    if !is_http || head.headers.get_all(HOST).iter().any(says_else) {
        return Err(Problem::bad_host());
    }
    head.headers.remove(HOST);
    fields.add_sound(HOST.as_str(), authority.as_str().as_bytes(), Found::HOST);
    let is_origin = |target: &&PathAndQuery| *target == "*" || target.as_str().starts_with('/');
    let target = head.uri.path_and_query().filter(is_origin).ok_or_else(Problem::malformed)?;
    head.uri = target.clone().into();
    Ok(())
}

/// Cookies may come in crumbs, for the sake of compression; elsewhere they are one field (RFC 9113,
/// section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.keys_len() == headers.len() {
        return; // no field is there twice
    }
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Nothing but good values and a separator.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(COOKIE, joined);
    }
}

/// Where a frame tells the end of the content, HTTP/1.1 needs a length, or chunks.
fn say_length(method: &Method, fields: &mut FieldLines, is_whole: bool) -> Result<(), Problem> {
    let mut lengths = fields.of_kind(Found::CONTENT_LENGTH);
    let first = (lengths.next(), lengths.next());
    drop(lengths);
    match first {
        (None, _) if is_whole => {
            if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                fields.add_sound(CONTENT_LENGTH.as_str(), b"0", Found::CONTENT_LENGTH);
            }
        }
        (None, _) => {
            fields.add_sound(TRANSFER_ENCODING.as_str(), b"chunked", Found::TRANSFER_ENCODING);
        }
        (Some(length), None) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {}
        _ => return Err(Problem::malformed()),
    }
    Ok(())
}

/// An extended CONNECT (RFC 8441) becomes the request to upgrade that HTTP/1.1 has.
fn ask_to_upgrade(head: &mut Parts, rng: &RefCell<StdRng>) -> Result<(), Problem> {
    let protocol = head.extensions.get::<Protocol>().map(|protocol| protocol.as_str().to_owned());
    if protocol.as_deref() != Some("websocket") {
        return Err(Problem::protocol());
    }
    let mut nonce = [0; 16];
    rng.borrow_mut().fill_bytes(&mut nonce);
    let key = HeaderValue::try_from(BASE64.encode(nonce)).map_err(|_| Problem::malformed())?;
    head.method = Method::GET;
    head.version = Version::HTTP_11;
    let headers = &mut head.headers;
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_KEY, key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::get(target).version(Version::HTTP_2);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_authority_is_the_host() {
        let placed = |target: &str, host| {
            let (mut head, mut fields) = (head(target, &[("host", host)]), FieldLines::default());
            place_host(&mut head, &mut fields).map_err(|_| ())?;
            fields.add_all(&head.headers);
            let hosts = fields.get_all("host").collect::<Vec<_>>().join(&b'|');
            Ok((head.uri.to_string(), String::from_utf8(hosts).unwrap()))
        };
        let shop = placed("https://shop.test:8443/a?b", "SHOP.test:8443");
        assert_eq!(shop, Ok(("/a?b".into(), "shop.test:8443".into())));
        for (target, host) in [("https://a/", "b"), ("ftp://a/", "a")] {
            assert_eq!(placed(target, host), Err(()), "{target} {host}");
        }
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let mut head = head("/", &[("cookie", "a=b"), ("cookie", "c=d; e=f"), ("cookie", "g=h")]);
        join_cookies(&mut head.headers);
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=b; c=d; e=f; g=h"]);
    }

    #[test]
    fn lengths_are_said_once_and_in_digits() {
        let said = |method: Method, lines: &[(&'static str, &'static str)], is_whole| {
            let mut fields = FieldLines::default();
            fields.add_all(&head("/", lines).headers);
            say_length(&method, &mut fields, is_whole).map_err(|_| ())?;
            let text = |name| fields.get(name).map(|v| String::from_utf8(v.to_vec()).unwrap());
            Ok((text("content-length"), text("transfer-encoding")))
        };
        assert_eq!(said(Method::GET, &[], true), Ok((None, None)));
        assert_eq!(said(Method::POST, &[], true), Ok((Some("0".into()), None)));
        assert_eq!(said(Method::POST, &[], false), Ok((None, Some("chunked".into()))));
        let five = ("content-length", "5");
        assert_eq!(said(Method::POST, &[five], false), Ok((Some("5".into()), None)));
        assert_eq!(said(Method::POST, &[five, five], false), Err(()));
        assert_eq!(said(Method::POST, &[("content-length", "+5")], false), Err(()));
    }
}
