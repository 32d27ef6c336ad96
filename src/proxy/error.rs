//! What can go wrong with a request, who is to blame, and the one table that answers it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, LOCATION, RETRY_AFTER,
};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::client::Client;
use super::request_id::{RequestId, RequestIds, X_REQUEST_ID};
use crate::balance::Unavailable;
use crate::clock;
use crate::config::ErrorPages;
use crate::http::accept;
use crate::http::framing::Refusal;
use crate::observe::ProblemKind;

/// Status and message of a call, in gRPC.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Seconds after which a client may try again when nobody could serve it.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Who is to blame, and so how loudly it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The client sent what may not be sent. Anybody can do that at any rate: a debug line.
    Client,
    /// A backend failed: a warning.
    Backend,
    /// Nobody was there to serve it: a warning.
    Pool,
}

/// A request that gets an answer of ours instead of a backend's.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: ProblemKind,
    blame: Blame,
    /// For the client; says nothing about the topology.
    message: &'static str,
    /// For the log.
    detail: Option<String>,
    /// Where the client is sent to.
    location: Option<HeaderValue>,
    /// In how many seconds it may come again.
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: ProblemKind, blame: Blame, message: &'static str) -> Self {
        Problem { status, kind, blame, message, detail: None, location: None, retry_after: None }
    }

    fn with(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// A request that is not framed as it must be.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let (status, kind) = match refusal {
            Refusal::TargetTooLong => (StatusCode::URI_TOO_LONG, ProblemKind::HeadTooLarge),
            Refusal::HeadTooLarge | Refusal::TooManyFields => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ProblemKind::HeadTooLarge)
            }
            Refusal::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, ProblemKind::BadRequest),
            _ => (StatusCode::BAD_REQUEST, ProblemKind::BadRequest),
        };
        Problem::new(status, kind, Blame::Client, refusal.as_str())
    }

    /// A request that the parser does not understand.
    pub(crate) fn malformed() -> Self {
        let message = "the request head is malformed";
        Problem::new(StatusCode::BAD_REQUEST, ProblemKind::BadRequest, Blame::Client, message)
    }

    /// Plain HTTP where TLS is spoken.
    pub(crate) fn plain_http() -> Self {
        let message = "this port speaks HTTPS, not plain HTTP";
        Problem::new(StatusCode::BAD_REQUEST, ProblemKind::BadRequest, Blame::Client, message)
    }

    /// `Host` is missing, repeated, or no host.
    pub(crate) fn bad_host() -> Self {
        let message = "a request needs exactly one valid Host";
        Problem::new(StatusCode::BAD_REQUEST, ProblemKind::BadRequest, Blame::Client, message)
    }

    /// No route matches.
    pub(crate) fn no_route() -> Self {
        let message = "nothing is served at this address";
        Problem::new(StatusCode::NOT_FOUND, ProblemKind::NoRoute, Blame::Client, message)
    }

    /// It is served elsewhere, and the client has to go there.
    pub(crate) fn redirect(status: StatusCode, location: HeaderValue, is_to_https: bool) -> Self {
        let message = "this is served at another address";
        let kind = match is_to_https {
            true => ProblemKind::RedirectToHttps,
            false => ProblemKind::Redirect,
        };
        let redirect = Problem::new(status, kind, Blame::Client, message);
        Problem { location: Some(location), ..redirect }
    }

    /// The route is not for this address.
    pub(crate) fn forbidden(address: IpAddr) -> Self {
        let message = "this is not served to everybody";
        Problem::new(StatusCode::FORBIDDEN, ProblemKind::Forbidden, Blame::Client, message)
            .with(format!("the route is not for {address}"))
    }

    /// The client has sent more requests than it may, and may send one again in so long.
    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let message = "there were too many requests";
        let kind = ProblemKind::RateLimited;
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let refused = Problem::new(StatusCode::TOO_MANY_REQUESTS, kind, Blame::Client, message);
        Problem { retry_after: Some(seconds.max(1)), ..refused }
    }

    /// CONNECT or TRACE.
    pub(crate) fn method() -> Self {
        let (status, kind) = (StatusCode::METHOD_NOT_ALLOWED, ProblemKind::MethodNotAllowed);
        Problem::new(status, kind, Blame::Client, "this method is not allowed through this proxy")
    }

    /// An extended CONNECT for something other than a WebSocket (RFC 9220, section 3).
    pub(crate) fn protocol() -> Self {
        let message = "this protocol is not spoken through this proxy";
        let kind = ProblemKind::NotImplemented;
        Problem::new(StatusCode::NOT_IMPLEMENTED, kind, Blame::Client, message)
    }

    /// OPTIONS whose `Max-Forwards` ends here: it is us that the client asks.
    pub(crate) fn last_hop() -> Self {
        let message = "Max-Forwards ends at this proxy";
        Problem::new(StatusCode::OK, ProblemKind::LastHop, Blame::Client, message)
    }

    /// The client was too slow.
    pub(crate) fn request_timeout() -> Self {
        let message = "the request did not arrive in time";
        let kind = ProblemKind::RequestTimeout;
        Problem::new(StatusCode::REQUEST_TIMEOUT, kind, Blame::Client, message)
    }

    /// The body is larger than allowed.
    pub(crate) fn body_too_large() -> Self {
        let message = "the request body is too large";
        let kind = ProblemKind::BodyTooLarge;
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, kind, Blame::Client, message)
    }

    /// Nobody may take it.
    pub(crate) fn unavailable(pool: &str, unavailable: Unavailable) -> Self {
        let message = "no server can take this request at the moment";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, unavailable.into(), Blame::Pool, message)
            .with(format!("pool {pool}: {unavailable}"))
    }

    /// We have no descriptor, port or memory for a connection to a backend.
    pub(crate) fn shortage(detail: impl fmt::Display) -> Self {
        let message = "no server can take this request at the moment";
        let kind = ProblemKind::Shortage;
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, Blame::Pool, message).with(detail)
    }

    /// No backend could be reached, or it broke off before answering.
    pub(crate) fn bad_gateway(detail: impl fmt::Display) -> Self {
        let message = "the server behind this proxy did not answer properly";
        let kind = ProblemKind::BadGateway;
        Problem::new(StatusCode::BAD_GATEWAY, kind, Blame::Backend, message).with(detail)
    }

    /// A backend took too long.
    pub(crate) fn gateway_timeout(detail: &'static str) -> Self {
        let message = "the server behind this proxy did not answer in time";
        let kind = ProblemKind::GatewayTimeout;
        Problem::new(StatusCode::GATEWAY_TIMEOUT, kind, Blame::Backend, message).with(detail)
    }

    /// The client's own deadline has passed.
    pub(crate) fn overdue() -> Self {
        let message = "the deadline of this call has passed";
        let kind = ProblemKind::GatewayTimeout;
        Problem::new(StatusCode::GATEWAY_TIMEOUT, kind, Blame::Backend, message)
    }

    /// What kind of problem it is.
    pub(crate) fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the log line of a problem that no exchange logs.
    pub(crate) fn log(&self, client: &Client) {
        tracing::debug!(peer = %client.peer, status = self.status.as_u16(), "{}", self.message);
    }

    /// Writes the log line of a problem with a request.
    pub(crate) fn log_request(&self, client: &Client, id: &RequestId) {
        let status = self.status.as_u16();
        let detail = self.detail.as_deref().unwrap_or(self.message);
        match self.blame {
            Blame::Client => {
                tracing::debug!(request = %id, peer = %client.peer, status, "{detail}");
            }
            Blame::Backend | Blame::Pool => {
                tracing::warn!(request = %id, peer = %client.peer, status, "{detail}");
            }
        }
    }

    /// The answer for a client that speaks gRPC: a status in its own terms, as a response that
    /// consists of trailers only.
    pub(crate) fn grpc_response(&self, id: &RequestId) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::Whole(None));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from_static(self.grpc_status()));
        // Percent-encoded, which is nothing for our messages.
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(self.message));
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(X_REQUEST_ID, id);
        }
        response
    }

    /// <https://grpc.io/docs/guides/status-codes>: what a client may conclude is what counts.
    fn grpc_status(&self) -> &'static str {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => "14", // UNAVAILABLE
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "4",  // DEADLINE_EXCEEDED
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "12",    // UNIMPLEMENTED
            StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS => "8", // RESOURCE_EXHAUSTED
            StatusCode::FORBIDDEN => "7",                                      // PERMISSION_DENIED
            _ => "13",                                                         // INTERNAL
        }
    }

    /// The answer for a client that sent this `Accept`. The first of `pages` that has one for this
    /// status has a page for it.
    pub(crate) fn response(
        &self,
        accept: Option<&[u8]>,
        id: &RequestId,
        pages: [Option<&ErrorPages>; 2],
    ) -> Response<ResponseBody> {
        let wants_json = accept::wants_json(accept);
        let page =
            pages.into_iter().flatten().find_map(|pages| pages.find(self.status, wants_json));
        let (media, body) = match page {
            Some(page) => (page.media.clone(), page.body.clone()),
            None => {
                let (media, body) = self.page(accept::prefers_json(accept), id);
                (HeaderValue::from_static(media), body)
            }
        };
        let mut response = Response::new(ResponseBody::whole(body));
        *response.status_mut() = self.status;
        self.fill(response.headers_mut(), media, id);
        response
    }

    fn fill(&self, headers: &mut HeaderMap, media: HeaderValue, id: &RequestId) {
        headers.insert(CONTENT_TYPE, media);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(X_REQUEST_ID, id);
        }
        if let Some(location) = &self.location {
            headers.insert(LOCATION, location.clone());
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::OK => {
                let allowed = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            // What is left of the request is not worth reading.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }

    fn page(&self, json: bool, id: &RequestId) -> (&'static str, Bytes) {
        let code = self.status.as_u16();
        let reason = self.status.canonical_reason().unwrap_or_default();
        let message = self.message;
        if json {
            // None of the parts has a character that JSON would escape.
            let body = format!(
                "{{\"status\":{code},\"error\":\"{reason}\",\"message\":\"{message}\",\
                 \"request_id\":\"{id}\"}}\n"
            );
            ("application/json", body.into())
        } else {
            let body = format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
                 <title>{code} {reason}</title>\
                 <style>body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:34em;\
                 padding:0 1em}}small{{color:#767676}}</style>\
                 <h1>{code} {reason}</h1><p>Sorry: {message}.</p><small>Request {id}</small>\n"
            );
            ("text/html; charset=utf-8", body.into())
        }
    }
}

