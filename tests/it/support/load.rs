//! Many sessions that go on visiting, and what they see.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stickler::clock::Stopwatch;

use super::{Client, wait_until};

/// Sessions share connections: a session is a browser, not a connection.
const CONNECTIONS: usize = 16;

/// Of so many sessions one is slow: it comes in every second round only.
const SLOW_EVERY: usize = 10;
const SLOW: u64 = 2;

/// Sessions in front of app servers as [`apps`](super::apps) makes them. Each of them checks that
/// it is served at home, or told why not.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    since: Stopwatch,
    /// Between two visits of a session.
    period: Duration,
    is_over: AtomicBool,
    requests: AtomicU64,
    /// By connection.
    sessions: Vec<Mutex<Vec<Session>>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Session {
    cookie: Option<String>,
    home: Option<String>,
    /// When it was answered last.
    last: Duration,
}

/// What was not as usual.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Requests that failed, and sessions that were not found where they were.
    pub failed: Vec<String>,
    pub moves: Vec<Move>,
}

/// A session was told that it has moved.
#[derive(Clone, Debug)]
pub struct Move {
    /// Since the load has begun.
    pub at: Duration,
    /// How long the session had paused.
    pub paused: Duration,
    pub from: String,
    pub reason: String,
}

impl Load {
    /// So many sessions, each of which comes once in a period. Returns when each has a home.
    #[track_caller]
    pub fn start(address: SocketAddr, sessions: usize, period: Duration) -> Self {
        let of_connection = |i| (i..sessions).step_by(CONNECTIONS).map(|_| Session::default());
        let shared = Arc::new(Shared {
            address,
            since: Stopwatch::start(),
            period,
            is_over: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            sessions: (0..CONNECTIONS).map(|i| Mutex::new(of_connection(i).collect())).collect(),
            seen: Mutex::default(),
        });
        let threads = (0..CONNECTIONS).map(|i| {
            let shared = shared.clone();
            thread::spawn(move || shared.visit(i))
        });
        let load = Load { threads: threads.collect(), shared };
        wait_until("every session has begun", || load.homes().values().sum::<usize>() == sessions);
        load
    }

    /// Since it has begun.
    pub fn elapsed(&self) -> Duration {
        self.shared.since.elapsed()
    }

    /// How many sessions live where, as far as they know.
    pub fn homes(&self) -> BTreeMap<String, usize> {
        let mut homes = BTreeMap::new();
        for sessions in &self.shared.sessions {
            for home in lock(sessions).iter().filter_map(|session| session.home.clone()) {
                *homes.entry(home).or_default() += 1;
            }
        }
        homes
    }

    /// Requests that were answered so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// What was not as usual so far.
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// Waits until so many more requests were answered.
    #[track_caller]
    pub fn wait_for(&self, requests: u64) {
        let until = self.requests() + requests;
        wait_until("the load goes on", || self.requests() >= until);
    }

    /// Ends it. Nothing must have failed.
    #[track_caller]
    pub fn finish(self) -> (u64, Seen) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let seen = lock(&self.shared.seen).clone();
        assert_eq!(seen.failed, Vec::<String>::new());
        (self.shared.requests.load(Ordering::Relaxed), seen)
    }
}

impl Shared {
    /// What one connection does.
    fn visit(&self, connection: usize) {
        let mut client = None;
        for round in 0.. {
            let begun = self.since.elapsed();
            let count = lock(&self.sessions[connection]).len();
            for i in 0..count {
                let is_slow = i % SLOW_EVERY == 0 && round % SLOW != 0;
                if self.is_over.load(Ordering::Relaxed) {
                    return;
                }
                if !is_slow {
                    self.visit_once(connection, i, &mut client);
                }
            }
            let rest = self.period.saturating_sub(self.since.elapsed() - begun);
            thread::sleep(rest); // the next round is not due yet
        }
    }

    fn visit_once(&self, connection: usize, i: usize, client: &mut Option<Client>) {
        let cookie = lock(&self.sessions[connection])[i].cookie.clone();
        let line = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        // Somebody who listens always has room for a connection: else that is a failure as well.
        if client.is_none() && TcpStream::connect(self.address).is_err() {
            return self.fail("no connection".into());
        }
        let connected = client.get_or_insert_with(|| Client::connect(self.address));
        connected.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{line}\r\n"));
        let answered = connected.try_response(false);
        let Some(response) = answered.filter(|response| response.is_complete) else {
            *client = None;
            return self.fail("no whole response".into());
        };
        if response.field("connection").is_some_and(|value| value.contains("close")) {
            *client = None;
        }
        if response.status != 200 {
            return self.fail(format!("{} {}", response.status, response.text()));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut sessions = lock(&self.sessions[connection]);
        let session = &mut sessions[i];
        session.cookie = response.cookie().or(session.cookie.take());
        self.judge(session, &response.text());
    }

    /// Is it where it was, or was the app told why not? `told` is what the app was told.
    fn judge(&self, session: &mut Session, told: &str) {
        let now = self.since.elapsed();
        let (name, told) = told.split_once(' ').unwrap_or((told, ""));
        match (&session.home, told) {
            (None, "new") => {}
            (Some(home), "bound") if home == name => {}
            (Some(home), told) if told.starts_with(&format!("moved;from=\"{home}\";reason=")) => {
                let reason = told.rsplit('=').next().unwrap_or_default().to_owned();
                let paused = now - session.last;
                let from = home.clone();
                lock(&self.seen).moves.push(Move { at: now, paused, from, reason });
            }
            (home, told) => self.fail(format!("at home in {home:?}, served by {name}: {told}")),
        }
        session.home = Some(name.to_owned());
        session.last = now;
    }

    fn fail(&self, what: String) {
        lock(&self.seen).failed.push(what);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
