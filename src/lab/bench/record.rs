//! What the clients saw during the measured time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::lab::report::Sessions;
use crate::lab::report::figures::Percentiles;

/// Microseconds of a millisecond: histograms have the former, reports the latter.
const MILLI: f64 = 1e3;

/// Counts and times, shared by all sessions.
#[derive(Debug)]
pub(super) struct Record {
    counts: Mutex<Counts>,
}

/// See [`Record`].
#[derive(Debug)]
pub(super) struct Counts {
    /// What was due from here on, and before there, is measured.
    window: (Duration, Duration),
    /// Answered rightly.
    pub(super) requests: u64,
    /// Not answered by any app server.
    pub(super) requests_lost: u64,
    /// By status or short name.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) sessions: Sessions,
    /// Live channels that broke off.
    pub(super) channels_cut: u64,
    /// When errors and losses were seen, since the start.
    troubles: Vec<Duration>,
    sent_bytes: u64,
    latency: Histogram<u64>,
    state: Histogram<u64>,
    lateness: Histogram<u64>,
}

/// What one session saw of itself during the measured time.
#[derive(Debug, Default)]
pub(super) struct Experience {
    pub(super) requests: u64,
    pub(super) lost: bool,
    pub(super) servers: BTreeSet<String>,
}

/// A right answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// When the request was due, since the start.
    pub(super) due: Duration,
    /// By how much the load generator was late.
    pub(super) late: Duration,
    /// When the answer was complete.
    pub(super) done: Duration,
    /// Bytes of the request, if known.
    pub(super) bytes: usize,
    /// How long the server was busy with the session's state, if it says so.
    pub(super) state: Option<Duration>,
}

impl Record {
    /// Nothing yet. What is due before `from`, or at `to` and later, will not be measured.
    pub(super) fn new(from: Duration, to: Duration) -> Self {
        Record {
            counts: Mutex::new(Counts {
                window: (from, to),
                requests: 0,
                requests_lost: 0,
                errors: BTreeMap::new(),
                sessions: Sessions { lost: Some(0), ..Sessions::default() },
                channels_cut: 0,
                troubles: Vec::new(),
                sent_bytes: 0,
                latency: histogram(),
                state: histogram(),
                lateness: histogram(),
            }),
        }
    }

    /// Looks at the counts or changes them.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Counts) -> T) -> T {
        look(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is what is due then measured?
    pub(super) fn measures(&self, due: Duration) -> bool {
        self.with(|counts| (counts.window.0..counts.window.1).contains(&due))
    }

    /// Measuring ends now and not when it should have.
    pub(super) fn end(&self, now: Duration) {
        self.with(|counts| counts.window.1 = counts.window.1.min(now));
    }

    /// A request was answered rightly.
    pub(super) fn answered(&self, answer: Answered) {
        self.with(|counts| {
            counts.requests += 1;
            counts.sent_bytes += answer.bytes as u64;
            // These fail only on values that a histogram which grows cannot take: none.
            let _ = counts.latency.record(micros(answer.done.saturating_sub(answer.due)));
            let _ = counts.lateness.record(micros(answer.late));
            if let Some(state) = answer.state {
                let _ = counts.state.record(micros(state));
            }
        });
    }

    /// A request that was due then has failed; `is_lost` if no app server has answered it.
    pub(super) fn failed(&self, kind: &str, is_lost: bool, now: Duration) {
        self.with(|counts| {
            *counts.errors.entry(kind.to_owned()).or_default() += 1;
            counts.requests_lost += u64::from(is_lost);
            counts.troubles.push(now);
        });
    }

    /// A session is not known any more.
    pub(super) fn lost(&self, now: Duration) {
        self.with(|counts| counts.troubles.push(now));
    }

    /// A live channel broke off.
    pub(super) fn cut(&self) {
        self.with(|counts| counts.channels_cut += 1);
    }

    /// A session has ended, or is over because the run is.
    pub(super) fn ended(&self, experience: &Experience) {
        self.with(|counts| {
            counts.sessions.seen += u64::from(experience.requests > 0);
            if let Some(lost) = &mut counts.sessions.lost {
                *lost += u64::from(experience.lost);
            }
            counts.sessions.moved += u64::from(experience.servers.len() > 1);
        });
    }
}

impl Counts {
    /// Milliseconds from when a request was due.
    pub(super) fn latency(&self) -> Percentiles {
        Percentiles::of(&self.latency, MILLI)
    }

    /// Milliseconds that the app servers spent on state, if they said so.
    pub(super) fn state(&self) -> Option<Percentiles> {
        (!self.state.is_empty()).then(|| Percentiles::of(&self.state, MILLI))
    }

    /// Milliseconds by which the load generator was late.
    pub(super) fn lateness(&self) -> Percentiles {
        Percentiles::of(&self.lateness, MILLI)
    }

    /// Bytes of a request on average.
    pub(super) fn request_bytes(&self) -> Option<f64> {
        let is_known = self.requests > 0 && self.sent_bytes > 0;
        is_known.then(|| self.sent_bytes as f64 / self.requests as f64)
    }

    /// From `event` until the last trouble that it may have caused; zero if it caused none.
    pub(super) fn recovery(&self, event: Duration) -> Duration {
        let last = self.troubles.iter().max().copied().unwrap_or_default();
        last.saturating_sub(event)
    }
}

#[expect(clippy::expect_used, reason = "three digits are a precision that there is")]
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("1 to 5 digits")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        let record = Record::new(ms(100), ms(1000));
        assert!(!record.measures(ms(99)) && record.measures(ms(100)) && !record.measures(ms(1000)));
        let (due, late, done) = (ms(200), ms(5), ms(260));
        record.answered(Answered { due, late, done, bytes: 300, state: Some(ms(2)) });
        record.with(|counts| {
            assert!((counts.latency().p50 - 60.0).abs() < 0.1);
            assert!((counts.lateness().p50 - 5.0).abs() < 0.1);
            assert!((counts.state().unwrap().p50 - 2.0).abs() < 0.1);
            assert_eq!(counts.request_bytes(), Some(300.0));
        });
        record.end(ms(500));
        assert!(!record.measures(ms(600)));
    }

    #[test]
    fn a_session_is_lost_and_moved_once_however_often_it_is() {
        let record = Record::new(ms(0), ms(1000));
        let servers = ["app-1", "app-2"].map(str::to_owned).into();
        record.ended(&Experience { requests: 3, lost: true, servers });
        record.ended(&Experience::default());
        record.failed("503", true, ms(700));
        record.with(|counts| {
            assert_eq!(counts.sessions, Sessions { seen: 1, lost: Some(1), moved: 1 });
            assert_eq!((counts.requests_lost, counts.errors["503"]), (1, 1));
            assert_eq!(counts.recovery(ms(400)), ms(300));
            assert_eq!(counts.recovery(ms(900)), ms(0));
        });
    }
}
