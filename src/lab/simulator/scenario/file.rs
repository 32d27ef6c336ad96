//! A scenario file, exactly as it is written: plain types that serde fills, as for the
//! configuration of the proxy. The doc comments say what a key means.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::distribution::{Counts, Times};
use super::leaf::Positive;
use crate::config::leaf::{Parsed, Share};
use crate::lab::policy::Policy;

/// A scenario: a fleet, its clients, and what befalls them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Stickler scenario")]
pub(in crate::lab) struct File {
    /// What it shows, in a sentence. Absent: nothing is said.
    pub(super) description: Option<String>,
    /// The same seed gives the same result.
    #[schemars(range(min = 0, max = 9_007_199_254_740_992i64))]
    pub(super) seed: u64,
    /// Virtual time that passes before anything is measured.
    pub(super) warm_up: Parsed<Duration>,
    /// Virtual time that is measured.
    pub(super) duration: Parsed<Duration>,
    /// The policies to compare. At least one.
    pub(super) policies: Vec<Parsed<Policy>>,
    /// The app servers.
    pub(super) fleet: Fleet,
    /// How much comes. Absent: `utilization = "70%"`.
    pub(super) load: Load,
    /// Who comes. Absent: requests that have nothing to do with each other.
    pub(super) sessions: Option<Sessions>,
    /// What the proxy does besides its policy.
    pub(super) proxy: Proxy,
    /// What befalls the fleet. Absent: nothing.
    pub(super) events: Vec<Event>,
}

impl Default for File {
    fn default() -> Self {
        let policy = |text: &str| text.parse().ok().map(Parsed);
        let policies = ["two_choices", "two_choices+cookie", "two_choices+hash"];
        File {
            description: None,
            seed: 1,
            warm_up: seconds(60),
            duration: seconds(600),
            policies: policies.into_iter().filter_map(policy).collect(),
            fleet: Fleet::default(),
            load: Load::default(),
            sessions: None,
            proxy: Proxy::default(),
            events: Vec::new(),
        }
    }
}

/// The app servers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::lab) struct Fleet {
    /// How many.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) backends: u32,
    /// Requests that each of them works on at once; the others stand in line there.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) concurrency: u32,
    /// Requests that stand in line at each of them at most; further ones fail. Absent: no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) backlog: Option<u32>,
    /// How long a server works on a request.
    pub(super) service_time: Parsed<Times>,
    /// The first of them are slower. Absent: all are alike.
    pub(super) slow: Option<SlowFleet>,
}

impl Default for Fleet {
    fn default() -> Self {
        let mean = Duration::from_millis(20);
        Fleet {
            backends: 10,
            concurrency: 8,
            backlog: None,
            service_time: Parsed(Times::Exponential { mean }),
            slow: None,
        }
    }
}

/// Servers that are slower than the others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct SlowFleet {
    /// How many.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) backends: u32,
    /// How many times as long they work.
    pub(super) factor: Parsed<Positive>,
}

/// How much comes: one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::lab) struct Load {
    /// What keeps this share of the fleet busy. Absent: see `requests_per_second`.
    pub(super) utilization: Option<Parsed<Share>>,
    /// So many requests a second. Absent: see `utilization`.
    pub(super) requests_per_second: Option<Parsed<Positive>>,
}

/// Sessions: they come at random, make some requests one after the other, and think in between.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::lab) struct Sessions {
    /// Requests in a session.
    pub(super) requests: Parsed<Counts>,
    /// Time from an answer to the next request.
    pub(super) think: Parsed<Times>,
    /// Users that sessions belong to: the same user has the same hash key. Absent: each session
    /// has a user of its own.
    pub(super) users: Option<Users>,
    /// One more session that never ends and makes so many times the requests that are a fair share
    /// of one backend. Absent: there is none.
    pub(super) hot: Option<Parsed<Positive>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions {
            requests: Parsed(Counts::Geometric { mean: 20.0 }),
            think: Parsed(Times::Exponential { mean: Duration::from_secs(5) }),
            users: None,
            hot: None,
        }
    }
}

/// Users, some of whom come far more often than others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct Users {
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(super) count: u32,
    /// The exponent of Zipf's law: the k-th user comes 1 / k^zipf as often as the first.
    pub(super) zipf: Parsed<Positive>,
}

