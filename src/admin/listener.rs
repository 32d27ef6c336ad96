//! Connections to the admin address. How many, how slow and how large is bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{Admin, Problem, api, view};
use crate::clock;

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 128;

/// For the whole head of a request, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a head.
const HEAD: usize = 32 * 1024;

/// Bytes that wait in the kernel for a client that does not read.
const SEND_BUFFER: usize = 256 * 1024;

/// How often the figures are taken, and shown to those who look.
const PERIOD: Duration = Duration::from_secs(1);

/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What is going on may take so long to end when another process has taken over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Of that, how long a client that has just connected may take for its request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// The first byte of a TLS connection: a record with a handshake in it.
const HANDSHAKE: u8 = 0x16;

/// The admin address, bound.
#[derive(Debug)]
pub(crate) struct Bound(std::net::TcpListener);

impl Bound {
    /// The real port, where 0 was configured.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The same socket once more, for a process that takes over.
    pub(crate) fn socket(&self) -> io::Result<std::net::TcpListener> {
        self.0.try_clone()
    }
}

/// Binds the admin address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Bound> {
    inherit(std::net::TcpListener::bind(address)?)
}

/// A socket that was bound for us.
pub(crate) fn inherit(listener: std::net::TcpListener) -> io::Result<Bound> {
    listener.set_nonblocking(true)?;
    Ok(Bound(listener))
}

/// Serves until it is dropped. When `stopping` is complete it says that the proxy is not ready
/// for requests any more; if that gives true, another process answers in its place from now on,
/// and this one only brings to an end what it has begun.
pub(crate) async fn serve(bound: Bound, admin: Arc<Admin>, stopping: impl Future<Output = bool>) {
    let listener = match TcpListener::from_std(bound.0) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "there is no admin API"),
    };
    let mut desk = Desk {
        router: api::router(admin.clone()),
        admin: admin.clone(),
        closing: watch::Sender::new(false),
        connections: JoinSet::new(),
    };
    let stop = async {
        let is_replaced = stopping.await;
        admin.shut_down();
        if !is_replaced {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = desk.accept(listener) => {}
        () = keep_figures(&admin) => {}
        () = stop => {}
    }
    desk.close().await;
}

/// Connections, and what they are served with.
struct Desk {
    admin: Arc<Admin>,
    router: Router,
    /// They are to end.
    closing: watch::Sender<bool>,
    /// They end with it.
    connections: JoinSet<()>,
}

impl Desk {
    async fn accept(&mut self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (admin, router) = (self.admin.clone(), self.router.clone());
                    let closing = self.closing.subscribe();
                    self.connections.spawn(receive(stream, admin, router, closing, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the admin address");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while self.connections.try_join_next().is_some() {}
        }
    }

    /// Lets requests end. Event streams never do, and their readers come again.
    async fn close(mut self) {
        self.closing.send_replace(true);
        let ended = async { while self.connections.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL, ended).await;
    }
}

/// A connection, with TLS if that is on.
async fn receive(
    stream: TcpStream,
    admin: Arc<Admin>,
    router: Router,
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    // Who does not read an event stream is told so sooner, and takes up no more than this.
    let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let Some(tls) = admin.tls() else { return talk(stream, router, closing).await };
    let mut first = [0];
    let arrival = async {
        match stream.peek(&mut first).await? {
            0 => Ok(None),
            // They could not make sense of a TLS alert.
            _ if first[0].is_ascii_alphabetic() && first[0] != HANDSHAKE => {
                talk(stream, Router::new().fallback(only_https), closing.clone()).await;
                Ok(None)
            }
            _ => TlsAcceptor::from(tls.config()).accept(stream).await.map(Some),
        }
    };
    match Box::pin(timeout(HEAD_TIMEOUT, arrival)).await {
        Ok(Ok(Some(stream))) => Box::pin(talk(stream, router, closing)).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "no TLS on the admin address"),
        Err(_) => tracing::debug!("nothing came to the admin address"),
    }
}

async fn only_https() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "this address speaks HTTPS, not plain HTTP").help(
        "write https:// in front of it; with the commands: --admin https://..., and --ca FILE",
    )
}

async fn talk<S>(stream: S, router: Router, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let closes = async {
        drop(closing.wait_for(|is_closing| *is_closing).await);
        tokio::time::sleep(FIRST_REQUEST).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = closes => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin address ended early");
    }
}

async fn keep_figures(admin: &Admin) {
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        admin.figures.sample(&admin.controller.pools(), &admin.metrics);
        if admin.snapshots.receiver_count() > 0 {
            let figures = view::Event::Figures(admin.show_pools(clock::now()));
            let text = serde_json::to_string(&figures).unwrap_or_default();
            admin.snapshots.send_replace(text.into());
        }
    }
}
