//! What one worker counts, in memory of its own.
//!
//! There is a [`Meter`] for every worker and backend. A connection to a backend holds its meter, so
//! a request finds it without a look-up, and the counts that it adds to are in this core's cache.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::counter::Counter;
use super::histogram::{Histogram, Recorder};
use crate::balance::unstick::{Arm, CLASSES, Tallied};
use crate::balance::{BackendId, Cause, Reason};
use crate::observe::{End, ProblemKind};

/// Rows of requests: one for each cause, and one for those that were never placed.
pub(super) const CAUSES: usize = Cause::LABELS.len() + 1;

/// Where the groups of counts begin.
const PROBLEMS: usize = CAUSES * CLASSES;
const REROUTED: usize = PROBLEMS + ProblemKind::ALL.len();
const ENDS: usize = REROUTED + 2 * Reason::ALL.len();
const SINGLE: usize = ENDS + End::ALL.len();
const COUNTS: usize = SINGLE + Tally::COUNT;

/// Counts that stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Requests that are being served: what has begun and not ended.
    Open,
    /// Connections made.
    Opened,
    /// Requests that found a connection in the cache.
    Reused,
    /// Connections that could not be made.
    ConnectFailures,
    /// Requests that were sent elsewhere, or once more, after this backend had failed them.
    Retries,
    /// Bytes from the backend, heads included.
    Received,
    /// Bytes to the backend, heads included.
    Sent,
    /// Requests whose session the app did not know, as it said.
    Unknown,
}

impl Tally {
    const COUNT: usize = Tally::Unknown as usize + 1;
}

/// The position of requests that were placed for this cause and got this status.
fn requests(cause: Option<Cause>, status: u16) -> usize {
    let row = cause.map_or(CAUSES - 1, Cause::index);
    row * CLASSES + class(status)
}

fn class(status: u16) -> usize {
    usize::from(status / 100).min(CLASSES - 1)
}

/// The position of detours and moves for a reason.
fn rerouted(is_move: bool, reason: Reason) -> usize {
    REROUTED + usize::from(is_move) * Reason::ALL.len() + reason.index()
}

/// Whose requests are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The pool; `None` for requests that no route led anywhere.
    pub(crate) pool: Option<Arc<str>>,
    /// The backend; `None` for requests that none got.
    pub(crate) backend: Option<(BackendId, Arc<str>)>,
}

/// What one worker counts about one backend, or about requests that no backend got. Aligned so that
/// no other core writes to its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Meter {
    pub(crate) subject: Subject,
    counts: [Counter; COUNTS],
    head: Recorder,
    whole: Recorder,
    /// By [`Arm::index`], from the first request of an experiment on.
    arms: OnceLock<Box<[ArmMeter; 2]>>,
}

/// What one worker counts of one arm of the unstick experiment.
#[derive(Debug, Default)]
struct ArmMeter {
    classes: [Counter; CLASSES],
    unknown: Counter,
    whole: Recorder,
}

/// A request that has ended, as it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// Why it went where it went, if it went anywhere.
    pub(crate) cause: Option<Cause>,
    /// Its status; 0 if it got none.
    pub(crate) status: u16,
    pub(crate) end: End,
    /// Why the answer was one of ours, if it was.
    pub(crate) problem: Option<ProblemKind>,
    /// From its head to its end, in nanoseconds; `None` for what was no exchange but a tunnel.
    pub(crate) nanos: Option<u64>,
    /// The arm of the unstick experiment that it is counted in, if there is one.
    pub(crate) arm: Option<Arm>,
    /// The app did not know its session.
    pub(crate) is_unknown: bool,
}

impl Meter {
    pub(super) fn new(subject: Subject) -> Arc<Self> {
        Arc::new(Meter {
            subject,
            counts: std::array::from_fn(|_| Counter::default()),
            head: Recorder::default(),
            whole: Recorder::default(),
            arms: OnceLock::new(),
        })
    }

    /// The name of the pool.
    pub(crate) fn pool_name(&self) -> Option<&str> {
        self.subject.pool.as_deref()
    }

    /// The name of the backend.
    pub(crate) fn backend_name(&self) -> Option<&str> {
        self.subject.backend.as_ref().map(|(_, name)| &**name)
    }

    /// Counts `n` more of a kind.
    #[inline]
    pub(crate) fn add(&self, tally: Tally, n: u64) {
        self.counts[SINGLE + tally as usize].add(n);
    }

    /// A request is no longer served here.
    #[inline]
    pub(crate) fn leave(&self) {
        self.counts[SINGLE + Tally::Open as usize].take_back();
    }

    /// The head of an answer has come after so many nanoseconds.
    #[inline]
    pub(crate) fn answered(&self, nanos: u64) {
        self.head.observe(nanos);
    }

