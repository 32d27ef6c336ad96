//! A request, read back from what was written.
//!
//! Sending a request a second time takes a copy of it. Cloning every head for the few that need
//! it would cost every request two allocations; keeping the bytes that went out over a reused
//! connection costs one `memcpy`, and reading them back happens only when it is needed.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::body::RequestBody;

/// The request whose head is at the beginning of `written`, with this body.
pub(super) fn request(written: &[u8], body: Option<Bytes>) -> Option<Request<RequestBody>> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = parsed.parse(written) else { return None };
    let mut request = Request::new(RequestBody::Whole(body));
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(parsed.path?).ok()?;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let written =
            b"PUT /a?b HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\ncontent-length: 2\r\n\r\nhi";
        let again = request(written, Some(Bytes::from_static(b"hi"))).unwrap();
        assert_eq!((again.method(), again.uri().path()), (&Method::PUT, "/a"));
        assert_eq!(again.headers().get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(again.headers().len(), 4);
        assert!(matches!(again.body(), RequestBody::Whole(Some(body)) if body == "hi"));
        assert!(request(&written[..20], None).is_none(), "not a whole head");
    }
}
