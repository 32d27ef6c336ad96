//! What a request is called: by us, and by the traces that it belongs to.

use std::fmt;
use std::rc::Rc;

use http::header::{HeaderMap, HeaderName};
use rand_core::Rng;

use super::client::Client;
use crate::http::field_lines::FieldLines;
use crate::http::fields::Found;
use crate::http::request_head::field;
use crate::http::traceparent::{self, TraceId};
use crate::observe::access_log::hex;

/// Where the id of a request stands, unless the configuration says otherwise.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a trusted proxy.
const LONGEST: usize = 128;

/// What a request is called in our logs, on its error page, and towards its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// By us.
    Made(u64),
    /// By a proxy that we trust.
    Given(Rc<str>),
}

/// Where backends find the id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestIds {
    /// Nowhere.
    Off,
    /// In `X-Request-Id`.
    Usual,
    /// In a field of this name.
    Named(HeaderName),
}

impl From<Option<&HeaderName>> for RequestIds {
    fn from(name: Option<&HeaderName>) -> Self {
        match name {
            None => RequestIds::Off,
            Some(name) if *name == X_REQUEST_ID => RequestIds::Usual,
            Some(name) => RequestIds::Named(name.clone()),
        }
    }
}

impl RequestIds {
    /// An answer of ours shows the id where backends find it. Its page has it in any case.
    pub(crate) fn place(&self, headers: &mut HeaderMap) {
        let (RequestIds::Off | RequestIds::Named(_)) = self else { return };
        let id = headers.remove(&X_REQUEST_ID);
        if let (RequestIds::Named(name), Some(id)) = (self, id) {
            headers.insert(name, id);
        }
    }
}

impl RequestId {
    pub(crate) fn random(rng: &mut dyn Rng) -> Self {
        RequestId::Made(rng.next_u64())
    }

    /// An id that a trusted proxy gave, if it is one: it will stand in logs and pages.
    fn given(value: &[u8]) -> Option<Self> {
        let is_fit = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@,".contains(b);
        let is_id = (1..=LONGEST).contains(&value.len()) && value.iter().all(is_fit);
        let text = std::str::from_utf8(value).ok().filter(|_| is_id);
        text.map(|text| RequestId::Given(text.into()))
    }

    /// Writes its text.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        match self {
            RequestId::Given(text) => to.extend_from_slice(text.as_bytes()),
            RequestId::Made(id) => to.extend_from_slice(&hex(*id)),
        }
    }

    /// Its text.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Made(id) => write!(f, "{id:016x}"),
            RequestId::Given(text) => f.write_str(text),
        }
    }
}

/// Finds out what a request is called, as far as its fields say so.
pub(crate) fn identify(client: &Client, fields: &mut FieldLines) {
    let site = client.worker.site();
    match &site.request_ids {
        RequestIds::Off => {}
        RequestIds::Usual if !client.is_trusted || !fields.found().has(Found::REQUEST_ID) => {}
        RequestIds::Usual => {
            let given = fields.of_kind(Found::REQUEST_ID).next().and_then(RequestId::given);
            given.into_iter().for_each(|id| client.record.set_id(id));
        }
        RequestIds::Named(name) => {
            let given = fields.get(name.as_str()).filter(|_| client.is_trusted);
            given.and_then(RequestId::given).into_iter().for_each(|id| client.record.set_id(id));
            fields.replace(name.as_str(), &client.record.id(client).to_bytes());
        }
    }
    if fields.found().has(Found::TRACEPARENT)
        && client.record.has_line()
        && let Some(trace) = trace(fields)
    {
        client.record.set_trace(trace);
    }
}

/// The trace that a request belongs to, if it says so as it should.
fn trace(fields: &FieldLines) -> Option<TraceId> {
    if !fields.found().has(Found::TRACEPARENT) {
        return None;
    }
    let mut values = fields.of_kind(Found::TRACEPARENT);
    let only = values.next().filter(|_| values.next().is_none());
    only.and_then(traceparent::trace_id)
}

/// The names of a request that do not go on, since we write others in their place.
pub(crate) fn left_out(client: &Client, fields: &FieldLines) -> Found {
    let site = client.worker.site();
    let mut without = match site.request_ids {
        RequestIds::Usual => Found::REQUEST_ID,
        RequestIds::Off | RequestIds::Named(_) => Found::default(),
    };
    if site.starts_traces && trace(fields).is_none() {
        without = without.or(Found::TRACEPARENT).or(Found::TRACESTATE);
    }
    without
}

/// Writes the fields that tell a backend what the request is called.
pub(crate) fn write(to: &mut Vec<u8>, client: &Client, fields: &FieldLines) {
    let site = client.worker.site();
    // Under another name it is among the fields already.
    if let RequestIds::Usual = site.request_ids {
        to.extend_from_slice(b"x-request-id: ");
        client.record.id(client).write(to);
        to.extend_from_slice(b"\r\n");
    }
    if site.starts_traces && trace(fields).is_none() {
        let mut rng = client.worker.rng.borrow_mut();
        let (value, trace) = traceparent::started(std::array::from_fn(|_| rng.next_u64()));
        field(to, "traceparent", value.as_bytes());
        client.record.set_trace(trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_ids_must_be_fit_to_be_printed() {
        let given = |text: &str| RequestId::given(text.as_bytes());
        assert_eq!(given("Root=1-67:a/b").unwrap().to_string(), "Root=1-67:a/b");
        assert_eq!(given(""), None);
        assert_eq!(given(&"a".repeat(129)), None);
        for bad in ["a b", "a\"", "<b>", "a\tb"] {
            assert_eq!(given(bad), None, "{bad}");
        }
        assert_eq!(RequestId::Made(0xa9).to_bytes(), b"00000000000000a9");
    }
}
