//! Where sessions are kept: the trade-off that the lab is about.

mod memory;
mod redis;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::RedisError;
use serde::{Deserialize, Serialize};

use self::memory::{Sessions, Sid};
use self::redis::Redis;
use self::token::Signer;
use super::answer::Refusal;
use super::{Kind, Settings};
use crate::balance::{Rng, Timestamp};
use crate::clock::Stopwatch;

/// Items that fit into a cart.
pub(super) const CART_SIZE: usize = 100;

/// One user's stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) user: String,
    pub(super) cart: Vec<String>,
    /// Requests in this session, the log-in included.
    pub(super) requests: u64,
}

impl Session {
    fn of(user: String) -> Self {
        Session { user, cart: Vec::new(), requests: 1 }
    }
}

/// Which session a client claims to have: the value of its session cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It sends no session cookie.
    None,
    /// This one; whether we know it is another question.
    Value(String),
}

/// The sessions, wherever they are.
#[derive(Debug)]
pub(super) enum Store {
    /// Here. Held for moments, and never across an await.
    Memory(Mutex<Sessions>),
    /// In a Redis that all servers share.
    Redis(Redis),
    /// With the client: the cookie is a signed token that has everything in it.
    Token(Signer),
}

/// What a visit to a session gave.
#[derive(Debug)]
pub(super) struct Visit<T> {
    pub(super) value: T,
    /// The cookie's new value, if the client must have another.
    pub(super) cookie: Option<String>,
    /// How long it took to read and to write the session.
    pub(super) took: Duration,
}

/// Why a session cannot be had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody knows it.
    Unknown,
    /// It does not fit where it is kept.
    Full,
    /// The store does not answer.
    Store(String),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Trouble::Store(error.to_string())
    }
}

impl Trouble {
    pub(super) fn refusal(&self, server: &str) -> Refusal {
        match self {
            Trouble::Unknown => Refusal::unknown_session(server),
            Trouble::Full => Refusal::cart_is_full(server),
            Trouble::Store(why) => Refusal::store_failed(server, why),
        }
    }
}

impl Store {
    pub(super) async fn open(settings: &Settings) -> Result<Self, RedisError> {
        let timeout = settings.session_timeout;
        Ok(match &settings.kind {
            Kind::Memory | Kind::Websocket => {
                Store::Memory(Mutex::new(Sessions::new(settings.max_sessions, timeout)))
            }
            Kind::Redis { url } => Store::Redis(Redis::connect(url, timeout).await?),
            Kind::Jwt { secret } | Kind::Hybrid { secret } => {
                Store::Token(Signer::new(secret.as_bytes(), timeout))
            }
        })
    }

    /// Begins a session for `user`. The `former` session of the same browser ends.
    pub(super) async fn begin(
        &self,
        former: &Claim,
        user: String,
        rng: &mut (dyn Rng + Send),
        now: Timestamp,
    ) -> Result<Visit<Session>, Trouble> {
        let stopwatch = Stopwatch::start();
        self.end(former).await?;
        let session = Session::of(user);
        let cookie = match self {
            Store::Memory(sessions) => {
                let sid = Sid::random(rng);
                lock(sessions).begin(sid, session.clone(), now);
                sid.to_string()
            }
            Store::Redis(redis) => {
                let sid = Sid::random(rng).to_string();
                redis.begin(&sid, &session).await?;
                sid
            }
            Store::Token(signer) => signer.sign(&session, now)?,
        };
        Ok(Visit { value: session, cookie: Some(cookie), took: stopwatch.elapsed() })
    }

    /// Lets `act` use the session whose cookie has this value, and keeps what it made of it.
    pub(super) async fn visit<T>(
        &self,
        value: &str,
        now: Timestamp,
        act: impl FnOnce(&mut Session) -> T,
    ) -> Result<Visit<T>, Trouble> {
        let stopwatch = Stopwatch::start();
        let (value, cookie) = match self {
            Store::Memory(sessions) => {
                let sid = value.parse().map_err(|()| Trouble::Unknown)?;
                let mut sessions = lock(sessions);
                (act(sessions.visit(sid, now).ok_or(Trouble::Unknown)?), None)
            }
            Store::Redis(redis) => {
                let mut session = redis.read(value).await?;
                let cart = session.cart.clone();
                let done = act(&mut session);
                if session.cart != cart {
                    redis.write(value, &session).await?;
                }
                (done, None)
            }
            Store::Token(signer) => {
                let mut session = signer.read(value, now)?;
                session.requests += 1;
                let done = act(&mut session);
                (done, Some(signer.sign(&session, now)?))
            }
        };
        Ok(Visit { value, cookie, took: stopwatch.elapsed() })
    }

    /// Forgets the session, if that is possible.
    pub(super) async fn end(&self, claim: &Claim) -> Result<(), Trouble> {
        let Claim::Value(value) = claim else { return Ok(()) };
        match self {
            Store::Memory(sessions) => {
                if let Ok(sid) = value.parse() {
                    lock(sessions).end(sid);
                }
            }
            Store::Redis(redis) => redis.remove(value).await?,
            // A token is good until it expires. The client is told to throw it away.
            Store::Token(_) => {}
        }
        Ok(())
    }

    /// Sessions that would be lost with this server.
    pub(super) fn sessions_here(&self, now: Timestamp) -> usize {
        match self {
            Store::Memory(sessions) => lock(sessions).count(now),
            Store::Redis(_) | Store::Token(_) => 0,
        }
    }

    /// Can a session change without the client getting another cookie?
    pub(super) fn remembers(&self) -> bool {
        !matches!(self, Store::Token(_))
    }
}

fn lock(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}
