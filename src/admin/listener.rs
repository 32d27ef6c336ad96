//! Connections to the admin address. How many, how slow and how large is bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::{Admin, api, view};
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

/// The admin address, bound.
#[derive(Debug)]
pub(crate) struct Bound(std::net::TcpListener);

impl Bound {
    /// The real port, where 0 was configured.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Binds the admin address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Bound> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Bound(listener))
}

/// Serves until it is dropped. When `stopping` is complete it says that the proxy is not ready
/// for requests any more.
pub(crate) async fn serve(bound: Bound, admin: Arc<Admin>, stopping: impl Future<Output = ()>) {
    let listener = match TcpListener::from_std(bound.0) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "there is no admin API"),
    };
    let stop = async {
        stopping.await;
        admin.shut_down();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = accept(listener, api::router(admin.clone())) => {}
        () = keep_figures(&admin) => {}
        () = stop => {}
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(talk(stream, router.clone(), place))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the admin address");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn talk(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    // Who does not read an event stream is told so sooner, and takes up no more than this.
    let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
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
