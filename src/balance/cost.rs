//! What stickiness costs, next to even distribution.
//!
//! Affinity sends a session where it lives, not where there is time. To say what that costs, every
//! request is also placed in the **even-distribution shadow**: by the pool's balancer, with no
//! affinity, on counts of its own, and it ends there when the real one ends. Two histories of the
//! same arrivals follow, one real and one even, and their difference is the cost.
//!
//! [`Meter::read`] takes a [`Reading`] of every backend, once a second; [`Meter::figures`] gives
//! the [`Figures`] of the last ten seconds, minute or five minutes. For a backend `b` with actual
//! load `a(b)` in the window, and fair share `f(b)` of the pool's load by weight, over the time
//! that it took part, let `x(b) = a(b) / f(b)`. Then
//!
//! * **peak to mean** is the largest `x(b)`. Even is 1. It is dimensionless, and given for requests
//!   (started), in-flight time (seconds that requests spent there), and sessions (bound, averaged
//!   over time). A backend that was there for less than a tenth of the others' time is left out.
//! * **headroom cost** is the peak to mean of in-flight time over that of the shadow, minus 1: the
//!   extra capacity that the busiest backend must have because of stickiness. 0.34 is "34 % more".
//! * **forced share** is the share of requests that went where affinity said while the shadow went
//!   elsewhere. With `n` equal backends and a balancer that draws, chance alone makes that
//!   `(n - 1) / n` of the bound requests: it says how often affinity decided, not that it hurt.
//! * **Jain's index** is `sum(x)^2 / (n sum(x^2))`: 1 is even, `1/n` all at one backend (Jain, Chiu
//!   and Hawe 1984). The **variation** is the standard deviation of `x` over its mean.
//! * **blast radius** is the number of sessions, and their share, that are lost if the backend with
//!   the most of them dies now.
//! * **moves** are sessions that got another home in the window, by reason, each counted once.
//!
//! What is not known is `None`: a pool without requests has no peak, not an even one.
//!
//! What none of it claims: that requests would take as long in the even world as they did in the
//! real one. The shadow ends a request when the real one ends, so a backend that is slow because it
//! has too much to do makes the shadow's in-flight time longer, too, and the cost is rather
//! underestimated. In-flight time counts when a request ends: one that lasts longer than the window
//! brings all of its time at once. Tunnels, which last as long as their ends like, bring none. Nor
//! that an app without sessions in its memory costs nothing: what a session store costs is
//! measured by `stickler bench`.

mod book;
mod imbalance;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

pub use self::book::Book;
pub use self::imbalance::Imbalance;
use super::{BackendId, Reason, Timestamp};

/// How often a meter wants to be read.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The time that figures are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// Ten seconds.
    Short,
    /// A minute: the one to tell where there is room for one.
    #[default]
    Medium,
    /// Five minutes.
    Long,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Window; 3] = [Window::Short, Window::Medium, Window::Long];

    /// How long it is.
    pub const fn duration(self) -> Duration {
        match self {
            Window::Short => Duration::from_secs(10),
            Window::Medium => Duration::from_secs(60),
            Window::Long => Duration::from_secs(300),
        }
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Window::Short => "10s",
            Window::Medium => "1m",
            Window::Long => "5m",
        }
    }

    /// How often what is about it is written down: a twentieth of it or more often.
    pub const fn step(self) -> Duration {
        match self {
            Window::Short => INTERVAL,
            Window::Medium => Duration::from_secs(3),
            Window::Long => Duration::from_secs(15),
        }
    }
}

/// Sessions that have moved, by [`Reason::index`].
pub type Moves = [u64; Reason::ALL.len()];

/// What a pool has done so far, and how it is now.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Of every member.
    pub members: Vec<Reading>,
    /// Sessions that have moved since the beginning.
    pub moves: Moves,
}

impl From<Vec<Reading>> for Readings {
    fn from(members: Vec<Reading>) -> Self {
        Readings { members, ..Readings::default() }
    }
}

