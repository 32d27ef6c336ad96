//! The task that serves a client's connection, from its first byte to a gentle end.
//!
//! Most connections of most sites are idle at any time, and hyper's would keep two buffers of
//! 8 KiB each. So a connection without anything to do *dozes*: it is a socket and little more, and
//! hyper's connection is made when something comes. Busy clients come again within a second, so
//! only who has been idle for longer falls asleep, and nobody pays who is not.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::arrival::{self, Arrival};
use super::body::RequestStream;
use super::client::{Client, Phase};
use super::client_io::{ClientIo, Remains};
use super::client_socket::ClientSocket;
use super::destination::Entrance;
use super::error::{Problem, answer_bytes};
use super::exchange::exchange;
use super::multiplexed;
use super::record;
use super::security::Security;
use super::watch::Side;
use super::worker::{Entered, Worker};
use crate::http::framing::Refusal;
use crate::observe::access_log::Phase as Spent;

/// How long the end of a connection may take while the client may still be sending.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Why a connection's HTTP has come to an end.
enum End {
    /// By itself, as hyper says.
    Http(hyper::Result<()>),
    /// Nothing came for so long.
    Idle,
    /// Nothing has come for a while; it goes on when something does.
    Quiet,
    /// A head did not arrive in time.
    SlowHead,
    /// The client does not take its response.
    Stalled,
}

/// Serves one client connection until it ends, and drops `place` then. Not an `async fn`: that
/// would keep its arguments beside what it makes of them for as long as the connection lasts.
pub(crate) fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    worker: Rc<Worker>,
    entrance: Arc<Entrance>,
    place: impl Sized,
) -> impl Future<Output = ()> {
    let has_preliminaries = arrival::is_needed(&entrance, peer);
    // Only who tells backends about it asks the system.
    let local = match worker.site().tells_local_address {
        true => stream.local_addr().unwrap_or(entrance.address),
        false => entrance.address,
    };
    let mut client = Client::new(worker, entrance, peer, local, Security::None);
    let mut entered = client.worker.enter(client.clone());
    let mut io = ClientIo::new(ClientSocket::Plain(stream), client.clone());
    async move {
        let _until_the_end = place;
        if has_preliminaries {
            if let Some(patience) = arrival::patience(&client.entrance, peer)
                && !client.worker.is_in_a_hurry()
            {
                client.watch.set(Side::ClientRead, client.worker.after(patience));
            }
            if let Some(end) = doze(&mut io, &client).await {
                if matches!(end, End::Idle) {
                    arrival::note_silence(&client);
                }
                return;
            }
            let ClientSocket::Plain(stream) = io.into_socket() else { return };
            let arrival = Box::pin(arrival::receive(stream, client, entered)).await;
            let Some(arrival) = arrival else { return };
            if arrival.is_http2 {
                let Arrival { socket, client, entered, .. } = arrival;
                return Box::pin(multiplexed::serve(socket, client, entered)).await;
            }
            (client, entered) = (arrival.client, arrival.entered);
            io = ClientIo::new(arrival.socket, client.clone());
        }
        // Boxed, since both are large, and an idle connection has neither.
        let (end, unread) = loop {
            if let Some(end) = doze(&mut io, &client).await {
                break (end, Bytes::new());
            }
            let (end, unread);
            (end, io, unread) = Box::pin(converse(io, &client)).await;
            match end {
                End::Quiet if unread.is_empty() => {}
                end => break (end, unread),
            }
        };
        Box::pin(finish(&client, entered, end, io.into_remains(), unread)).await;
    }
}

