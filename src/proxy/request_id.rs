//! What a request is called: by us, and by the traces that it belongs to.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderValue;
use rand_core::Rng;

use super::client::Client;
use crate::http::fields::{Found, TRACEPARENT, TRACESTATE};
use crate::http::request_head::field;
use crate::http::traceparent;
use crate::observe::access_log::hex;

/// The longest id that is taken from a trusted proxy.
const LONGEST: usize = 128;

/// What a request is called in our logs, on its error page, and towards its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// By us.
    Made(u64),
    /// By a proxy that we trust.
    Given(HeaderValue),
}

impl RequestId {
    pub(crate) fn random(rng: &mut dyn Rng) -> Self {
        RequestId::Made(rng.next_u64())
    }

    /// An id that a trusted proxy gave, if it is one: it will stand in logs and pages.
    fn given(value: &HeaderValue) -> Option<Self> {
        let is_fit = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@,".contains(b);
        let text = value.as_bytes();
        let is_id = (1..=LONGEST).contains(&text.len()) && text.iter().all(is_fit);
        is_id.then(|| RequestId::Given(value.clone()))
    }

    /// Its text.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            RequestId::Given(value) => Bytes::copy_from_slice(value.as_bytes()),
            RequestId::Made(_) => self.to_string().into(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Made(id) => write!(f, "{id:016x}"),
            RequestId::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
        }
    }
}

/// Finds out what a request is called, and takes its names out of its fields where we write others
/// in their place.
pub(crate) fn identify(client: &Client, headers: &mut HeaderMap, found: Found) {
    let site = &client.worker.site;
    if let Some(name) = &site.request_id_header
        && (found.has(Found::REQUEST_ID) || Found::of(name) != Found::REQUEST_ID)
        && let Some(value) = headers.remove(name)
        && client.is_trusted
        && let Some(id) = RequestId::given(&value)
    {
        client.record.set_id(id);
    }
    if found.has(Found::TRACEPARENT) && (site.starts_traces || client.record.has_line()) {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none());
        match only.and_then(|value| traceparent::trace_id(value.as_bytes())) {
            Some(trace) => client.record.set_trace(trace),
            None if site.starts_traces => {
                headers.remove(TRACEPARENT);
                headers.remove(TRACESTATE);
            }
            None => {}
        }
    }
}

/// Writes the fields that tell a backend what the request is called.
pub(crate) fn write(to: &mut Vec<u8>, client: &Client, headers: &HeaderMap, found: Found) {
    let site = &client.worker.site;
    if let Some(name) = &site.request_id_header {
        match client.record.id(client) {
            RequestId::Given(value) => field(to, name.as_str(), value.as_bytes()),
            RequestId::Made(id) => {
                to.reserve(name.as_str().len() + 20);
                to.extend_from_slice(name.as_str().as_bytes());
                to.extend_from_slice(b": ");
                hex(to, id);
                to.extend_from_slice(b"\r\n");
            }
        }
    }
    let is_traced = found.has(Found::TRACEPARENT) && headers.contains_key(TRACEPARENT);
    if site.starts_traces && !is_traced {
        let mut rng = client.worker.rng.borrow_mut();
        let (value, trace) = traceparent::started(std::array::from_fn(|_| rng.next_u64()));
        field(to, TRACEPARENT.as_str(), value.as_bytes());
        client.record.set_trace(trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_ids_must_be_fit_to_be_printed() {
        let given = |text: &str| RequestId::given(&HeaderValue::from_str(text).unwrap());
        assert_eq!(given("Root=1-67:a/b").unwrap().to_string(), "Root=1-67:a/b");
        assert_eq!(given(""), None);
        assert_eq!(given(&"a".repeat(129)), None);
        for bad in ["a b", "a\"", "<b>", "a\tb"] {
            assert_eq!(given(bad), None, "{bad}");
        }
        assert_eq!(RequestId::Made(10).to_bytes(), "000000000000000a");
    }
}
