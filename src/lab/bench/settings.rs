//! How a bench is run: the fleet, the load, and what happens to them.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use super::contender::Contender;
use super::scenario::Scenario;
use super::schedule::{Weights, Workload};
use crate::lab::delay::Delay;

/// So many users take turns.
const USERS: usize = 200;
/// Zipf's exponent in the skewed scenario.
const SKEW: f64 = 1.0;
/// Nobody sends more than this times the mean.
const HEAVIEST: f64 = 20.0;
/// In one window a user thinks for at least this many service times.
const SHORTEST_THOUGHT: f64 = 4.0;
/// The share of all requests that the hot session sends.
const HOT: f64 = 0.15;
/// In the scenarios that change the size of the fleet its smaller half bears this load.
const LOAD_OF_HALF: f64 = 0.75;
/// What stopping and starting a server takes besides its drain.
const STOPPING: Duration = Duration::from_millis(500);
/// The proxy waits so long at least before it takes a session for over.
const SHORTEST_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of this very binary.
    pub stickler: PathBuf,
    /// What is compared, and in what.
    pub bouts: Vec<(Contender, Scenario)>,
    /// How many app servers.
    pub backends: NonZeroU16,
    /// How many requests each of them works on at once.
    pub concurrency: NonZeroU32,
    /// How long they work on a request.
    pub service_time: Delay,
    /// How much of what the servers can do is asked of them: 0.6 is 60 %.
    pub load: f64,
    /// Requests of a session, on average.
    pub requests: f64,
    /// Time between two requests of a session.
    pub think: Delay,
    /// Load before the measurement.
    pub warm_up: Duration,
    /// The measured time, at least.
    pub length: Duration,
    /// How often everything is done, each time with another seed.
    pub repeat: NonZeroU16,
    /// The schedule of the first repetition follows from it; the next one has the next seed.
    pub seed: u64,
    /// The program that is Redis.
    pub redis_server: OsString,
}

impl Settings {
    /// Requests a second that one server can work on.
    pub fn capacity(&self) -> f64 {
        f64::from(self.concurrency.get()) / self.service_time.mean().as_secs_f64().max(1e-6)
    }

    /// Requests a second that are asked for in a scenario.
    pub fn rate(&self, scenario: Scenario) -> f64 {
        let servers = f64::from(self.backends.get());
        match scenario {
            Scenario::ScaleOut | Scenario::ScaleIn => {
                LOAD_OF_HALF * (servers / 2.0).floor().max(1.0) * self.capacity()
            }
            _ => self.load * servers * self.capacity(),
        }
    }

    /// How long a session takes, on average.
    pub fn session_length(&self) -> Duration {
        self.think.mean().mul_f64((self.requests - 1.0).max(0.0))
    }

    /// A session of the proxy is over when it has not been seen for so long.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.session_length().max(SHORTEST_IDLE_TIMEOUT)
    }

    /// How long a drain may take until sessions are made to move: longer than nearly every session.
    pub fn drain_for(&self) -> Duration {
        self.session_length().mul_f64(3.0) + Duration::from_millis(500)
    }

    /// The longest that a run of a scenario may take, with warm-up.
    pub fn longest_run(&self, scenario: Scenario) -> Duration {
        let drains = match scenario {
            Scenario::DrainedDeploy => u32::from(self.backends.get()),
            Scenario::ScaleIn => 1,
            _ => 0,
        };
        self.warm_up + self.length + (self.drain_for() + STOPPING) * drains
    }

    /// The load of a repetition.
    pub(super) fn workload(&self, scenario: Scenario, repetition: u16) -> Workload {
        let work = self.service_time.mean().as_secs_f64() * SHORTEST_THOUGHT;
        let densest = self.think.mean().as_secs_f64() / work.max(1e-6);
        Workload {
            rate: self.rate(scenario),
            requests: self.requests,
            think: self.think,
            users: USERS,
            weights: match scenario {
                Scenario::Skewed => Weights::Zipf { exponent: SKEW, heaviest: HEAVIEST },
                _ => Weights::Equal,
            },
            densest,
            hot: (scenario == Scenario::HotSession).then_some(HOT),
            length: self.longest_run(scenario),
            seed: self.seed.wrapping_add(u64::from(repetition)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a bench has that is not quick.
    pub(in crate::lab::bench) fn settings() -> Settings {
        Settings {
            stickler: "stickler".into(),
            bouts: Vec::new(),
            backends: NonZeroU16::new(4).unwrap(),
            concurrency: NonZeroU32::new(4).unwrap(),
            service_time: "lognormal:20ms,0.5".parse().unwrap(),
            load: 0.5,
            requests: 12.0,
            think: "exp:300ms".parse().unwrap(),
            warm_up: Duration::from_secs(4),
            length: Duration::from_secs(15),
            repeat: NonZeroU16::MIN,
            seed: 1,
            redis_server: "redis-server".into(),
        }
    }

    #[test]
    fn the_load_follows_from_what_the_servers_can_do() {
        let settings = settings();
        // The mean of a log-normal distribution is its median times exp(sigma^2 / 2).
        let capacity = 4.0 / (0.020 * 0.125f64.exp());
        assert!((settings.capacity() / capacity - 1.0).abs() < 0.02, "{}", settings.capacity());
        let rate = settings.rate(Scenario::Steady);
        assert!((rate / (0.5 * 4.0 * settings.capacity()) - 1.0).abs() < 1e-9, "{rate}");
        let growing = settings.rate(Scenario::ScaleOut);
        assert!((growing / (0.75 * 2.0 * settings.capacity()) - 1.0).abs() < 1e-9, "{growing}");
    }
}