    /// Counts a request that has ended.
    #[inline]
    pub(crate) fn end(&self, ended: &Ended) {
        self.counts[requests(ended.cause, ended.status)].add(1);
        if let Some(nanos) = ended.nanos {
            self.whole.observe(nanos);
        }
        if let Some(reason) = ended.cause.and_then(Cause::reason) {
            let is_move = matches!(ended.cause, Some(Cause::Moved { .. }));
            self.counts[rerouted(is_move, reason)].add(1);
        }
        if let Some(problem) = ended.problem {
            self.counts[PROBLEMS + problem.index()].add(1);
        }
        if ended.end != End::Complete {
            self.counts[ENDS + ended.end.index()].add(1);
        }
        if let Some(arm) = ended.arm {
            self.end_in(arm, ended);
        }
    }

    /// Counts it in its arm, too.
    #[cold]
    fn end_in(&self, arm: Arm, ended: &Ended) {
        let meter = &self.arms.get_or_init(Box::default)[arm.index()];
        meter.classes[class(ended.status)].add(1);
        meter.unknown.add(u64::from(ended.is_unknown));
        if let Some(nanos) = ended.nanos {
            meter.whole.observe(nanos);
        }
    }
}

/// What was counted about a backend, or about requests that no backend got, by all workers.
#[derive(Clone, Debug)]
pub struct Counts {
    counts: [u64; COUNTS],
    /// How long it took from sending a request to the head of the answer.
    pub head: Histogram,
    /// How long whole requests took.
    pub whole: Histogram,
    /// By [`Arm::index`], if there was an experiment.
    pub arms: Option<Box<[ArmCounts; 2]>>,
}

/// What was counted of one arm of the unstick experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmCounts {
    /// Requests that have ended, by class of status; 0 is for those without one.
    pub classes: [u64; CLASSES],
    /// Those whose session the app did not know.
    pub unknown: u64,
    /// How long they took.
    pub whole: Histogram,
}

impl ArmCounts {
    fn add(&mut self, meter: &ArmMeter) {
        self.classes.iter_mut().zip(&meter.classes).for_each(|(sum, part)| *sum += part.get());
        self.unknown += meter.unknown.get();
        self.whole.add(&meter.whole);
    }

    /// Adds others.
    pub fn merge(&mut self, other: &ArmCounts) {
        self.classes.iter_mut().zip(&other.classes).for_each(|(sum, part)| *sum += part);
        self.unknown += other.unknown;
        self.whole.merge(&other.whole);
    }

    /// What has come since `earlier`. All of it if counting began anew meanwhile.
    pub fn since(&self, earlier: &ArmCounts) -> ArmCounts {
        let total = |counts: &ArmCounts| counts.classes.iter().sum::<u64>();
        if total(self) < total(earlier) {
            return self.clone();
        }
        ArmCounts {
            classes: std::array::from_fn(|i| self.classes[i].saturating_sub(earlier.classes[i])),
            unknown: self.unknown.saturating_sub(earlier.unknown),
            whole: self.whole.since(&earlier.whole),
        }
    }

    /// What there is to compare.
    pub fn tallied(&self) -> Tallied {
        let ArmCounts { classes, unknown, whole } = self;
        Tallied { classes: *classes, unknown: *unknown, durations: whole.buckets().to_vec() }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            counts: [0; COUNTS],
            head: Histogram::default(),
            whole: Histogram::default(),
            arms: None,
        }
    }
}

impl Counts {
    pub(super) fn add(&mut self, meter: &Meter) {
        for (sum, part) in self.counts.iter_mut().zip(&meter.counts) {
            *sum = sum.wrapping_add(part.get());
        }
        self.head.add(&meter.head);
        self.whole.add(&meter.whole);
        if let Some(arms) = meter.arms.get() {
            let sums = self.arms.get_or_insert_default();
            sums.iter_mut().zip(arms.iter()).for_each(|(sum, arm)| sum.add(arm));
        }
    }

