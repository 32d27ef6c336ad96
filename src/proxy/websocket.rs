//! WebSockets over HTTP/2 (RFC 8441): streams that become tunnels, from clients and to backends.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Response, StatusCode};
use sha1::{Digest, Sha1};

use super::client::Client;
use super::stream_io::StreamIo;
use crate::observe::access_log::Phase;

/// If the backend has switched protocols, says so as HTTP/2 does. Has it?
pub(crate) fn opens(response: &mut Response<()>) -> bool {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
    true
}

/// Copies between a client's stream and its backend, until that is over.
pub(crate) async fn run(client: &Rc<Client>, send: SendStream<Bytes>, receive: RecvStream) {
    let Some(tunnel) = client.tunnel.take() else { return };
    let mut run = pin!(tunnel.run(client, StreamIo::new(send, receive, None), Bytes::new()));
    poll_fn(|cx| {
        client.watch.attach(cx.waker());
        run.as_mut().poll(cx)
    })
    .await;
    client.record.mark(Phase::Transfer);
    client.record.close(client);
}

/// `Sec-WebSocket-Accept` for a client's key (RFC 6455, section 4.2.2): what a backend would have
/// said in HTTP/1.1.
pub(crate) fn accept(key: &[u8]) -> Option<HeaderValue> {
    const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    let digest = Sha1::new().chain_update(key).chain_update(MAGIC).finalize();
    HeaderValue::try_from(BASE64.encode(digest)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_accepted_as_in_the_specification() {
        let accepted = accept(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