/// What a backend has done so far, in counts that only grow, and how it is now.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Which one.
    pub id: BackendId,
    /// Its effective weight, in any unit; 0 if it takes no part.
    pub weight: u32,
    /// Does it take new sessions, so that the even world has it?
    pub takes_new: bool,
    /// Work that it really got.
    pub real: Work,
    /// Work that it got in the even world.
    pub even: Work,
    /// Requests that affinity sent here and the shadow elsewhere.
    pub forced: u64,
    /// Sessions bound here now.
    pub sessions: u32,
}

/// Work, counted since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Requests started.
    pub requests: u64,
    /// Nanoseconds that requests which have ended were in flight, all together.
    pub busy: u64,
}

/// The cost of stickiness in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// How much of the window there has been: less than its duration after a start.
    pub elapsed: Duration,
    /// Requests started in it.
    pub count: u64,
    /// Of requests.
    pub requests: Imbalance,
    /// Of in-flight time.
    pub busy: Imbalance,
    /// Of bound sessions.
    pub sessions: Imbalance,
    /// Of requests in the even world.
    pub even_requests: Imbalance,
    /// Of in-flight time in the even world.
    pub even_busy: Imbalance,
    /// Share of the requests that affinity sent elsewhere than the shadow went, if there was any.
    pub forced_share: Option<f64>,
    /// What dies with the backend that has the most sessions.
    pub blast_radius: BlastRadius,
    /// Sessions that moved in it.
    pub moves: Moves,
    /// Each backend's part.
    pub backends: Vec<Part>,
}

/// One backend's part of the load in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Which one.
    pub id: BackendId,
    /// Requests over its fair share of them; `None` if it was not there for long enough.
    pub requests: Option<f64>,
    /// In-flight time over its fair share of it.
    pub busy: Option<f64>,
    /// Sessions over its fair share of them.
    pub sessions: Option<f64>,
    /// In-flight time over its fair share in the even world.
    pub even_busy: Option<f64>,
    /// Its share of all in-flight time, 0 to 1; `None` if there was none.
    pub busy_share: Option<f64>,
    /// The same in the even world.
    pub even_busy_share: Option<f64>,
}

/// What is lost with one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlastRadius {
    /// The backend with the most sessions, if there is a session.
    pub backend: Option<BackendId>,
    /// Its sessions.
    pub sessions: u32,
    /// Their share of all sessions.
    pub share: f64,
}

impl Figures {
    /// The extra capacity that the busiest backend must have because of stickiness: 0.34 is 34 %.
    /// Below zero if, by chance, the even world was less even. `None` without requests that ended.
    pub fn headroom_cost(&self) -> Option<f64> {
        let (real, even) = (self.busy.peak_to_mean?, self.even_busy.peak_to_mean?);
        Some(real / even - 1.0)
    }

    /// Are there enough requests for the figures to mean something, 30 a backend?
    pub fn is_meaningful(&self) -> bool {
        self.count >= 30 * self.backends.len() as u64
    }
}

/// What a backend has done and should have done, since the beginning of the meter.
#[derive(Clone, Copy, Debug)]
struct Account {
    id: BackendId,
    real: Work,
    even: Work,
    forced: u64,
    /// Sessions times seconds.
    sessions: f64,
    /// Its fair shares of: requests, nanoseconds, sessions times seconds.
    fair: [f64; 3],
    /// In the even world: of requests, nanoseconds.
    even_fair: [f64; 2],
}

/// All accounts at one time.
#[derive(Clone, Debug, Default)]
struct Page {
    /// In the order of their ids.
    accounts: Vec<Account>,
    moves: Moves,
}

impl Page {
    fn account(&self, id: BackendId) -> Option<&Account> {
        position(&self.accounts, id).ok().map(|i| &self.accounts[i])
    }
}

fn position(accounts: &[Account], id: BackendId) -> Result<usize, usize> {
    accounts.binary_search_by_key(&id, |account| account.id)
}

/// Windows of readings of one pool.
#[derive(Debug)]
pub struct Meter {
    /// For the short window, and for the others.
    books: [Book<Page>; 2],
    /// The last reading: where counts stood, and who took part since.
    last: Vec<Reading>,
    /// When that was; `None` before the first.
    at: Option<Timestamp>,
    now: Page,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            books: [
                Book::new(INTERVAL, Window::Short.duration()),
                Book::new(INTERVAL * 5, Window::Long.duration()),
            ],
            last: Vec::new(),
            at: None,
            now: Page::default(),
        }
    }
}

