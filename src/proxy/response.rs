//! A response's head: what of it goes to the client, and what we add.

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;

use super::affinity;
use super::attempt::Answered;
use super::body::{Begun, Lease, ResponseBody};
use super::compression;
use super::error::Problem;
use super::exchange::Told;
use super::tunnel::Tunnel;
use crate::balance::{Binding, Wish};
use crate::http::affinity::{SessionWish, SessionWord};
use crate::http::response_head::ResponseHead;

impl Answered {
    /// The response for the client.
    pub(crate) fn into_response(self, told: &Told<'_>) -> Result<Response<ResponseBody>, Problem> {
        match self {
            Answered::Plain(head, begun) => {
                let body = match begun {
                    Begun::Whole(body) => ResponseBody::Whole(body),
                    Begun::More(download) => ResponseBody::Streamed(download),
                };
                Ok(respond(head, body, told))
            }
            Answered::Relayed(head, body) => Ok(respond(head, body, told)),
            Answered::Switching(head, lease) => switch(head, *lease, told),
        }
    }
}

fn respond(head: ResponseHead, body: ResponseBody, told: &Told<'_>) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    let word = head.word;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
        response.extensions_mut().insert(reason);
    }
    if let Some(protocol) = head.upgrade.filter(|_| head.status == StatusCode::UPGRADE_REQUIRED) {
        // RFC 9110, 15.5.22: it says to which.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
    }
    if let Some(handling) = told.handling {
        handling.change(response.headers_mut()); // what is ours to say comes after that
    }
    bind(response.headers_mut(), word, told);
    if let Some(settings) = told.compression() {
        compression::apply(settings, &mut response, told.is_head, told.client);
    }
    response
}

/// Records the session, and tells the client what to keep.
fn bind(headers: &mut HeaderMap, word: SessionWord, told: &Told<'_>) {
    let worker = &told.client.worker;
    let pool = &told.destination.pool;
    if word.is_unknown {
        told.client.record.note_unknown();
    }
    let wish = word.wish.map(|wish| match wish {
        SessionWish::Pin => Wish::Pin,
        SessionWish::Release => Wish::Release,
    });
    let binding = pool.bind(
        &told.rewritten.hint,
        &told.placement,
        wish,
        worker.now(),
        &mut *worker.rng.borrow_mut(),
    );
    let is_https = told.rewritten.is_https;
    match binding {
        Binding::Keep => {}
        Binding::Issue(grant) => {
            told.client.record.note_session(grant.session.to_bits());
            affinity::issue(told.destination, told.client, &grant, headers, is_https);
        }
        Binding::Revoke => affinity::revoke(told.destination, headers, is_https),
    }
}

/// The backend switches protocols: from now on the connection is a tunnel.
fn switch(
    mut head: ResponseHead,
    lease: Lease,
    told: &Told<'_>,
) -> Result<Response<ResponseBody>, Problem> {
    let protocol = head.upgrade.take();
    let (true, Some(protocol)) = (told.rewritten.asks_to_upgrade, protocol) else {
        let backend = lease.in_flight.backend().name().to_owned();
        lease.fail();
        return Err(Problem::bad_gateway(format!("{backend}: an upgrade nobody asked for")));
    };
    let mut response = respond(head, ResponseBody::Whole(None), told);
    let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    let Lease { upstream, in_flight, .. } = lease;
    let timeout = told.destination.timeouts.tunnel;
    let tunnel = Tunnel::new(upstream, in_flight, timeout, is_websocket);
    *told.client.tunnel.borrow_mut() = Some(Box::new(tunnel));
    Ok(response)
}
