//! A demo app server: a small shop that keeps its sessions in memory, and therefore needs each
//! user to come back.
//!
//! A client that claims a session which this server does not know is told so (401
//! [`unknown_session`](answer::UNKNOWN_SESSION)), where a real app would just show the log-in page.
//! That makes a lost session something that can be counted.

pub mod answer;
mod request;
mod routes;
mod sessions;

use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::serve::ListenerExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::answer::Refusal;
use self::sessions::{Session, Sessions, Sid};
use super::delay::Delay;
use crate::clock;
use crate::http::cookies::CookieName;

/// How long requests in flight may go on once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What a demo app server is configured to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, which every answer carries.
    pub name: String,
    /// How long it works on a request.
    pub service_time: Delay,
    /// How many requests it works on at once. Further ones queue, and are served in order.
    pub concurrency: NonZeroU32,
    /// How many sessions it remembers. A further one pushes out the one that was idle longest.
    pub max_sessions: usize,
    /// How long it remembers an idle session.
    pub session_timeout: Duration,
    /// Session ids and service times follow from it and from the name.
    pub seed: u64,
}

/// A demo app server at work.
#[derive(Debug)]
struct App {
    name: String,
    cookie: CookieName,
    service_time: Delay,
    /// One permit per request that is worked on. Tokio hands them out in order of asking.
    desks: Semaphore,
    /// Held for moments, and never across an await.
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    sessions: Sessions,
    rng: StdRng,
}

/// Serves on `listener` until `shutdown` completes, and then finishes what is in flight.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Arc::new(App::new(settings));
    let listener = listener.tap_io(|connection| {
        // Without it a pipelined or chunked answer can wait 40 ms for an acknowledgement. It can
        // fail only on a connection that is already gone.
        let _ = connection.set_nodelay(true);
    });
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        shutdown.await;
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
    fn new(settings: Settings) -> Self {
        let desks = settings.concurrency.get() as usize;
        let sessions = Sessions::new(settings.max_sessions, settings.session_timeout);
        // Two servers with the same session ids would take each other's sessions for their own.
        let seed = xxh3_64_with_seed(settings.name.as_bytes(), settings.seed);
        App {
            name: settings.name,
            cookie: CookieName::new(answer::COOKIE),
            service_time: settings.service_time,
            desks: Semaphore::new(desks.min(Semaphore::MAX_PERMITS)),
            memory: Mutex::new(Memory { sessions, rng: StdRng::seed_from_u64(seed) }),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request costs: a place in the queue, and then the service time.
    async fn work(&self) {
        let time = self.service_time.sample(&mut self.memory().rng);
        // An error would mean that the semaphore is closed, which nobody does.
        let _desk = self.desks.acquire().await;
        if !time.is_zero() {
            sleep(time).await;
        }
    }

    /// Begins a session for `user`. The `former` session of the same browser ends.
    fn log_in(&self, former: Option<Sid>, user: String) -> (Sid, Session) {
        let mut memory = self.memory();
        if let Some(former) = former {
            memory.sessions.end(former);
        }
        let sid = Sid::random(&mut memory.rng);
        let session = memory.sessions.begin(sid, user, clock::now());
        (sid, session.clone())
    }

    /// Lets `act` use the session that the client claims, or says why it cannot be had.
    fn with_session<T>(
        &self,
        claim: Claim,
        act: impl FnOnce(&mut Session) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match claim {
            Claim::None => Err(Refusal::no_session(&self.name)),
            Claim::Unreadable => Err(Refusal::unknown_session(&self.name)),
            Claim::Sid(sid) => match self.memory().sessions.visit(sid, clock::now()) {
                Some(session) => act(session),
                None => Err(Refusal::unknown_session(&self.name)),
            },
        }
    }

    fn log_out(&self, claim: Claim) -> Result<Session, Refusal> {
        let last = self.with_session(claim, |session| Ok(session.clone()))?;
        if let Claim::Sid(sid) = claim {
            self.memory().sessions.end(sid);
        }
        Ok(last)
    }
}

/// Which session a client claims to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It sends no session cookie.
    None,
    /// It sends a session cookie that no server of ours has made.
    Unreadable,
    /// This one; whether we know it is another question.
    Sid(Sid),
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
mod tests;
