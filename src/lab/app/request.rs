//! What the shop reads from a request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{COOKIE, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use url::form_urlencoded;

use super::answer::Refusal;
use super::{App, Claim};
use crate::http::cookies::CookieName;

/// Characters that a form field may have.
const LONGEST_FIELD: usize = 200;

impl FromRequestParts<Arc<App>> for Claim {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(claim(&parts.headers, &app.cookie))
    }
}

fn claim(headers: &HeaderMap, cookie: &CookieName) -> Claim {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    match cookie.values(lines).next() {
        None => Claim::None,
        Some(value) => Claim::Value(String::from_utf8_lossy(value).into_owned()),
    }
}

/// The fields of a form, wherever they are: in the query or in the body.
pub(super) struct Fields {
    encoded: String,
}

impl FromRequest<Arc<App>> for Fields {
    type Rejection = BytesRejection;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, BytesRejection> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Bytes::from_request(request, app).await?;
        Ok(Fields { encoded: format!("{query}&{}", String::from_utf8_lossy(&body)) })
    }
}

impl Fields {
    /// The value of field `name`, which must be there and not be too long.
    pub(super) fn require(&self, name: &str, server: &str) -> Result<String, Refusal> {
        let mut fields = form_urlencoded::parse(self.encoded.as_bytes());
        let value = fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned());
        value
            .filter(|value| (1..=LONGEST_FIELD).contains(&value.chars().count()))
            .ok_or_else(|| Refusal::bad_field(server, name, LONGEST_FIELD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::app::answer;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let sid = "0123456789abcdef0123456789abcdef";
        let claimed = |lines: &[String]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, line.parse().unwrap());
            }
            claim(&headers, &CookieName::new(answer::COOKIE))
        };
        assert_eq!(claimed(&[]), Claim::None);
        assert_eq!(claimed(&["notsid=1; theme=dark".into()]), Claim::None);
        let expected = Claim::Value(sid.into());
        assert_eq!(claimed(&[format!("theme=dark; sid={sid}")]), expected);
        assert_eq!(claimed(&["theme=dark".into(), format!("sid={sid}")]), expected);
    }

    #[test]
    fn fields_come_from_the_query_or_the_body() {
        let fields = Fields { encoded: "user=ada+l%2E&&item=".into() };
        assert_eq!(fields.require("user", "a").unwrap(), "ada l.");
        assert!(fields.require("item", "a").is_err(), "empty");
        assert!(fields.require("other", "a").is_err(), "absent");
        let long = Fields { encoded: format!("item={}", "x".repeat(LONGEST_FIELD + 1)) };
        assert_eq!(long.require("item", "a").unwrap_err().error, "bad_field");
    }
}
