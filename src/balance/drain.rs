//! Emptying a backend: who leaves when, how far it is, and how it ended.
//!
//! `ready -> draining -> drained`. New sessions stop at once; the bound ones leave
//!
//! 1. by themselves: they idle out, end, or are released;
//! 2. when they have paused for [`move_idle_after`](DrainPolicy::move_idle_after): at their next
//!    request, which is when it hurts least;
//! 3. from the [`deadline`](DrainPolicy::deadline) on all of them: at their next request, or, if
//!    they have not come for [`GRACE`], by being taken off the books, since who never comes back
//!    must not hold up a drain. Both at [`moves_per_second`](DrainPolicy::moves_per_second)
//!    together. Who was taken off and comes back after all moves then.
//!
//! Requests in flight are never cut. Tunnels are closed from the deadline on, at the same pace.
//! When sessions, requests and tunnels are all zero the backend is drained.
//!
//! A backend that does not drain knows nothing of this, and its requests do not look.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::affinity::Ledger;
use super::pace::Pace;
use super::{BackendId, Reason, SessionId, Timestamp};

/// After the deadline a session that has not come for so long is no longer waited for.
pub const GRACE: Duration = Duration::from_secs(5);

/// How fast sessions leave is looked at over so long.
const WINDOW: Duration = Duration::from_secs(60);

/// How often that is noted.
const SAMPLE: Duration = Duration::from_secs(1);

/// How a drain treats the sessions that are still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainPolicy {
    /// From so long after the beginning on all sessions move. Without it they have all the time
    /// that they want.
    pub deadline: Option<Duration>,
    /// A session that has paused for so long moves at its next request. Without it none does
    /// before the deadline.
    pub move_idle_after: Option<Duration>,
    /// How many sessions move after the deadline, and how many tunnels are closed, a second.
    /// Without it all at once.
    pub moves_per_second: Option<NonZeroU32>,
}

impl DrainPolicy {
    /// This, and where it says nothing the other.
    pub fn or(self, other: DrainPolicy) -> DrainPolicy {
        DrainPolicy {
            deadline: self.deadline.or(other.deadline),
            move_idle_after: self.move_idle_after.or(other.move_idle_after),
            moves_per_second: self.moves_per_second.or(other.moves_per_second),
        }
    }
}

/// How far a drain is; when it has ended, how it went.
///
/// `sessions_at_start + joined == sessions + left + moved + cut`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainProgress {
    /// What holds for those who are still there.
    pub policy: DrainPolicy,
    /// When it began.
    pub since: Timestamp,
    /// From when on everybody moves.
    pub deadline: Option<Timestamp>,
    /// Sessions bound when it began.
    pub sessions_at_start: u64,
    /// Sessions that turned up since: bound earlier, and not known to this proxy until then.
    pub joined: u64,
    /// Bound sessions left.
    pub sessions: u32,
    /// Requests in flight, tunnels not among them.
    pub in_flight: u32,
    /// Tunnels left.
    pub tunnels: u32,
    /// Sessions that left by themselves: idle, over, or released.
    pub left: u64,
    /// Sessions that moved to another backend.
    pub moved: u64,
    /// The same by [`Reason::index`].
    pub moved_by_reason: [u64; Reason::ALL.len()],
    /// Sessions that had not come back after the deadline and were no longer waited for.
    pub cut: u64,
    /// Tunnels that were closed.
    pub tunnels_closed: u64,
    /// When it will be over, as far as can be said: from how fast sessions have left lately, the
    /// idle timeout, and the policy.
    pub estimated_end: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// It was over because the backend was made ready again, not because it was empty.
    pub was_cancelled: bool,
}

/// Why a backend is not taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool has no such backend.
    UnknownBackend,
    /// No other backend is ready. Force overrides that.
    LastReady,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::UnknownBackend => "the pool has no such backend",
            Refused::LastReady => "no other backend of the pool is ready",
        })
    }
}

impl std::error::Error for Refused {}

/// How a session stopped being a backend's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Departure {
    /// It was over, released, or is another backend's by its own token.
    Left,
    /// It was moved.
    Moved(Reason),
    /// Nobody waited for it any longer.
    Cut,
}

/// One drain of one backend. Another policy makes another one of it, with the same counts.
#[derive(Debug)]
pub(super) struct Drain {
    policy: DrainPolicy,
    since: Timestamp,
    deadline: Option<Timestamp>,
    /// Not over before that: after a restart sessions that nobody knows of may still come.
    patience: Timestamp,
    moves: Pace,
    closings: Pace,
    counts: Arc<Counts>,
    control: Mutex<Control>,
}

