//! WebSockets over HTTP/2 (RFC 8441): a stream that becomes a tunnel.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::body::ResponseBody;
use super::client::Client;
use crate::observe::access_log::Phase;

/// The stream, once it is a tunnel, if the request asks for one.
pub(crate) fn wanted(client: &Client, request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let asks = client.is_stream() && request.method() == Method::CONNECT;
    asks.then(|| hyper::upgrade::on(request))
}

/// If the backend has switched protocols, says so as HTTP/2 does, and begins to copy. Does it?
pub(crate) fn open(
    stream: Option<OnUpgrade>,
    client: &Rc<Client>,
    response: &mut Response<ResponseBody>,
) -> bool {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
    let (Some(stream), Some(tunnel)) = (stream, client.tunnel.take()) else { return false };
    let client = client.clone();
    spawn_local(async move {
        let Ok(stream) = stream.await else { return };
        let _entered = client.worker.enter(client.clone());
        let mut run = pin!(tunnel.run(&client, TokioIo::new(stream), Bytes::new()));
        poll_fn(|cx| {
            client.watch.attach(cx.waker());
            run.as_mut().poll(cx)
        })
        .await;
        client.record.mark(Phase::Transfer);
        client.record.close(&client);
    });
    true
}
