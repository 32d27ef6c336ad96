//! Responses are compressed for clients that want that, where the configuration does.

use std::rc::Rc;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH};
use http::{HeaderValue, Response};

use super::body::{Compressed, ResponseBody, compressed};
use super::client::Client;
use crate::config;
use crate::http::compression;

/// Compresses a backend's response, if it and its client are for it.
pub(crate) fn apply(
    settings: &config::Compression,
    response: &mut Response<ResponseBody>,
    is_head: bool,
    client: &Rc<Client>,
) {
    let (status, headers) = (response.status(), response.headers());
    let length = match response.body() {
        ResponseBody::Whole(Some(bytes)) => Some(bytes.len() as u64),
        ResponseBody::Whole(None) if !is_head => return,
        _ => headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()),
    };
    let config::Compression { algorithms, min_length, types } = settings;
    if !compression::is_eligible(status, headers, length, *min_length, types) {
        return;
    }
    compression::vary(response.headers_mut());
    // A client of HTTP/1.0 could not be told where a body ends whose length nobody knows.
    if !client.speaks_interim() && !client.is_stream() {
        return;
    }
    let fields = client.fields.borrow();
    let Some(coding) = compression::negotiate(fields.get_all(ACCEPT_ENCODING.as_str()), algorithms)
    else {
        return;
    };
    let body = std::mem::replace(response.body_mut(), ResponseBody::Whole(None));
    *response.body_mut() = match body {
        ResponseBody::Whole(None) => {
            compression::mark(response.headers_mut(), coding); // as it would be of a GET
            return;
        }
        ResponseBody::Whole(Some(bytes)) => match compressed(&bytes, coding) {
            Some(shorter) => {
                compression::mark(response.headers_mut(), coding);
                let length = HeaderValue::from(shorter.len());
                response.headers_mut().insert(CONTENT_LENGTH, length);
                ResponseBody::Whole(Some(shorter))
            }
            None => ResponseBody::Whole(Some(bytes)),
        },
        body if is_head => {
            compression::mark(response.headers_mut(), coding);
            body
        }
        body => match Compressed::new(body, coding, client) {
            Ok(compressed) => {
                compression::mark(response.headers_mut(), coding);
                ResponseBody::Compressed(Box::new(compressed))
            }
            Err(_) => {
                // Nothing but a lack of memory, and then the body is lost with it.
                client.break_off();
                ResponseBody::Whole(None)
            }
        },
    };
}
