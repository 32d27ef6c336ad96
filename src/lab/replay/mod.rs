//! The replay of an access log: "what would our own traffic look like, sticky and not?"
//!
//! The arrivals of the log are played to simulated sites (see [`simulator`](super::simulator)), one
//! for each policy and fleet size, side by side in a single pass: a log is read once, and never
//! held. What the log says of a request's session decides its affinity, and how long the request
//! took is how long it takes.
//!
//! ```text
//! lines -> format (an Entry) -> order (by time) -> reception (visitors) -> worlds
//! ```
//!
//! What it cannot know: how users would have behaved had the answers been slower or quicker.

pub mod entry;
pub mod format;
pub mod order;
mod reception;
pub mod source;
#[cfg(test)]
mod tests;
mod time;
mod world;

use std::io;
use std::time::Duration;

use serde::Serialize;

use self::entry::SessionKey;
use self::format::Format;
use self::order::Order;
use self::reception::{Arrival, Reception};
use self::source::{Line, Lines};
use self::world::World;
use super::policy::Policy;
use super::simulator::distribution::Times;
use super::simulator::figures::Figures;
use super::simulator::plan::{Clients, Fleet, Plan, Proxy, Rate};
use super::simulator::sweep::Run;

/// Lines that are shown of those that could not be read.
const EXAMPLES: usize = 5;

/// Lines by which a format is recognized.
const SAMPLE: usize = 200;

/// Arrivals that are played at a time.
const BATCH: usize = 1 << 16;

/// What to play a log to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The policies to compare.
    pub policies: Vec<Policy>,
    /// The numbers of backends to compare.
    pub fleets: Vec<u32>,
    /// Requests that a backend works on at once.
    pub concurrency: u32,
    /// The log's format; recognized if absent.
    pub format: Option<Format>,
    /// What makes requests one session; by the format if absent.
    pub session: Option<SessionKey>,
    /// How long requests take, whatever the log says.
    pub service_time: Option<Times>,
    /// When a session is over that has not been seen.
    pub idle_timeout: Duration,
    /// How far lines may be out of order.
    pub window: Duration,
    /// Sessions at a time that are followed at most.
    pub max_sessions: u32,
    /// For what is drawn by chance.
    pub seed: u64,
    /// Threads to work on.
    pub threads: usize,
}

/// Requests of which the log does not say how long they took take so long.
pub const USUAL_SERVICE_TIME: Times =
    Times::LogNormal { median: Duration::from_millis(20), sigma: 0.8 };

/// What there was in the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogFacts {
    /// How it was read.
    pub format: String,
    /// What made requests one session.
    pub session: String,
    /// What can do so in logs of this format.
    #[serde(skip)]
    pub possible_keys: String,
    /// Lines, empty ones not counted.
    pub lines: u64,
    /// Lines that could not be read.
    pub bad: u64,
    /// The first of them.
    pub examples: Vec<BadLine>,
    /// Compressed logs that break off: what comes before counts.
    pub broken: Vec<Broken>,
    /// Requests.
    pub requests: u64,
    /// Those without a session key.
    pub without_session: u64,
    /// Those of sessions for which there was no room.
    pub untracked: u64,
    /// Those of which the log does not say how long they took.
    pub without_duration: u64,
    /// Those that came too late for the order.
    pub late: u64,
    /// Sessions.
    pub sessions: u64,
    /// Seconds from the first request to the last.
    pub seconds: f64,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// In which log.
    pub log: String,
    /// Its number in there.
    pub line: u64,
    /// Why.
    pub why: String,
    /// How it begins.
    pub text: String,
}

/// A log that breaks off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which one.
    pub log: String,
    /// Why.
    pub why: String,
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    settings: Settings,
    format: Option<(Format, SessionKey)>,
    facts: LogFacts,
    order: Order,
    reception: Reception,
    batch: Vec<Arrival>,
    worlds: Vec<World>,
    last: u64,
}

impl Replay {
    /// A replay that has not begun.
    pub fn new(settings: Settings) -> Self {
        Replay {
            order: Order::new(nanos(settings.window)),
            reception: Reception::new(nanos(settings.idle_timeout), settings.max_sessions),
            format: None,
            facts: LogFacts::default(),
            batch: Vec::with_capacity(BATCH),
            worlds: Vec::new(),
            last: 0,
            settings,
        }
    }

    /// Plays the lines of a log of this name, which go on where those before have ended. The error is
    /// one of reading, or that nobody knows the format.
    pub fn play(&mut self, log: &str, lines: &mut Lines) -> io::Result<()> {
        if self.format.is_none() {
            self.format = Some(self.find_format(lines)?);
        }
        let Some((format, key)) = self.format.clone() else { return Ok(()) };
        let mut number = 0;
        while let Some(line) = lines.next_line()? {
            number += 1;
            let parsed = match line {
                Line::Text(b"") => continue,
                Line::Text(text) => format.parse(text, &key).map_err(|why| (why, text)),
                Line::TooLong => Err(("it is longer than 64 KiB", &b""[..])),
            };
            self.facts.lines += 1;
            match parsed {
                Ok(entry) => self.order.push(entry),
                Err((why, text)) => self.bad_line(log, number, why, text),
            }
            while let Some(entry) = self.order.pop() {
                self.receive(entry);
            }
        }
        let broken = lines.broken().map(|why| Broken { log: log.into(), why: why.into() });
        self.facts.broken.extend(broken);
        Ok(())
    }

