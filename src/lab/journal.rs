//! What the browsers saw: requests, errors, and where each session went.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::latency::Latencies;

/// The journeys of so many first sessions are kept whole; all others are only counted.
const KEPT_JOURNEYS: u64 = 10;

/// What a crowd of browsers saw.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    latencies: Latencies,
    errors: BTreeMap<String, u64>,
    begun: u64,
    ended: BTreeMap<Ending, u64>,
    served: BTreeMap<String, u64>,
    /// By number of session.
    journeys: BTreeMap<u64, Journey>,
}

/// One session and the servers that answered it.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Sessions are numbered from 1 in the order of their coming.
    pub number: u64,
    /// Which servers answered, in order. The same server twice in a row is one stop.
    pub stops: Vec<Stop>,
    /// How it ended.
    pub ending: Ending,
}

/// Requests in a row that one server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The server's name, as it says itself.
    pub server: String,
    /// How many.
    pub requests: u64,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The user checked out and logged out.
    Completed,
    /// A server said that it does not know the session.
    Lost,
    /// Errors again and again, or a cart that is not what the user put in.
    Failed,
    /// The whole crowd was told to stop.
    Stopped,
}

impl Ending {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Completed => "completed",
            Ending::Lost => "lost",
            Ending::Failed => "failed",
            Ending::Stopped => "stopped",
        }
    }
}

impl Journal {
    /// A session begins.
    pub(super) fn begin(&mut self) {
        self.begun += 1;
    }

    /// A request was answered, well or badly.
    pub(super) fn answered(&mut self, latency: Duration) {
        self.latencies.record(latency);
    }

    /// A request had no answer, or not the right one. `kind` is a status or a short name.
    pub(super) fn error(&mut self, kind: &str) {
        *self.errors.entry(kind.to_owned()).or_default() += 1;
    }

    /// A session has ended.
    pub(crate) fn end(&mut self, journey: Journey) {
        *self.ended.entry(journey.ending).or_default() += 1;
        let mut servers: Vec<_> = journey.stops.iter().map(|stop| stop.server.as_str()).collect();
        servers.sort_unstable();
        servers.dedup();
        for server in servers {
            *self.served.entry(server.to_owned()).or_default() += 1;
        }
        if journey.number <= KEPT_JOURNEYS {
            self.journeys.insert(journey.number, journey);
        }
    }

    /// Latencies of all answers, the bad ones included.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Requests without an answer or with a wrong one, by status or short name. A session that is
    /// lost is counted as lost, and not here.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// The sum of [`Journal::errors`].
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Sessions that have begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Sessions that have ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.ended.get(&ending).copied().unwrap_or_default()
    }

    /// Sessions that have begun and not ended.
    pub fn going_on(&self) -> u64 {
        self.begun.saturating_sub(self.ended.values().sum())
    }

    /// Ended sessions of which the server answered at least one request.
    pub fn served_by(&self, server: &str) -> u64 {
        self.served.get(server).copied().unwrap_or_default()
    }

    /// The first ten sessions, as far as they have ended.
    pub fn journeys(&self) -> impl Iterator<Item = &Journey> {
        self.journeys.values()
    }
}

impl Journey {
    /// Session `number`, which has not met anybody yet.
    pub(crate) fn new(number: u64) -> Self {
        Journey { number, stops: Vec::new(), ending: Ending::Stopped }
    }

    /// The user's name.
    pub fn user(&self) -> String {
        format!("user-{}", self.number)
    }

    /// A server has answered.
    pub(super) fn meet(&mut self, server: &str) {
        match self.stops.last_mut() {
            Some(stop) if stop.server == server => stop.requests += 1,
            _ => self.stops.push(Stop { server: server.to_owned(), requests: 1 }),
        }
    }
}

impl fmt::Display for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, stop) in self.stops.iter().enumerate() {
            let arrow = if i == 0 { "" } else { " -> " };
            write!(f, "{arrow}{} ({})", stop.server, stop.requests)?;
        }
        write!(f, ", {}", self.ending.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_once_for_every_server_that_it_met() {
        let mut journal = Journal::default();
        for number in (1..=KEPT_JOURNEYS + 5).rev() {
            journal.begin();
            let mut journey = Journey::new(number);
            for server in ["app-1", "app-1", "app-2", "app-1"] {
                journey.meet(server);
            }
            journey.ending = Ending::Completed;
            journal.end(journey);
        }
        journal.begin();
        assert_eq!(journal.served_by("app-1"), 15);
        assert_eq!(journal.served_by("app-2"), 15);
        assert_eq!(journal.served_by("app-3"), 0);
        assert_eq!((journal.begun(), journal.going_on()), (16, 1));
        assert_eq!(journal.ended(Ending::Completed), 15);
        let kept: Vec<_> = journal.journeys().map(|journey| journey.number).collect();
        assert_eq!(kept, (1..=KEPT_JOURNEYS).collect::<Vec<_>>());
        let shown = journal.journeys().next().unwrap().to_string();
        assert_eq!(shown, "app-1 (2) -> app-2 (1) -> app-1 (1), completed");
    }
}
