//! A response's head: what of it goes to the client, and what we add.

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;

use super::affinity;
use super::attempt::Answered;
use super::body::{Begun, Lease, ResponseBody};
use super::error::Problem;
use super::exchange::Told;
use super::tunnel::Tunnel;
use crate::balance::Binding;
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
            Answered::Switching(head, lease) => switch(head, lease, told),
        }
    }
}

fn respond(head: ResponseHead, body: ResponseBody, told: &Told<'_>) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
        response.extensions_mut().insert(reason);
    }
    if let Some(protocol) = head.upgrade.filter(|_| head.status == StatusCode::UPGRADE_REQUIRED) {
        // RFC 9110, 15.5.22: it says to which.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
    }
    bind(response.headers_mut(), told);
    response
}

/// Records the session, and tells the client what to keep.
fn bind(headers: &mut HeaderMap, told: &Told<'_>) {
    let worker = &told.client.worker;
    let pool = &told.destination.pool;
    let binding = pool.bind(
        &told.rewritten.hint,
        &told.placement,
        worker.now(),
        &mut *worker.rng.borrow_mut(),
    );
    if let Binding::Issue(grant) = binding {
        let is_https = told.rewritten.is_https;
        affinity::issue(told.destination, told.client, &grant, headers, is_https);
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
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    let Lease { upstream, in_flight, .. } = lease;
    let tunnel = Tunnel::new(upstream, in_flight, told.destination.timeouts.tunnel);
    *told.client.tunnel.borrow_mut() = Some(Box::new(tunnel));
    Ok(response)
}