    fn find_format(&self, lines: &mut Lines) -> io::Result<(Format, SessionKey)> {
        let format = match &self.settings.format {
            Some(format) => format.clone(),
            None => {
                let sample = lines.look_ahead(SAMPLE)?;
                let broken = lines.broken().filter(|_| sample.is_empty());
                let unknown = || {
                    let names = Format::NAMES.join(", ");
                    let why = format!(
                        "its format is none of {names}; if it is one of them, say so with --format, \
                         or give an nginx log_format, as in --format '$msec $remote_addr'"
                    );
                    io::Error::new(io::ErrorKind::InvalidData, broken.map_or(why, Into::into))
                };
                Format::detect(&sample).ok_or_else(unknown)?
            }
        };
        let key = self.settings.session.clone().unwrap_or_else(|| format.usual_key());
        Ok((format, key))
    }

    fn bad_line(&mut self, log: &str, line: u64, why: &str, text: &[u8]) {
        /// What is shown of a line.
        const SHOWN: usize = 100;

        self.facts.bad += 1;
        if self.facts.examples.len() < EXAMPLES {
            let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
            // Whoever wrote it may have meant it for our terminal.
            let text = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            let (log, why) = (log.to_owned(), why.to_owned());
            self.facts.examples.push(BadLine { log, line, why, text });
        }
    }

    fn receive(&mut self, mut entry: entry::Entry) {
        self.facts.requests += 1;
        self.facts.without_duration += u64::from(entry.took.is_none());
        if self.settings.service_time.is_some() {
            entry.took = None;
        }
        let arrival = self.reception.receive(&entry);
        self.last = arrival.at;
        self.batch.push(arrival);
        if self.batch.len() >= BATCH {
            self.advance();
        }
    }

    /// Plays the batch to every world.
    fn advance(&mut self) {
        if self.worlds.is_empty() {
            self.worlds = self.new_worlds();
        }
        let batch = &self.batch[..];
        let worlds = self.worlds.len();
        let share = worlds.div_ceil(self.settings.threads.max(1)).max(1);
        let (own, others) = self.worlds.split_at_mut(share.min(worlds));
        std::thread::scope(|scope| {
            for part in others.chunks_mut(share) {
                scope.spawn(move || part.iter_mut().for_each(|world| world.advance(batch)));
            }
            own.iter_mut().for_each(|world| world.advance(batch));
        });
        self.batch.clear();
    }

    /// A world for each policy and fleet size, and one for each balancer without affinity.
    fn new_worlds(&self) -> Vec<World> {
        let first = self.batch.first().map_or(0, |arrival| arrival.at);
        let length = (self.last - first).max(1) as f64 / 1e9;
        let rate = self.batch.len() as f64 / length;
        let mut policies = self.settings.policies.clone();
        for policy in &self.settings.policies {
            if !policies.contains(&policy.even()) {
                policies.push(policy.even());
            }
        }
        let world = |backends, policy: &Policy| {
            World::new(&plan(&self.settings, backends, rate), policy, self.settings.seed)
        };
        let fleets = self.settings.fleets.iter();
        fleets.flat_map(|&n| policies.iter().map(move |policy| world(n, policy))).collect()
    }

    /// The log has come to its end.
    pub fn finish(mut self) -> (LogFacts, Vec<Run>) {
        while let Some(entry) = self.order.pop_any() {
            self.receive(entry);
        }
        self.advance();
        let end = self.last;
        let keys = self.worlds.iter().map(|world| (world.backends, world.policy));
        let keys: Vec<_> = keys.collect();
        let figures: Vec<Figures> =
            self.worlds.into_iter().map(|world| world.finish(end)).collect();
        let found = |n: u32, policy: &Policy| {
            keys.iter().position(|key| *key == (n, *policy)).map(|at| figures[at].clone())
        };
        let asked = self.settings.fleets.iter();
        let asked = asked.flat_map(|&n| self.settings.policies.iter().map(move |p| (n, *p)));
        let runs = asked.filter_map(|(n, policy)| {
            let mut figures = found(n, &policy)?;
            // Where nothing can stick, the same is no comparison.
            if policy.is_sticky() && self.reception.sessions > 0 {
                figures.compare(&found(n, &policy.even())?);
            }
            Some(Run { settings: vec![("backends", n.to_string())], figures })
        });
        let facts = LogFacts {
            format: self.format.as_ref().map_or("none", |(format, _)| format.as_str()).into(),
            session: self.format.as_ref().map(|(_, key)| key.to_string()).unwrap_or_default(),
            possible_keys: self.format.map(|(format, _)| format.keys()).unwrap_or_default(),
            without_session: self.reception.without,
            untracked: self.reception.untracked,
            sessions: self.reception.sessions,
            late: self.order.late(),
            seconds: end as f64 / 1e9,
            ..self.facts
        };
        (facts, runs.collect())
    }
}

/// When the first request of a log came, for putting several in order.
pub fn first_time(lines: &mut Lines, format: Option<&Format>) -> Option<u64> {
    let sample = lines.look_ahead(SAMPLE).ok()?;
    let format = format.cloned().or_else(|| Format::detect(&sample))?;
    let key = SessionKey::new(Vec::new());
    sample.iter().find_map(|line| format.parse(line, &key).ok()).map(|entry| entry.at)
}

fn plan(settings: &Settings, backends: u32, rate: f64) -> Plan {
    Plan {
        fleet: Fleet {
            backends,
            concurrency: settings.concurrency,
            backlog: u32::MAX,
            service_time: settings.service_time.unwrap_or(USUAL_SERVICE_TIME),
            slow: None,
        },
        proxy: Proxy::plain(settings.idle_timeout),
        clients: Clients::Requests,
        rate: Rate::Requests(rate),
        events: Vec::new(),
        warm_up: Duration::ZERO,
        // Nobody knows yet; the timeline begins in steps of ten seconds and becomes coarser.
        duration: Duration::from_secs(20 * 60),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
