//! What is simulated: the fleet, its policy's surroundings, the clients, and what happens to them.

use std::time::Duration;

use super::distribution::{Counts, Times};
use crate::balance::outlier::Ejection;
use crate::balance::queue::QueueSpec;

/// Everything about a run but its policy and its seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The app servers.
    pub fleet: Fleet,
    /// What the proxy does besides its policy.
    pub proxy: Proxy,
    /// Who comes.
    pub clients: Clients,
    /// How much: of it, the arrival rate follows.
    pub rate: Rate,
    /// What befalls the fleet, and when.
    pub events: Vec<Event>,
    /// Time that passes before anything is measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub duration: Duration,
}

/// The app servers at the beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// How many.
    pub backends: u32,
    /// Requests that each of them works on at once.
    pub concurrency: u32,
    /// Requests that may stand in line at each of them.
    pub backlog: u32,
    /// How long a request takes.
    pub service_time: Times,
    /// So many of them are slower by a factor.
    pub slow: Option<(u32, f64)>,
}

/// What the proxy does besides its policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proxy {
    /// Requests in flight to one backend at most, if there is a limit.
    pub max_connections: Option<u32>,
    /// How requests wait at the proxy.
    pub queue: QueueSpec,
    /// Passive removal.
    pub ejection: Option<Ejection>,
    /// How long a new backend takes to get its full share.
    pub slow_start: Option<Duration>,
    /// Backends that are tried for one request at most.
    pub attempts: usize,
    /// A session that has not been seen for so long is over.
    pub idle_timeout: Duration,
}

impl Proxy {
    /// Nothing besides.
    pub fn plain(idle_timeout: Duration) -> Self {
        Proxy {
            max_connections: None,
            queue: QueueSpec::default(),
            ejection: None,
            slow_start: None,
            attempts: 1,
            idle_timeout,
        }
    }
}

/// Who comes.
#[derive(Clone, Debug, PartialEq)]
pub enum Clients {
    /// Requests that have nothing to do with each other.
    Requests,
    /// Sessions.
    Sessions(Sessions),
}

/// Sessions: each comes once, makes some requests one after the other, and thinks in between.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Requests in a session.
    pub requests: Counts,
    /// Time from an answer to the next request.
    pub think: Times,
    /// The users that sessions belong to: the same user has the same hash key. Without, every
    /// session has a user of its own.
    pub users: Option<Users>,
    /// One more session that never ends, with so many times the requests a second that are a fair
    /// share of one backend.
    pub hot: Option<f64>,
}

/// Users, some of whom come far more often than others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Users {
    /// How many.
    pub count: u64,
    /// The exponent of Zipf's law: 0 is everybody alike, 1 is usual.
    pub zipf: f64,
}

/// How much comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// What keeps this share of the fleet busy (0 to 1).
    Utilization(f64),
    /// So many requests a second, on average.
    Requests(f64),
}

/// Something that happens to the fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// When, from the beginning of what is measured.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// The backends with the most sessions die at once, and come back.
    Crash {
        /// How many.
        backends: u32,
        /// How long they are away.
        down_for: Duration,
        /// How long it takes health checks to see either.
        noticed_after: Duration,
    },
    /// Each backend is started anew, in turns.
    Deploy {
        /// So many at a time.
        batch: u32,
        /// How long they drain before that, if they do.
        drain: Option<Duration>,
        /// How long a restart takes.
        restart: Duration,
        /// How long it takes health checks to see that one is gone or back.
        noticed_after: Duration,
    },
    /// Backends join.
    ScaleOut {
        /// How many.
        backends: u32,
    },
    /// The last backends leave.
    ScaleIn {
        /// How many.
        backends: u32,
        /// How long they drain before that, if they do.
        drain: Option<Duration>,
    },
    /// Backends are slower for a while.
    Slow {
        /// How many, from the first on.
        backends: u32,
        /// By how much.
        factor: f64,
        /// For how long.
        lasts: Duration,
    },
    /// From now on so many times the arrivals of the beginning come.
    Load {
        /// How many times.
        factor: f64,
    },
    /// From now on the fleet grows and shrinks with what it has to do.
    Autoscale(Autoscale),
}

/// When backends come and go by themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Autoscale {
    /// How busy the fleet should be (0 to 1).
    pub target: f64,
    /// Never fewer backends.
    pub least: u32,
    /// Never more.
    pub most: u32,
    /// Between two looks.
    pub every: Duration,
    /// How long a new backend takes to start.
    pub start: Duration,
    /// Some leave when fewer have been enough for so long.
    pub calm: Duration,
    /// How long they drain before that, if they do.
    pub drain: Option<Duration>,
}

impl Plan {
    /// Requests that the fleet can serve in a second.
    pub fn capacity(&self) -> f64 {
        let Fleet { backends, concurrency, slow, .. } = self.fleet;
        let service = self.fleet.service_time.mean().max(1e-9);
        let (slow, factor) = slow.unwrap_or((0, 1.0));
        let slow = slow.min(backends);
        let fleet = f64::from(backends - slow) + f64::from(slow) / factor;
        fleet * f64::from(concurrency) / service
    }

    /// Requests a second, on average.
    pub fn requests_per_second(&self) -> f64 {
        match self.rate {
            Rate::Utilization(share) => share * self.capacity(),
            Rate::Requests(rate) => rate,
        }
    }

    /// Requests that a run is likely to have.
    pub fn expected_requests(&self) -> f64 {
        self.requests_per_second() * (self.warm_up + self.duration).as_secs_f64()
    }
}