/// The whole answer, as bytes, to a request that never became one; the connection ends with it.
/// Nobody knows what its client accepts.
pub(crate) fn answer_bytes(
    problem: &Problem,
    id: &RequestId,
    ids: &RequestIds,
    pages: &ErrorPages,
) -> Vec<u8> {
    let (media, body) = match pages.find(problem.status, false) {
        Some(page) => (page.media.clone(), page.body.clone()),
        None => {
            let (media, body) = problem.page(true, id);
            (HeaderValue::from_static(media), body)
        }
    };
    let mut headers = HeaderMap::new();
    problem.fill(&mut headers, media, id);
    ids.place(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let reason = problem.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", problem.status.as_u16()).into_bytes();
    for (name, value) in &headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let date = httpdate::fmt_http_date(clock::system_time());
    bytes.extend_from_slice(format!("date: {date}\r\n\r\n").as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole_messages() {
        let problem = Problem::refused(Refusal::LengthAndCoding);
        let pages = ErrorPages::default();
        let answer = answer_bytes(&problem, &RequestId::Made(7), &RequestIds::Usual, &pages);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(head.contains("connection: close") && head.contains("\r\ndate: "), "{head}");
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["status"], 400);
    }

    #[test]
    fn every_message_is_safe_to_print() {
        let id = RequestId::Made(7);
        for problem in [
            Problem::malformed(),
            Problem::bad_host(),
            Problem::no_route(),
            Problem::method(),
            Problem::request_timeout(),
            Problem::body_too_large(),
            Problem::unavailable("secret", Unavailable::NoBackend),
            Problem::bad_gateway("10.0.0.1:3000 refused"),
            Problem::gateway_timeout("x"),
        ] {
            for json in [true, false] {
                let (_, body) = problem.page(json, &id);
                let body = std::str::from_utf8(&body).unwrap();
                let topology = ["10.0.0.1", "secret"].iter().any(|word| body.contains(word));
                assert!(!topology, "the topology is not the client's business");
                assert!(body.contains("0000000000000007"));
            }
            let (_, json) = problem.page(true, &id);
            assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }
}