/// Waits until there is something to read. Gives why there will not be, if that comes first.
async fn doze(io: &mut ClientIo, client: &Client) -> Option<End> {
    poll_fn(|cx| {
        client.watch.attach(cx.waker());
        // What has come already is served, however little time there is.
        match io.poll_has_more(cx) {
            Poll::Ready(has_more) => Poll::Ready((!has_more).then_some(End::Http(Ok(())))),
            Poll::Pending if client.worker.is_in_a_hurry() && !client.is_new() => {
                Poll::Ready(Some(End::Http(Ok(()))))
            }
            Poll::Pending if client.watch.has_fired(Side::ClientRead) => {
                Poll::Ready(Some(End::Idle))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Speaks HTTP until that ends or nothing has been said for a while. Gives the socket back, and
/// what hyper has read and not used.
async fn converse(io: ClientIo, client: &Rc<Client>) -> (End, ClientIo, Bytes) {
    let worker = &client.worker;
    client.wake_up();
    let service = {
        let client = client.clone();
        service_fn(move |request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            exchange(client.clone(), head, RequestStream::Http1(body))
        })
    };
    let mut connection = builder(worker).serve_connection(TokioIo::new(io), service);
    let mut is_ending = false;
    let end = poll_fn(|cx| {
        let mut polled = Pin::new(&mut connection).poll(cx);
        // Not before what has come already was looked at.
        if polled.is_pending() && !is_ending && worker.is_in_a_hurry() && client.may_end() {
            is_ending = true;
            Pin::new(&mut connection).graceful_shutdown();
            polled = Pin::new(&mut connection).poll(cx);
        }
        match polled {
            Poll::Ready(result) => Poll::Ready(End::Http(result)),
            Poll::Pending if client.watch.has_fired(Side::ClientWrite) => Poll::Ready(End::Stalled),
            // Who still takes the last response is not late with the next request.
            Poll::Pending if client.is_blocked() => Poll::Pending,
            Poll::Pending if client.watch.has_fired(Side::ClientRead) => match client.phase() {
                Phase::Idle | Phase::Dozing => Poll::Ready(End::Idle),
                Phase::Head => Poll::Ready(End::SlowHead),
                Phase::Exchange => Poll::Pending,
            },
            Poll::Pending if client.phase() == Phase::Dozing => Poll::Ready(End::Quiet),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    let parts = connection.into_parts();
    (end, parts.io.into_inner(), parts.read_buf)
}

fn builder(worker: &Worker) -> http1::Builder {
    /// hyper keeps parsed heads of up to so many fields on the stack.
    const ON_THE_STACK: usize = 100;

    let mut builder = http1::Builder::new();
    // We look for the client's end ourselves, and only when a request takes long: hyper would
    // allocate a read buffer for every request to do so. Large bodies are written from where
    // they are; hyper would copy them into a buffer that it keeps.
    builder.half_close(true).writev(true);
    let fields = worker.site().limits.header_count;
    if fields > ON_THE_STACK {
        builder.max_headers(fields);
    }
    builder
}

/// What is left to do when HTTP is done: nothing, a tunnel, or a last word and a gentle end.
async fn finish(
    client: &Rc<Client>,
    entered: Entered,
    end: End,
    mut remains: Remains,
    unread: Bytes,
) {
    let tunnel = client.tunnel.take();
    if let (End::Http(Ok(())), Some(tunnel)) = (&end, tunnel) {
        // What the client sent early: first what hyper had, then what we had kept from it.
        let early = [&unread[..], &remains.held].concat().into();
        tunnel.run(client, remains.stream, early).await;
        client.record.mark(Spent::Transfer);
        return client.record.close(client);
    }
    let problem = match (&end, client.head_refusal()) {
        (End::Stalled, _) => return abort(&remains.stream, true),
        (End::SlowHead, _) => Some(Problem::request_timeout()),
        (End::Idle | End::Quiet, _) => None,
        // Whether hyper takes a refused head for an error depends on how much of it it has seen.
        (End::Http(_), Some(refusal)) => Some(Problem::refused(refusal)),
        (End::Http(Err(error)), None) if remains.owes_answer => {
            Some(match error.is_parse_too_large() {
                true => Problem::refused(Refusal::HeadTooLarge),
                false => Problem::malformed(),
            })
        }
        (End::Http(Err(_)), None) if client.is_broken() || client.phase() == Phase::Exchange => {
            return abort(&remains.stream, client.is_broken());
        }
        (End::Http(_), None) => None,
    };
    if let Some(problem) = &problem {
        problem.log(client);
        let id = record::refuse(client, problem);
        let site = client.worker.site();
        let answer = answer_bytes(problem, &id, &site.request_ids, &site.error_pages);
        let _ = tokio::time::timeout(LINGER, remains.stream.write_all(&answer)).await;
    }
    let may_be_sending = problem.is_some() || client.closes() || !remains.is_clean;
    if may_be_sending && !client.has_left() {
        let _until_the_end = entered.linger();
        linger(&mut remains.stream).await;
    } else if remains.stream.is_tls() {
        // An end without a word would look like an attack.
        let _ = tokio::time::timeout(LINGER, remains.stream.shutdown()).await;
    }
}

/// Lets the client read our last words before the connection is gone: closing a socket with
/// unread input resets it, and a reset destroys what is on its way (RFC 9112, section 9.6).
pub(super) async fn linger(stream: &mut ClientSocket) {
    let drain = async {
        if stream.shutdown().await.is_ok() {
            let mut sink = [0; 4096];
            while matches!(stream.read(&mut sink).await, Ok(n) if n > 0) {}
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Ends a connection in the middle of a response. A reset, if need be: a body that ends with the
/// connection would look complete after an orderly end.
fn abort(stream: &ClientSocket, reset: bool) {
    if reset {
        stream.reset_at_end();
    }
}