/// Written whenever a session comes or goes.
#[derive(Debug, Default)]
struct Counts {
    joined: AtomicU64,
    left: AtomicU64,
    moved: [AtomicU64; Reason::ALL.len()],
    cut: AtomicU64,
    tunnels_closed: AtomicU64,
    /// How many had gone by when; at most [`WINDOW`] of it. For those who ask for progress.
    samples: Mutex<VecDeque<(Timestamp, u64)>>,
    /// How it went, once it is over: what the backend does after that is another story.
    report: OnceLock<DrainProgress>,
}

/// What only the ticking of time needs.
#[derive(Debug, Default)]
struct Control {
    /// Sessions to look at after the deadline, those that have been away longest first.
    overdue: VecDeque<SessionId>,
    /// When to look for more.
    next_look: Timestamp,
}

/// What is left at a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) sessions: u32,
    pub(super) in_flight: u32,
    pub(super) tunnels: u32,
}

impl Counts {
    fn samples(&self) -> MutexGuard<'_, VecDeque<(Timestamp, u64)>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drain {
    pub(super) fn new(policy: DrainPolicy, since: Timestamp, patience: Timestamp) -> Self {
        Drain::with(policy, since, patience, Arc::default())
    }

    fn with(
        policy: DrainPolicy,
        since: Timestamp,
        patience: Timestamp,
        counts: Arc<Counts>,
    ) -> Self {
        let deadline = policy.deadline.map(|deadline| since + deadline);
        let start = deadline.unwrap_or(since);
        Drain {
            policy,
            since,
            deadline,
            patience,
            moves: Pace::from(start),
            closings: Pace::from(start),
            counts,
            control: Mutex::default(),
        }
    }