    /// What has come since `earlier`. All of it if counting began anew meanwhile.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let mut counts = self.counts;
        if self.total() >= earlier.total() {
            for (left, before) in counts.iter_mut().zip(&earlier.counts) {
                *left = left.saturating_sub(*before);
            }
        }
        Counts {
            counts,
            head: self.head.since(&earlier.head),
            whole: self.whole.since(&earlier.whole),
            arms: None, // they have a beginning of their own
        }
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Counts) {
        for (sum, part) in self.counts.iter_mut().zip(&other.counts) {
            *sum = sum.wrapping_add(*part);
        }
        self.head.merge(&other.head);
        self.whole.merge(&other.whole);
    }

    /// Requests that have ended.
    pub fn total(&self) -> u64 {
        self.counts[..PROBLEMS].iter().sum()
    }

    /// Requests that have ended, by cause (`None`: never placed) and class of status (0: none).
    pub fn requests(&self) -> impl Iterator<Item = (Option<&'static str>, usize, u64)> {
        self.counts[..PROBLEMS]
            .iter()
            .enumerate()
            .map(|(i, &count)| (Cause::LABELS.get(i / CLASSES).copied(), i % CLASSES, count))
    }

    /// Requests whose status is of this class: 1 to 5, or 0 for those that got none.
    pub fn of_class(&self, class: usize) -> u64 {
        self.counts[..PROBLEMS].iter().skip(class).step_by(CLASSES).sum()
    }

    /// Requests that went where they went for this cause.
    pub fn of_cause(&self, cause: &str) -> u64 {
        self.requests().filter(|(of, ..)| *of == Some(cause)).map(|(.., count)| count).sum()
    }

    /// Answers of ours for this reason.
    pub fn problems(&self, kind: ProblemKind) -> u64 {
        self.counts[PROBLEMS + kind.index()]
    }

    /// Sessions that moved here for this reason.
    pub fn moved(&self, reason: Reason) -> u64 {
        self.counts[rerouted(true, reason)]
    }

    /// Requests that were served here, away from home, for this reason.
    pub fn detoured(&self, reason: Reason) -> u64 {
        self.counts[rerouted(false, reason)]
    }

    /// Requests that ended so; those that ended well are not counted.
    pub fn ends(&self, end: End) -> u64 {
        self.counts[ENDS + end.index()]
    }

    /// One of the counts that stand alone.
    pub fn get(&self, tally: Tally) -> u64 {
        self.counts[SINGLE + tally as usize]
    }
}

/// What one worker counts about one listener.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ListenerMeter {
    pub(super) address: SocketAddr,
    /// How many connections it takes at once.
    pub(super) max: u64,
    pub(super) accepted: Counter,
    pub(super) closed: Counter,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl ListenerMeter {
    pub(super) fn new(address: SocketAddr, max: u64) -> Arc<Self> {
        Arc::new(ListenerMeter {
            address,
            max,
            accepted: Counter::default(),
            closed: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
        })
    }

    /// A connection was accepted.
    pub(crate) fn accept(&self) {
        self.accepted.add(1);
    }

    /// A connection has ended.
    pub(crate) fn close(&self) {
        self.closed.add(1);
    }

    /// So many bytes came from a client.
    #[inline]
    pub(crate) fn receive(&self, bytes: usize) {
        self.received.add(bytes as u64);
    }

    /// So many bytes went to a client.
    #[inline]
    pub(crate) fn send(&self, bytes: usize) {
        self.sent.add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_a_place_of_its_own() {
        let meter = Meter::new(Subject { pool: None, backend: None });
        let from = BackendId::new("p", "b");
        let moved = Cause::Moved { from, reason: Reason::Down };
        let ended = |cause, status| Ended { cause, status, nanos: Some(1), ..Ended::default() };
        meter.end(&ended(Some(moved), 200));
        meter.end(&ended(Some(Cause::Detoured(Reason::Full)), 204));
        meter.end(&Ended { end: End::ClientLeft, ..ended(Some(Cause::Bound), 0) });
        let kind = ProblemKind::GatewayTimeout;
        meter.end(&Ended { problem: Some(kind), nanos: None, ..ended(None, 504) });
        meter.end(&ended(None, 999));
        meter.add(Tally::Sent, 5);
        meter.add(Tally::Open, 1);
        meter.leave();
        let mut counts = Counts::default();
        counts.add(&meter);
        assert_eq!((counts.total(), counts.whole.count()), (5, 4));
        let by_class: Vec<_> = (0..CLASSES).map(|class| counts.of_class(class)).collect();
        assert_eq!(by_class, [1, 0, 2, 0, 0, 2]);
        assert_eq!((counts.of_cause("moved"), counts.of_cause("bound")), (1, 1));
        assert_eq!((counts.moved(Reason::Down), counts.detoured(Reason::Full)), (1, 1));
        assert_eq!((counts.problems(kind), counts.ends(End::ClientLeft)), (1, 1));
        assert_eq!((counts.get(Tally::Sent), counts.get(Tally::Open)), (5, 0));
        assert_eq!(counts.counts.iter().filter(|&&count| count > 0).count(), 9);
        let all = counts.clone();
        assert_eq!(counts.arms, None, "there is no experiment");
        counts.add(&meter);
        assert_eq!(counts.since(&all).total(), 5);
        assert_eq!(all.since(&counts).total(), 5, "counting began anew");
    }
}