impl Meter {
    /// Takes in a reading of every member. The work since the last one is put to everybody's
    /// account, and so are the fair shares of it.
    pub fn read(&mut self, readings: impl Into<Readings>, now: Timestamp) {
        let Readings { members: mut readings, moves } = readings.into();
        readings.sort_unstable_by_key(|reading| reading.id);
        if let Some(before) = self.at.replace(now) {
            self.settle(&readings, now.since(before).as_secs_f64());
        }
        self.now.moves = moves;
        for reading in &readings {
            if let Err(place) = position(&self.now.accounts, reading.id) {
                self.now.accounts.insert(place, Account::new(reading.id));
            }
        }
        self.last = readings;
        for book in &mut self.books {
            book.keep(now, || self.now.clone());
        }
        self.forget();
    }

    fn settle(&mut self, readings: &[Reading], elapsed: f64) {
        let delta = |reading: &Reading| {
            let before = self.last.binary_search_by_key(&reading.id, |last| last.id).ok()?;
            Some(Delta::new(reading, &self.last[before], elapsed))
        };
        // Who has just come takes part from now on.
        let deltas: Vec<Delta> = readings.iter().filter_map(delta).collect();
        let total = Totals::of(&deltas);
        for delta in &deltas {
            if let Ok(i) = position(&self.now.accounts, delta.id) {
                self.now.accounts[i].add(delta, &total);
            }
        }
    }

    /// Closes the accounts of those who left before all windows.
    fn forget(&mut self) {
        let (last, oldest) = (&self.last, self.books[1].oldest());
        self.now.accounts.retain(|account| {
            let is_member = last.binary_search_by_key(&account.id, |reading| reading.id).is_ok();
            let was_the_same = || {
                let old = oldest.and_then(|page| page.account(account.id));
                old.is_some_and(|old| old.equals(account))
            };
            is_member || !was_the_same()
        });
    }

    /// The figures of a window. `None` before the second reading.
    pub fn figures(&self, window: Window) -> Option<Figures> {
        let book = match window {
            Window::Short => &self.books[0],
            Window::Medium | Window::Long => &self.books[1],
        };
        let now = self.at?;
        let (since, start) = book.page_at(now, window.duration())?;
        let elapsed = now.since(since);
        (!elapsed.is_zero()).then(|| self.compare(start, elapsed))
    }

    fn compare(&self, start: &Page, elapsed: Duration) -> Figures {
        let in_window = |account: &Account| account.since(start.account(account.id));
        let spans: Vec<Account> = self.now.accounts.iter().map(in_window).collect();
        let of = |actual: fn(&Account) -> f64, fair: fn(&Account) -> f64| {
            imbalance::ratios(spans.iter().map(|span| (actual(span), fair(span))))
        };
        let requests = of(|a| a.real.requests as f64, |a| a.fair[0]);
        let busy = of(|a| a.real.busy as f64, |a| a.fair[1]);
        let sessions = of(|a| a.sessions, |a| a.fair[2]);
        let even_requests = of(|a| a.even.requests as f64, |a| a.even_fair[0]);
        let even_busy = of(|a| a.even.busy as f64, |a| a.even_fair[1]);
        let imbalance = |ratios: &[Option<f64>]| {
            Imbalance::of(spans.iter().map(|span| span.id).zip(ratios.iter().copied()))
        };
        let count: u64 = spans.iter().map(|span| span.real.requests).sum();
        let forced: u64 = spans.iter().map(|span| span.forced).sum();
        let busy_all: u64 = spans.iter().map(|span| span.real.busy).sum();
        let even_busy_all: u64 = spans.iter().map(|span| span.even.busy).sum();
        let part = |(i, span): (usize, &Account)| Part {
            id: span.id,
            requests: requests[i],
            busy: busy[i],
            sessions: sessions[i],
            even_busy: even_busy[i],
            busy_share: share(span.real.busy, busy_all),
            even_busy_share: share(span.even.busy, even_busy_all),
        };
        Figures {
            elapsed,
            count,
            requests: imbalance(&requests),
            busy: imbalance(&busy),
            sessions: imbalance(&sessions),
            even_requests: imbalance(&even_requests),
            even_busy: imbalance(&even_busy),
            forced_share: share(forced, count),
            blast_radius: BlastRadius::of(&self.last),
            moves: std::array::from_fn(|i| self.now.moves[i].saturating_sub(start.moves[i])),
            backends: spans.iter().enumerate().map(part).collect(),
        }
    }
}

