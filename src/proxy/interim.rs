//! Interim responses (1xx), passed on while the final one is still to come.

use std::mem;

use super::body::Progress;
use super::client::Client;
use super::upstream_io::Wire;

/// Passes on what interim heads have arrived. Does the connection have to be driven again,
/// because the backend has just asked for the body?
pub(super) fn pass_on(client: &Client, wire: &Wire, progress: Option<&Progress>) -> bool {
    if wire.interim.borrow().is_empty() {
        return false;
    }
    let received = mem::take(&mut *wire.interim.borrow_mut());
    let mut rest = &received[..];
    let mut asks_for_body = false;
    while let Some((status, head, after)) = next(rest) {
        rest = after;
        match (status, progress) {
            // hyper asks the client by itself when we begin to read the body.
            (100, Some(progress)) if !progress.is_wanted.get() => {
                progress.is_wanted.set(true);
                asks_for_body = true;
            }
            (100, _) => {}
            _ if client.speaks_interim() => client.outbox.borrow_mut().extend_from_slice(&head),
            _ => {}
        }
    }
    asks_for_body
}

/// The first head in `bytes`, as it may be passed on, and what follows it.
fn next(bytes: &[u8]) -> Option<(u16, Vec<u8>, &[u8])> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(end)) = response.parse(bytes) else { return None };
    let status = response.code?;
    let reason = response.reason.unwrap_or_default();
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    for field in response.headers.iter() {
        // Nothing of a hop has a place here, and nothing that frames.
        let is_ours =
            ["connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"]
                .iter()
                .any(|name| field.name.eq_ignore_ascii_case(name));
        if !is_ours {
            head.extend_from_slice(field.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(field.value);
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    Some((status, head, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_cleaned_one_by_one() {
        let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\n\r\n\
                      HTTP/1.1 102 \r\n\r\n";
        let (status, head, rest) = next(bytes).unwrap();
        assert_eq!(status, 103);
        assert_eq!(head, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
        let (status, head, rest) = next(rest).unwrap();
        assert_eq!((status, &head[..], rest), (102, &b"HTTP/1.1 102 \r\n\r\n"[..], &b""[..]));
        assert!(next(rest).is_none());
    }
}
