//! A demo app server: a small shop. [`Kind`] says where it keeps its sessions, and so whether it
//! needs each user to come back.
//!
//! A client that claims a session which nobody knows is told so (401
//! [`unknown_session`](answer::UNKNOWN_SESSION)), where a real app would just show the log-in page.
//! That makes a lost session something that can be counted.

pub mod answer;
mod live;
mod request;
mod routes;
mod store;

use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::serve::ListenerExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::answer::Refusal;
use self::live::Rooms;
use self::store::{Claim, Session, Store, Visit};
use super::delay::Delay;
use crate::clock;
use crate::http::cookies::CookieName;

/// How long requests in flight may go on once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Whoever checks the health of a server that wants to be drained has understood it after so many
/// answers.
const TOLD: u64 = 2;
/// How often a server that is drained looks whether it is empty.
const LOOK: Duration = Duration::from_millis(20);

/// Where a shop keeps its sessions, and what else it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In its own memory.
    Memory,
    /// In a Redis that all servers share.
    Redis {
        /// Where it is, as in `redis://127.0.0.1:6379`.
        url: String,
    },
    /// With the client, in a signed token.
    Jwt {
        /// What all servers sign with.
        secret: String,
    },
    /// In its own memory; and live channels (`/live`) in rooms.
    Websocket,
    /// A stateless API as with [`Kind::Jwt`], and live channels in rooms that are in memory.
    Hybrid {
        /// What all servers sign with.
        secret: String,
    },
}

impl Kind {
    fn has_channels(&self) -> bool {
        matches!(self, Kind::Websocket | Kind::Hybrid { .. })
    }

    /// A sentence for people who look at the home page.
    fn keeps(&self) -> &'static str {
        match self {
            Kind::Memory => "It keeps your session in its memory. No other server knows it.",
            Kind::Redis { .. } => "It keeps your session in Redis, where every server finds it.",
            Kind::Jwt { .. } => "Your session is in your cookie, signed. No server keeps it.",
            Kind::Websocket => "It keeps your session and your room in its memory.",
            Kind::Hybrid { .. } => "Your session is in your cookie; your room is in its memory.",
        }
    }
}

/// What a demo app server is configured to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, which every answer carries.
    pub name: String,
    /// Where it keeps its sessions.
    pub kind: Kind,
    /// How long it works on a request.
    pub service_time: Delay,
    /// How many requests it works on at once. Further ones queue, and are served in order.
    pub concurrency: NonZeroU32,
    /// How many sessions it remembers. A further one pushes out the one that was idle longest.
    pub max_sessions: usize,
    /// How long it remembers an idle session.
    pub session_timeout: Duration,
    /// How long it asks to be drained when it is to stop, unless its last session ends before.
    /// Zero: it stops at once.
    pub drain_for: Duration,
    /// Session ids and service times follow from it and from the name.
    pub seed: u64,
}

/// A demo app server at work.
#[derive(Debug)]
struct App {
    name: String,
    kind: Kind,
    cookie: CookieName,
    service_time: Delay,
    /// One permit per request that is worked on. Tokio hands them out in order of asking.
    desks: Semaphore,
    store: Store,
    rooms: Rooms,
    /// Held for moments, and never across an await.
    rng: Mutex<StdRng>,
    /// Requests and messages that were worked on.
    requests: AtomicU64,
    /// It is to stop, and asks to be drained.
    draining: AtomicBool,
    /// How often it has asked.
    drain_requests: AtomicU64,
}

/// Serves on `listener` until `shutdown` completes, and then finishes what is in flight.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let drain_for = settings.drain_for;
    let app = Arc::new(App::new(settings).await?);
    let listener = listener.tap_io(|connection| {
        // Without it a pipelined or chunked answer can wait 40 ms for an acknowledgement. It can
        // fail only on a connection that is already gone.
        let _ = connection.set_nodelay(true);
    });
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let drained = app.clone();
    let shutdown = async move {
        shutdown.await;
        // When the time is over it stops, drained or not.
        let _ = timeout(drain_for, drained.drain()).await;
        drained.rooms.close();
        drop(stopping);
    };
    let server = axum::serve(listener, routes::router(app)).with_graceful_shutdown(shutdown);
    let deadline = async {
        let _ = stopped.await;
        sleep(GRACE).await;
    };
    tokio::select! {
        served = server => served,
        () = deadline => Ok(()),
    }
}

impl App {
    async fn new(settings: Settings) -> io::Result<Self> {
        let desks = settings.concurrency.get() as usize;
        let store = Store::open(&settings).await.map_err(io::Error::other)?;
        // Two servers with the same session ids would take each other's sessions for their own.
        let seed = xxh3_64_with_seed(settings.name.as_bytes(), settings.seed);
        Ok(App {
            name: settings.name,
            kind: settings.kind,
            cookie: CookieName::new(answer::COOKIE),
            service_time: settings.service_time,
            desks: Semaphore::new(desks.min(Semaphore::MAX_PERMITS)),
            store,
            rooms: Rooms::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            drain_requests: AtomicU64::new(0),
        })
    }

    fn rng(&self) -> MutexGuard<'_, StdRng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request costs: a place in the queue, and then the service time.
    async fn work(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let time = self.service_time.sample(&mut *self.rng());
        // An error would mean that the semaphore is closed, which nobody does.
        let _desk = self.desks.acquire().await;
        if !time.is_zero() {
            sleep(time).await;
        }
    }

    /// Asks to be drained until it is.
    async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let is_told = || self.drain_requests.load(Ordering::Relaxed) >= TOLD;
        let is_empty = || self.store.sessions_here(clock::now()) == 0 && self.rooms.members() == 0;
        while !(is_told() && is_empty()) {
            sleep(LOOK).await;
        }
    }

    /// Begins a session for `user`. The former session of the same browser ends.
    async fn log_in(&self, former: &Claim, user: String) -> Result<Visit<Session>, Refusal> {
        // A generator of its own, since the other one must not be held for so long.
        let mut rng = StdRng::from_rng(&mut *self.rng());
        let begun = self.store.begin(former, user, &mut rng, clock::now()).await;
        begun.map_err(|trouble| trouble.refusal(&self.name))
    }

    /// Lets `act` use the session that the client claims, or says why it cannot be had.
    async fn with_session<T>(
        &self,
        claim: &Claim,
        act: impl FnOnce(&mut Session) -> T,
    ) -> Result<Visit<T>, Refusal> {
        let Claim::Value(value) = claim else { return Err(Refusal::no_session(&self.name)) };
        let visit = self.store.visit(value, clock::now(), act).await;
        visit.map_err(|trouble| trouble.refusal(&self.name))
    }

    async fn log_out(&self, claim: &Claim) -> Result<(), Refusal> {
        self.store.end(claim).await.map_err(|trouble| trouble.refusal(&self.name))
    }
}

/// A server on a port of its own, for tests of what talks to it.
#[cfg(test)]
pub(crate) async fn spawn(settings: Settings) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, settings, std::future::pending()));
    address
}

#[cfg(test)]
pub(super) mod tests;