    /// The same drain, with another policy whose deadline counts from `now`.
    pub(super) fn under(&self, policy: DrainPolicy, now: Timestamp) -> Self {
        let mut drain = Drain::with(policy, now, self.patience, self.counts.clone());
        drain.since = self.since;
        drain
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Should a session that was last seen here then leave with its present request?
    pub(super) fn wants_to_move(&self, now: Timestamp, seen: impl FnOnce() -> Seen) -> bool {
        self.is_overdue(now)
            || self.policy.move_idle_after.is_some_and(|pause| {
                let last = seen().at_the_latest(self.since);
                now.since(last) >= pause
            })
    }

    /// May one more session leave now? It counts if the answer is yes.
    pub(super) fn may_move(&self, now: Timestamp) -> bool {
        !self.is_overdue(now) || self.paces(&self.moves, now)
    }

    fn paces(&self, pace: &Pace, now: Timestamp) -> bool {
        self.policy.moves_per_second.is_none_or(|rate| pace.take(rate, now))
    }

    /// May one more tunnel be closed now? It counts if the answer is yes.
    pub(super) fn may_close_tunnel(&self, now: Timestamp) -> bool {
        let may = self.is_overdue(now) && self.paces(&self.closings, now);
        if may {
            self.counts.tunnels_closed.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    pub(super) fn count_join(&self) {
        self.counts.joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, departure: Departure) {
        let count = match departure {
            Departure::Left => &self.counts.left,
            Departure::Moved(reason) => &self.counts.moved[reason.index()],
            Departure::Cut => &self.counts.cut,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// It is over, if it was not already. `was_cancelled`: the backend is made ready again.
    pub(super) fn end(&self, left: Left, now: Timestamp, was_cancelled: bool) {
        let report = DrainProgress {
            estimated_end: None,
            ended: Some(now),
            was_cancelled,
            ..self.progress(left, Duration::ZERO, now)
        };
        let _ = self.counts.report.set(report); // who was first is right
    }

    /// Does it go on?
    pub(super) fn is_open(&self) -> bool {
        self.counts.report.get().is_none()
    }

    /// Is it over, when so much is left?
    pub(super) fn is_over(&self, left: Left, now: Timestamp) -> bool {
        let is_empty = left.sessions == 0 && left.in_flight == 0;
        is_empty && (now >= self.patience || self.is_overdue(now) || now < self.since)
    }

    /// Takes the sessions off the books that are no longer waited for, as many as the pace allows,
    /// those that have been away longest first.
    pub(super) fn let_go(&self, home: BackendId, ledger: &Ledger, now: Timestamp) {
        let Some(deadline) = self.deadline else { return };
        let grace = GRACE.as_nanos() as u64;
        let horizon = Timestamp::from_nanos(now.as_nanos().saturating_sub(grace));
        if horizon < deadline {
            return;
        }
        let mut control = self.control();
        if control.overdue.is_empty() && now >= control.next_look {
            control.overdue = ledger.away_from(home, horizon).into();
            control.next_look = now + GRACE;
        }
        while let Some(&session) = control.overdue.front() {
            let is_away = ledger.is_away_from(session, home, horizon);
            if is_away && !self.may_move(now) {
                return;
            }
            control.overdue.pop_front();
            if is_away {
                ledger.cut(session, home);
            }
        }
    }

    fn gone(&self) -> u64 {
        let counts = &self.counts;
        let sum = |count: &AtomicU64| count.load(Ordering::Relaxed);
        sum(&counts.left) + sum(&counts.cut) + counts.moved.iter().map(sum).sum::<u64>()
    }

    /// Notes how many have gone by now. To be called now and then.
    pub(super) fn sample(&self, now: Timestamp) {
        let gone = self.gone();
        let mut samples = self.counts.samples();
        if samples.back().is_some_and(|&(last, _)| last > now) {
            samples.clear(); // the clock has stepped back
        }
        if samples.back().is_none_or(|&(last, _)| now.since(last) >= SAMPLE) {
            samples.push_back((now, gone));
        }
        while samples.front().is_some_and(|&(first, _)| now.since(first) > WINDOW) {
            samples.pop_front();
        }
    }

    /// Sessions that have gone a second, lately.
    fn rate(&self, now: Timestamp) -> f64 {
        let Some(&(since, gone)) = self.counts.samples().front() else { return 0.0 };
        let seconds = now.since(since).as_secs_f64();
        if seconds > 0.0 { self.gone().saturating_sub(gone) as f64 / seconds } else { 0.0 }
    }

    fn estimated_end(
        &self,
        left: Left,
        idle_timeout: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let rate = self.rate(now);
        let sessions = f64::from(left.sessions);
        // By themselves, if it goes on like this; if none has left yet, they may all be asleep.
        let alone = match left.sessions {
            0 => Some(Duration::ZERO),
            _ if rate > 0.0 => Some(seconds(sessions / rate)),
            _ => Some((self.since + idle_timeout).since(now)).filter(|rest| !rest.is_zero()),
        };
        let by_sessions = match (alone, self.deadline) {
            (alone, None) => alone,
            (alone, Some(deadline)) => {
                let until = deadline.since(now);
                let rest = (sessions - rate * until.as_secs_f64()).max(0.0);
                let pace = self.policy.moves_per_second.map_or(0.0, |n| rest / f64::from(n.get()));
                // Those who come move at once; some will not come.
                let grace = if rest > 0.0 { (deadline + GRACE).since(now) } else { Duration::ZERO };
                let forced = grace.max(until + seconds(pace));
                Some(alone.map_or(forced, |alone| alone.min(forced)))
            }
        };
        let by_tunnels = match (left.tunnels, self.deadline) {
            (0, _) => Some(Duration::ZERO),
            (_, None) => None,
            (tunnels, Some(deadline)) => {
                let pace = self
                    .policy
                    .moves_per_second
                    .map_or(0.0, |n| f64::from(tunnels) / f64::from(n.get()));
                Some(deadline.since(now) + seconds(pace))
            }
        };
        let unknown = self.deadline.map_or(self.patience, |end| self.patience.min(end));
        Some((now + by_sessions?.max(by_tunnels?)).max(unknown))
    }

    pub(super) fn progress(
        &self,
        left: Left,
        idle_timeout: Duration,
        now: Timestamp,
    ) -> DrainProgress {
        let counts = &self.counts;
        if let Some(report) = counts.report.get() {
            return report.clone();
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let moved_by_reason: [u64; Reason::ALL.len()] =
            std::array::from_fn(|reason| count(&counts.moved[reason]));
        let joined = count(&counts.joined);
        DrainProgress {
            policy: self.policy,
            since: self.since,
            deadline: self.deadline,
            sessions_at_start: (u64::from(left.sessions) + self.gone()).saturating_sub(joined),
            joined,
            sessions: left.sessions,
            in_flight: left.in_flight.saturating_sub(left.tunnels),
            tunnels: left.tunnels,
            left: count(&counts.left),
            moved: moved_by_reason.iter().sum(),
            moved_by_reason,
            cut: count(&counts.cut),
            tunnels_closed: count(&counts.tunnels_closed),
            estimated_end: self.estimated_end(left, idle_timeout, now),
            ended: None,
            was_cancelled: false,
        }
    }
}

/// When a session was seen last, as well as anybody knows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// The ledger says then, or a little later: it keeps times to a grain.
    Here { at: Timestamp, grain: Duration },
    /// It is not in the ledger. Its token was renewed then, and would have been again after that.
    Elsewhere { refreshed: Timestamp, interval: Duration },
}

impl Seen {
    /// The latest time that it can have been, when sights since `exact_since` are exact.
    pub(super) fn at_the_latest(self, exact_since: Timestamp) -> Timestamp {
        match self {
            Seen::Here { at, .. } if at >= exact_since => at,
            Seen::Here { at, grain } => (at + grain).min(exact_since),
            Seen::Elsewhere { refreshed, interval } => refreshed + interval,
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
