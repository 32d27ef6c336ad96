//! What a run comes to: where requests and sessions went, and what was lost on the way.

use std::fmt::Write as _;
use std::time::Duration;

use super::board::render::{align_right, millis, percent, plain_table};
use super::board::{fair_shares, requests, share};
use super::journal::{Ending, Journal};
use crate::balance::{Pool, Reason};

/// The figures of a whole run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How long it was.
    pub length: Duration,
    /// One for each backend, in the order of the configuration.
    pub rows: Vec<Row>,
    /// Sessions that got another home, by reason; only what happened.
    pub moves: Vec<(Reason, u64)>,
    /// Sessions that the app servers let go.
    pub released: u64,
    /// Tokens that were not honoured, by reason; only what happened.
    pub refused: Vec<(Reason, u64)>,
    /// Requests that could not be placed.
    pub unavailable: u64,
    /// What the browsers saw.
    pub journal: Journal,
}

/// The figures of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Sessions of which it answered at least one request, as the browsers saw.
    pub sessions: u64,
    /// Requests placed on it.
    pub requests: u64,
    /// Its share of them (0 to 1).
    pub share: f64,
    /// The share that its weight entitles it to (0 to 1).
    pub fair_share: f64,
}

impl Summary {
    /// Sums up a run of this `length`.
    pub fn new(pool: &Pool, journal: Journal, length: Duration) -> Self {
        let backends = pool.backends();
        let all: u64 = backends.iter().map(|b| requests(b)).sum();
        let rows = backends.iter().zip(fair_shares(&backends)).map(|(backend, fair_share)| Row {
            name: backend.name().to_owned(),
            sessions: journal.served_by(backend.name()),
            requests: requests(backend),
            share: share(requests(backend) as f64, all as f64),
            fair_share,
        });
        let moves = Reason::ALL.iter().copied().zip(pool.moves());
        let refused =
            [Reason::Expired, Reason::Forged].map(|reason| (reason, pool.count_of(reason)));
        let happened = |&(_, count): &(Reason, u64)| count > 0;
        Summary {
            length,
            rows: rows.collect(),
            moves: moves.filter(happened).collect(),
            released: pool.count_of(Reason::Released),
            refused: refused.into_iter().filter(happened).collect(),
            unavailable: pool.unavailable(),
            journal,
        }
    }

    /// Text for people.
    pub fn render(&self) -> String {
        let mut text = format!("Summary of {:.1} s\n\n", self.length.as_secs_f64());
        let mut table = plain_table(None);
        table.set_header(["backend", "sessions served", "requests", "share", "fair share"]);
        for row in &self.rows {
            let (share, fair_share) = (percent(row.share), percent(row.fair_share));
            let counts = [row.sessions.to_string(), row.requests.to_string()];
            let [sessions, requests] = counts;
            table.add_row([row.name.clone(), sessions, requests, share, fair_share]);
        }
        align_right(&mut table, 1..5);
        let _ = writeln!(text, "{}\n", table.trim_fmt());
        for (name, value) in self.figures() {
            let _ = writeln!(text, " {name:<14}  {value}");
        }
        self.render_journeys(&mut text);
        text
    }

    fn figures(&self) -> [(&'static str, String); 7] {
        let journal = &self.journal;
        let ended = |ending| journal.ended(ending);
        let sessions = format!(
            "{} begun, {} completed, {} lost, {} failed, {} stopped by the end of the run",
            journal.begun(),
            ended(Ending::Completed),
            ended(Ending::Lost),
            ended(Ending::Failed),
            ended(Ending::Stopped),
        );
        let reasons = |counts: &[(Reason, u64)]| {
            list(counts.iter().map(|(reason, count)| (reason.as_str(), *count)))
        };
        let unplaced = (self.unavailable > 0).then_some(("unavailable", self.unavailable));
        let errors = journal.errors().iter().map(|(kind, count)| (kind.as_str(), *count));
        let latencies = journal.latencies();
        let latency = format!(
            "p50 {}, p99 {}, longest {}",
            millis(latencies.quantile(0.5)),
            millis(latencies.quantile(0.99)),
            millis(latencies.quantile(1.0)),
        );
        [
            ("sessions", sessions),
            ("moves", reasons(&self.moves)),
            ("let go", self.released.to_string()),
            ("tokens refused", reasons(&self.refused)),
            ("errors", list(errors)),
            ("not placed", list(unplaced.into_iter())),
            ("latency", latency),
        ]
    }

    fn render_journeys(&self, text: &mut String) {
        let journeys = self.journal.journeys().map(|journey| (journey.user(), journey));
        for (i, (user, journey)) in journeys.enumerate() {
            if i == 0 {
                text.push_str(
                    "\nWhere each session went (the first ten; requests in brackets)\n\n",
                );
            }
            let _ = writeln!(text, " {user:<7}  {journey}");
        }
    }
}

/// `none`, or `down 3, ejected 1`
fn list<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if counts.is_empty() { "none".into() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::affinity::Mode;
    use crate::lab::board::tests::{place, pool};
    use crate::lab::journal::Journey;

    #[test]
    fn a_summary_says_where_everything_went() {
        let pool = pool(Mode::Cookie, &[1, 1]);
        drop(place(&pool, 0, 30));
        drop(place(&pool, 1, 10));
        pool.count(Reason::Released);
        pool.count(Reason::Forged);
        let mut journal = Journal::default();
        journal.begin();
        let mut journey = Journey::new(1);
        for server in ["app-1", "app-1", "app-2"] {
            journey.meet(server);
        }
        journey.ending = Ending::Lost;
        journal.end(journey);
        journal.error("503");

        let summary = Summary::new(&pool, journal, Duration::from_secs(20));
        assert_eq!((summary.rows[0].sessions, summary.rows[0].requests), (1, 30));
        let text = summary.render();
        for expected in [
            "Summary of 20.0 s",
            "app-1                  1        30  75.0 %      50.0 %",
            "1 begun, 0 completed, 1 lost, 0 failed, 0 stopped",
            "moves           none",
            "let go          1",
            "tokens refused  forged 1",
            "errors          503 1",
            "not placed      none",
            "user-1   app-1 (2) -> app-2 (1), lost",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }
}
