//! What went wrong, in the one form that all answers have (RFC 9457).

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, and what to do about it (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem, for programs: `about:blank` if the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What is the matter this time.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

impl Problem {
    /// A problem that its status describes.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            help: None,
        }
    }

    /// A problem of a kind that programs may want to know from others.
    pub(super) fn of_kind(mut self, kind: &str, title: &str) -> Self {
        (self.kind, self.title) = (format!("urn:stickler:problem:{kind}"), title.into());
        self
    }

    /// The same with a hint what to do next.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// There is no such pool.
    pub(super) fn no_pool<'a>(name: &str, pools: impl Iterator<Item = &'a str>) -> Self {
        let detail = format!("there is no pool {name:?}");
        Problem::new(StatusCode::NOT_FOUND, detail)
            .of_kind("no-pool", "No such pool")
            .help(there_are("pools", pools))
    }

    /// There is no such backend in the pool.
    pub(super) fn no_backend<'a>(
        pool: &str,
        name: &str,
        backends: impl Iterator<Item = &'a str>,
    ) -> Self {
        let detail = format!("there is no backend {name:?} in pool {pool:?}");
        Problem::new(StatusCode::NOT_FOUND, detail)
            .of_kind("no-backend", "No such backend")
            .help(there_are("backends", backends))
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Names that are listed at most.
const LISTED: usize = 20;

fn there_are<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.take(LISTED + 1).collect();
    let more = names.len() > LISTED;
    names.truncate(LISTED);
    let more = if more { ", ..." } else { "" };
    format!("the {what} are {}{more}", names.join(", "))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        match status {
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer realm=\"stickler admin\"");
                headers.insert(WWW_AUTHENTICATE, scheme);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// The body is not JSON, or not what is expected.
impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let problem = Problem::new(rejection.status(), rejection.body_text());
        match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                problem.help("send Content-Type: application/json")
            }
            _ => problem,
        }
    }
}

/// The query is not what is expected.
impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

/// The path cannot be decoded.
impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_instead_is_listed_but_not_without_end() {
        let names: Vec<String> = (0..30).map(|i| format!("b{i}")).collect();
        let help = |n: usize| {
            let names = names[..n].iter().map(String::as_str);
            Problem::no_backend("shop", "x", names).help.unwrap()
        };
        assert_eq!(help(2), "the backends are b0, b1");
        assert!(help(20).ends_with("b19") && help(21).ends_with("b19, ..."));
    }
}
