//! May this request come in?
//!
//! A page that an operator's browser shows can send requests to this machine, and with a name of
//! its own that points here (DNS rebinding) even read the answers. So the `Host` must be one that
//! only an operator would use, and a browser must not say that the request comes from another
//! page. A token, if one is configured, is compared in constant time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode};
use subtle::ConstantTimeEq;

use super::Admin;
use super::problem::Problem;
use crate::config;

/// How long a request may take; an event stream, to begin.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What may be seen without a token: it says nothing about backends and sessions.
const OPEN: [&str; 3] = ["/", "/healthz", "/readyz"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request in, or answers it.
pub(super) async fn guard(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let access = admin.access.load();
    let allowed = check(&access, admin.address, request.uri().path(), request.headers());
    drop(access);
    let mut response = match allowed {
        Err(problem) => problem.into_response(),
        Ok(()) => match tokio::time::timeout(TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem::new(status, format!("no answer within {TIMEOUT:?}")).into_response()
            }
        },
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn check(
    access: &config::Admin,
    address: SocketAddr,
    path: &str,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let host = text(headers, &HOST).unwrap_or_default();
    if !is_ours(access, address, host) {
        let detail = format!("this is not {host:?}");
        return Err(Problem::new(StatusCode::FORBIDDEN, detail)
            .of_kind("host", "Unknown host")
            .help("use localhost or the address itself, or add the name to admin.allowed_hosts"));
    }
    if is_foreign(path, host, headers) {
        let detail = "the request comes from a page of another origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).of_kind("origin", "Other origin"));
    }
    match &access.token {
        Some(token) if !OPEN.contains(&path) && !carries(headers, token) => {
            Err(Problem::new(StatusCode::UNAUTHORIZED, "this needs the token of admin.token_file")
                .help("send Authorization: Bearer TOKEN; with the commands: --token-file FILE"))
        }
        _ => Ok(()),
    }
}

/// A field that must not come twice.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Is this a host that only an operator would use?
fn is_ours(access: &config::Admin, address: SocketAddr, host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let is_own = match ip {
        Some(ip) => ip.is_loopback() || ip == address.ip() || address.ip().is_unspecified(),
        None => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    };
    is_own || access.allowed_hosts.iter().any(|allowed| allowed.matches(name))
}

/// Does a browser say that another page sends this? The dashboard may be linked to.
fn is_foreign(path: &str, host: &str, headers: &HeaderMap) -> bool {
    let is_page = path == "/";
    let origin = headers.get(ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host))
    });
    let site = headers
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| site != "same-origin" && site != "none" && !is_page);
    origin || site
}

fn carries(headers: &HeaderMap, token: &config::AdminToken) -> bool {
    let Some(credentials) = text(headers, &AUTHORIZATION) else { return false };
    let Some((scheme, given)) = credentials.split_once(' ') else { return false };
    let given = given.trim().as_bytes();
    scheme.eq_ignore_ascii_case("bearer") && bool::from(given.ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(hosts: &[&str]) -> config::Admin {
        config::Admin {
            address: None,
            is_given: true,
            token: None,
            tls: None,
            allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn answer(address: &str, hosts: &[&str], path: &str, fields: &[(&'static str, &str)]) -> u16 {
        let address = address.parse().unwrap();
        match check(&access(hosts), address, path, &headers(fields)) {
            Ok(()) => 200,
            Err(problem) => problem.status,
        }
    }

    #[test]
    fn only_names_that_operators_use_are_answered() {
        let at =
            |address, hosts: &[&str], host| answer(address, hosts, "/v1/pools", &[("host", host)]);
        for host in ["localhost:9900", "LOCALHOST.", "127.0.0.1", "127.9.9.9:1", "[::1]:9900"] {
            assert_eq!(at("127.0.0.1:9900", &[], host), 200, "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9900", "10.0.0.1", "localhost.evil.example", "a b"]
        {
            assert_eq!(at("127.0.0.1:9900", &[], host), 403, "{host}");
        }
        assert_eq!(at("10.0.0.1:9900", &[], "10.0.0.1:9900"), 200);
        assert_eq!(at("10.0.0.1:9900", &[], "10.0.0.2:9900"), 403);
        assert_eq!(at("0.0.0.0:9900", &[], "10.0.0.2:9900"), 200, "no name points there");
        assert_eq!(at("0.0.0.0:9900", &[], "ops.example:9900"), 403);
        assert_eq!(at("0.0.0.0:9900", &["ops.example"], "OPS.example:9900"), 200);
        assert_eq!(at("0.0.0.0:9900", &["*.example"], "a.example"), 200);
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(answer("127.0.0.1:1", &[], "/", &twice), 403);
    }

    #[test]
    fn pages_of_others_are_not_answered() {
        let from =
            |path, field| answer("127.0.0.1:1", &[], path, &[("host", "localhost:1"), field]);
        assert_eq!(from("/v1/reload", ("origin", "http://localhost:1")), 200);
        for origin in ["http://evil.example", "http://localhost:2", "null", ""] {
            assert_eq!(from("/v1/reload", ("origin", origin)), 403, "{origin}");
        }
        assert_eq!(from("/v1/reload", ("sec-fetch-site", "same-origin")), 200);
        assert_eq!(from("/v1/reload", ("sec-fetch-site", "none")), 200);
        for site in ["cross-site", "same-site"] {
            assert_eq!(from("/v1/pools", ("sec-fetch-site", site)), 403, "{site}");
            assert_eq!(from("/", ("sec-fetch-site", site)), 200, "a link to the dashboard");
        }
    }
}