/// `part` of `whole`; unknown of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What happened at a backend between two readings.
struct Delta {
    id: BackendId,
    weight: f64,
    /// 0 if it did not take part in the even world.
    even_weight: f64,
    real: Work,
    even: Work,
    forced: u64,
    sessions: f64,
}

impl Delta {
    fn new(now: &Reading, before: &Reading, elapsed: f64) -> Self {
        let weight = f64::from(now.weight);
        Delta {
            id: now.id,
            weight,
            even_weight: if now.takes_new { weight } else { 0.0 },
            real: now.real.minus(before.real),
            even: now.even.minus(before.even),
            forced: now.forced.saturating_sub(before.forced),
            sessions: f64::from(now.sessions) * elapsed,
        }
    }
}

/// The pool's work between two readings.
#[derive(Default)]
struct Totals {
    weight: f64,
    even_weight: f64,
    real: Work,
    even: Work,
    sessions: f64,
}

impl Totals {
    /// Only of those who take part: a backend without weight has no share that could be fair.
    fn of(deltas: &[Delta]) -> Self {
        deltas.iter().filter(|delta| delta.weight > 0.0).fold(Totals::default(), |sum, delta| {
            Totals {
                weight: sum.weight + delta.weight,
                even_weight: sum.even_weight + delta.even_weight,
                real: sum.real.plus(delta.real),
                even: sum.even.plus(delta.even),
                sessions: sum.sessions + delta.sessions,
            }
        })
    }
}

impl Work {
    fn plus(self, other: Work) -> Work {
        Work { requests: self.requests + other.requests, busy: self.busy + other.busy }
    }

    fn minus(self, other: Work) -> Work {
        Work {
            requests: self.requests.saturating_sub(other.requests),
            busy: self.busy.saturating_sub(other.busy),
        }
    }
}

impl Account {
    fn new(id: BackendId) -> Self {
        Account {
            id,
            real: Work::default(),
            even: Work::default(),
            forced: 0,
            sessions: 0.0,
            fair: [0.0; 3],
            even_fair: [0.0; 2],
        }
    }

    fn add(&mut self, delta: &Delta, total: &Totals) {
        self.real = self.real.plus(delta.real);
        self.even = self.even.plus(delta.even);
        self.forced += delta.forced;
        self.sessions += delta.sessions;
        if delta.weight > 0.0 {
            let share = delta.weight / total.weight;
            self.fair[0] += share * total.real.requests as f64;
            self.fair[1] += share * total.real.busy as f64;
            self.fair[2] += share * total.sessions;
        }
        if delta.even_weight > 0.0 {
            let share = delta.even_weight / total.even_weight;
            self.even_fair[0] += share * total.even.requests as f64;
            self.even_fair[1] += share * total.even.busy as f64;
        }
    }

    fn since(&self, before: Option<&Account>) -> Account {
        let Some(before) = before else { return *self };
        Account {
            id: self.id,
            real: self.real.minus(before.real),
            even: self.even.minus(before.even),
            forced: self.forced.saturating_sub(before.forced),
            sessions: self.sessions - before.sessions,
            fair: std::array::from_fn(|i| self.fair[i] - before.fair[i]),
            even_fair: std::array::from_fn(|i| self.even_fair[i] - before.even_fair[i]),
        }
    }

    fn equals(&self, other: &Account) -> bool {
        self.real == other.real && self.even == other.even && self.fair == other.fair
    }
}

impl BlastRadius {
    fn of(readings: &[Reading]) -> Self {
        let all: u64 = readings.iter().map(|reading| u64::from(reading.sessions)).sum();
        let most = readings.iter().max_by_key(|reading| reading.sessions);
        match most.filter(|reading| reading.sessions > 0) {
            None => BlastRadius::default(),
            Some(most) => BlastRadius {
                backend: Some(most.id),
                sessions: most.sessions,
                share: f64::from(most.sessions) / all as f64,
            },
        }
    }
}
