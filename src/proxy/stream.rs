//! One stream of HTTP/2 from a client: an exchange, and what is said about it on the connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;

use super::body::{Http2Stream, RequestStream, ResponseBody};
use super::client::Client;
use super::exchange::exchange;
use super::watch::Side;
use super::websocket;
use crate::http::framing::content_length;

/// Serves a stream to its end. It is over before that if it is reset by either side. `is_whole`:
/// the request has no body.
pub(super) async fn serve(
    client: &Rc<Client>,
    request: Request<RecvStream>,
    is_whole: bool,
    mut respond: SendResponse<Bytes>,
) {
    let (head, stream) = request.into_parts();
    let (body, tunnel) = split(client, &head, stream, is_whole);
    let asks_for_tunnel = tunnel.is_some();
    let response = {
        let mut exchange = pin!(exchange(client.clone(), head, body));
        let response = poll_fn(|cx| {
            client.watch.attach(cx.waker());
            let polled = exchange.as_mut().poll(cx);
            for interim in client.interim.borrow_mut().drain(..) {
                let _ = respond.send_informational(interim); // if the stream is over, we are told
            }
            match polled {
                Poll::Ready(response) => Poll::Ready(response.ok()),
                // The client has no more use for an answer.
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            }
        });
        response.await
    };
    // Dropping what there is of the stream resets it.
    let Some(response) = response else { return };
    let (head, body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    if let Some(stream) = tunnel
        && websocket::opens(&mut head)
    {
        if let Ok(send) = respond.send_response(head, false) {
            websocket::run(client, send, stream).await;
        }
        return;
    }
    if asks_for_tunnel && head.status().is_success() {
        // A backend of HTTP/1.1 has answered instead of switching protocols, where any success
        // would be taken for a tunnel.
        *head.status_mut() = StatusCode::BAD_GATEWAY;
    }
    complete(head.headers_mut(), &body, client);
    if let Err(error) = send(client, &mut respond, head, body).await {
        tracing::debug!(peer = %client.peer, %error, "a response could not be sent to its end");
    }
}

/// A request's body; of one that asks for a tunnel, what may become that.
fn split(
    client: &Rc<Client>,
    head: &Parts,
    stream: RecvStream,
    is_whole: bool,
) -> (RequestStream, Option<RecvStream>) {
    if head.method == Method::CONNECT {
        return (RequestStream::Empty, Some(stream));
    }
    if is_whole {
        return (RequestStream::Empty, None);
    }
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| content_length(length.as_bytes()));
    let expects = head.headers.get(EXPECT);
    let expects =
        expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let body = Http2Stream::new(stream, client.clone(), length, expects);
    (RequestStream::Http2(body), None)
}

/// Adds what every response has, and takes out what none in HTTP/2 may have (RFC 9113, section
/// 8.2.2): our own pages are written for both protocols.
fn complete(headers: &mut HeaderMap, body: &ResponseBody, client: &Client) {
    // One look at all names costs less than a search for each of these.
    let (mut is_of_hop, mut is_dated, mut is_sized) = (false, false, false);
    for name in headers.keys() {
        is_of_hop |= name == CONNECTION || name == UPGRADE;
        is_dated |= name == DATE;
        is_sized |= name == CONTENT_LENGTH;
    }
    if is_of_hop {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    if !is_dated {
        headers.insert(DATE, client.worker.date());
    }
    if !is_sized
        && !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Sends a response as fast as the client takes it.
async fn send(
    client: &Client,
    respond: &mut SendResponse<Bytes>,
    head: Response<()>,
    mut body: ResponseBody,
) -> Result<(), h2::Error> {
    if body.is_end_stream() {
        return respond.send_response(head, true).map(drop);
    }
    let mut stream = respond.send_response(head, false)?;
    loop {
        let frame = poll_fn(|cx| {
            client.watch.attach(cx.waker());
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Pending => stream.poll_reset(cx).map(Err),
                polled => polled.map(Ok),
            }
        });
        let Ok(frame) = frame.await else { return Ok(()) }; // it was reset
        let Some(frame) = frame else { return stream.send_data(Bytes::new(), true) };
        let Ok(frame) = frame else {
            // The client must not take it for complete.
            stream.send_reset(client.reset_reason.get().unwrap_or(Reason::INTERNAL_ERROR));
            return Ok(());
        };
        match frame.into_data() {
            Ok(data) => {
                let is_last = body.is_end_stream();
                if !data.is_empty() && !has_room(client, &mut stream, data.len()).await? {
                    return Ok(());
                }
                client.note_payload(data.len());
                stream.send_data(data, is_last)?;
                if is_last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.send_trailers(trailers);
                }
            }
        }
    }
}

/// Waits until the client takes more of a piece of so many bytes. h2 keeps what does not fit, so
/// there need not be room for all of it. False if the client has reset the stream, or takes nothing
/// for too long, and the stream is reset.
async fn has_room(
    client: &Client,
    stream: &mut SendStream<Bytes>,
    piece: usize,
) -> Result<bool, h2::Error> {
    stream.reserve_capacity(piece);
    if stream.capacity() > 0 {
        return Ok(true);
    }
    let room = poll_fn(|cx| {
        client.watch.attach(cx.waker());
        loop {
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(_))) => return Poll::Ready(Ok(true)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(false)),
                Poll::Pending if client.watch.has_fired(Side::ClientWrite) => {
                    return Poll::Ready(Ok(false));
                }
                Poll::Pending => {
                    client.waits_for_write();
                    return Poll::Pending;
                }
            }
        }
    });
    let room = room.await;
    client.watch.clear(Side::ClientWrite);
    if matches!(room, Ok(false)) {
        client.break_off();
        stream.send_reset(Reason::CANCEL);
    }
    room
}