/// What the proxy does besides its policy. The keys mean what they mean in its configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::lab) struct Proxy {
    /// Requests in flight to one backend at most; further ones wait at the proxy. Absent: no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) max_connections: Option<u32>,
    /// Requests that wait for the same backend at most, or for any.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) queue_length: u32,
    /// How long each of them waits.
    pub(super) queue_timeout: Parsed<Duration>,
    /// Consecutive failures to connect that take a backend out for a while; 0 for never.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) eject_after: u32,
    /// For how long.
    pub(super) eject_for: Parsed<Duration>,
    /// How long a new backend takes to get its full share. Absent: it gets it at once.
    pub(super) slow_start: Option<Parsed<Duration>>,
    /// Backends that are tried for one request at most.
    #[schemars(range(min = 1, max = 100))]
    pub(super) attempts: u32,
    /// A session that has not been seen for so long is over.
    pub(super) idle_timeout: Parsed<Duration>,
}

impl Default for Proxy {
    fn default() -> Self {
        Proxy {
            max_connections: None,
            queue_length: 128,
            queue_timeout: seconds(5),
            eject_after: 5,
            eject_for: seconds(10),
            slow_start: None,
            attempts: 3,
            idle_timeout: seconds(300),
        }
    }
}

/// Something that happens. Besides `at` one key says what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct Event {
    /// When, from the beginning of what is measured.
    pub(super) at: Parsed<Duration>,
    /// The backends with the most sessions die, and come back. Absent: something else happens.
    pub(super) crash: Option<Crash>,
    /// Each backend is started anew, in turns. Absent: something else happens.
    pub(super) deploy: Option<Deploy>,
    /// Backends join. Absent: something else happens.
    pub(super) scale_out: Option<ScaleOut>,
    /// The last backends leave. Absent: something else happens.
    pub(super) scale_in: Option<ScaleIn>,
    /// The first backends are slower for a while. Absent: something else happens.
    pub(super) slow: Option<Slow>,
    /// From now on so many times the sessions (or requests) of the beginning come. Absent:
    /// something else happens.
    pub(super) load: Option<Parsed<Positive>>,
    /// From now on backends come and go by themselves, with what there is to do. Absent: something
    /// else happens.
    pub(super) autoscale: Option<Autoscale>,
}

/// Backends die.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct Crash {
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) backends: u32,
    /// How long they are away.
    pub(super) down_for: Parsed<Duration>,
    /// How long it takes health checks to see that they are gone, and that they are back.
    #[serde(default = "three_seconds")]
    pub(super) noticed_after: Parsed<Duration>,
}

/// Backends are started anew.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct Deploy {
    /// So many at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) batch: u32,
    /// How long they drain before that at most. Absent: they end at once.
    pub(super) drain: Option<Parsed<Duration>>,
    /// How long a restart takes.
    pub(super) restart: Parsed<Duration>,
    /// How long it takes health checks to see that they are gone, and that they are back.
    #[serde(default = "three_seconds")]
    pub(super) noticed_after: Parsed<Duration>,
}

/// Backends join.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct ScaleOut {
    /// How many.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) backends: u32,
}

/// Backends leave.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct ScaleIn {
    /// How many.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) backends: u32,
    /// How long they drain before that at most. Absent: they end at once.
    pub(super) drain: Option<Parsed<Duration>>,
}

/// Backends are slow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct Slow {
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) backends: u32,
    /// How many times as long they work.
    pub(super) factor: Parsed<Positive>,
    /// For how long.
    pub(super) lasts: Parsed<Duration>,
}

/// Backends come and go by themselves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct Autoscale {
    /// How busy the fleet should be.
    pub(super) target: Parsed<Share>,
    /// Never fewer backends.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) from: u32,
    /// Never more.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) to: u32,
    /// Between two looks at how busy it is.
    #[serde(default = "fifteen_seconds")]
    pub(super) every: Parsed<Duration>,
    /// How long a new backend takes to start.
    #[serde(default = "thirty_seconds")]
    pub(super) start: Parsed<Duration>,
    /// Some leave when fewer have been enough for so long.
    #[serde(default = "one_minute")]
    pub(super) calm: Parsed<Duration>,
    /// How long they drain before that at most.
    #[serde(default = "one_minute")]
    pub(super) drain: Parsed<Duration>,
}

fn one() -> u32 {
    1
}

fn three_seconds() -> Parsed<Duration> {
    seconds(3)
}

fn fifteen_seconds() -> Parsed<Duration> {
    seconds(15)
}

fn thirty_seconds() -> Parsed<Duration> {
    seconds(30)
}

fn one_minute() -> Parsed<Duration> {
    seconds(60)
}

const fn seconds(n: u64) -> Parsed<Duration> {
    Parsed(Duration::from_secs(n))
}
