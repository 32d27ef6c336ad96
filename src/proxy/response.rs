//! A response's head: what of it goes to the client, and what we add.

use std::future::poll_fn;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::response::Parts;
use http::{Response, Version};

use super::affinity;
use super::attempt::Answered;
use super::body::{Begun, Lease, ResponseBody};
use super::error::Problem;
use super::exchange::{Stop, Told};
use super::tunnel::Tunnel;
use crate::balance::Binding;
use crate::http::fields::{self, Found, STICKLER_AFFINITY};

impl Answered {
    /// The response for the client.
    pub(crate) async fn into_response(
        self,
        told: &Told<'_>,
    ) -> Result<Response<ResponseBody>, Stop> {
        match self {
            Answered::Plain(mut head, begun) => {
                rewrite(&mut head, told);
                Ok(Response::from_parts(
                    head,
                    match begun {
                        Begun::Whole(body) => ResponseBody::Whole(body),
                        Begun::More(download) => ResponseBody::Streamed(download),
                    },
                ))
            }
            Answered::Switching(head, lease) => switch(head, lease, told).await,
        }
    }
}

/// Makes the fields of a response those that the client is to see.
fn rewrite(head: &mut Parts, told: &Told<'_>) {
    let found = Found::in_headers(&head.headers);
    fields::take_hop_by_hop(&mut head.headers, found);
    if found.has(Found::STICKLER_AFFINITY) {
        head.headers.remove(STICKLER_AFFINITY);
    }
    // hyper speaks HTTP/1.0 to those who do; whatever the backend spoke is its own affair.
    head.version = Version::HTTP_11;
    bind(head, told);
}

/// Records the session, and tells the client what to keep.
fn bind(head: &mut Parts, told: &Told<'_>) {
    let worker = &told.client.worker;
    let pool = &told.destination.pool;
    let binding =
        pool.bind(&told.hint, &told.placement, worker.now(), &mut *worker.rng.borrow_mut());
    if let Binding::Issue(grant) = binding {
        let is_https = told.rewritten.is_https;
        affinity::issue(told.destination, told.client, &grant, &mut head.headers, is_https);
    }
}

/// The backend switches protocols: from now on the connection is a tunnel.
async fn switch(
    mut head: Parts,
    mut lease: Lease,
    told: &Told<'_>,
) -> Result<Response<ResponseBody>, Stop> {
    if told.rewritten.upgrade.is_none() {
        let backend = lease.in_flight.backend().name().to_owned();
        lease.fail();
        return Err(Problem::bad_gateway(format!("{backend}: an upgrade nobody asked for")).into());
    }
    let protocol = head.headers.get(UPGRADE).cloned();
    rewrite(&mut head, told);
    head.extensions.clear(); // hyper's own means to upgrade, which we do without
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    // HTTP is over on this connection as soon as hyper has noticed.
    let ended = told.client.unless_left(poll_fn(|cx| lease.upstream.poll_drive(cx))).await;
    ended.ok_or(Stop::Left)?.map_err(|error| Problem::bad_gateway(error))?;
    let Lease { upstream, in_flight, .. } = lease;
    let timeout = told.destination.timeouts.tunnel;
    let tunnel = Tunnel::new(upstream.into_remains(), in_flight, timeout);
    *told.client.tunnel.borrow_mut() = Some(Box::new(tunnel));
    Ok(Response::from_parts(head, ResponseBody::Whole(None)))
}
