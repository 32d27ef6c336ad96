//! Interim (1xx) responses on their way to the client.

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::attempt::Attempt;

/// Interim responses to one request at most.
const MAX_INTERIM: usize = 100;

/// Fields of one of them that is passed on in HTTP/2.
const MAX_INTERIM_FIELDS: usize = 64;

impl Attempt<'_> {
    /// Has the backend said so much before its answer that it is not believed to come to one?
    pub(super) fn has_had_enough(&self) -> bool {
        self.interim_heads == MAX_INTERIM
    }

    /// Passes on an interim head. 100 is for us: hyper asks the client by itself when we begin to
    /// read the body.
    pub(super) fn interim(&mut self, status: StatusCode, head: &[u8]) {
        self.interim_heads += 1;
        if status == StatusCode::CONTINUE {
            if let Some(progress) = &self.progress {
                progress.is_wanted.set(true);
            }
        } else if self.client.is_stream() {
            if let Some(response) = interim_response(status, head) {
                self.client.say_interim(response);
            }
        } else if self.client.speaks_interim() {
            self.client.outbox.borrow_mut().extend_from_slice(head);
        }
    }
}

/// An interim head as HTTP/2 has it.
fn interim_response(status: StatusCode, head: &[u8]) -> Option<Response<()>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_INTERIM_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        response.headers_mut().try_append(name, value).ok()?;
    }
    Some(response)
}
