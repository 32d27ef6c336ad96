//! What is usually said about stateful and stateless servers, held against the figures.
//!
//! The advice goes: stateful servers scale hard, are loaded unevenly, lose sessions when they fail
//! and are awkward to deploy; stateless ones scale easily, are loaded evenly, fail over at once
//! and can be deployed at any time, and pay for it with a look-up or with larger requests. A
//! claim holds here, or not here; where nothing was measured it is neither.

use super::Report;
use super::summary::Summary;
use super::verdict::{baseline, headroom_cost, scenario};
use super::words::{count, digits, list, millis, percent, seconds, several};

/// New servers are slow to help if their first share is below this part of the fair one,
const SLOW_HELP: f64 = 0.8;
/// and help at once if it is above this.
const PROMPT_HELP: f64 = 0.9;
/// Load is uneven if the busiest server needs so much more headroom than without affinity.
const UNEVEN: f64 = 0.05;
/// Load is even if no server has more than this times its fair share.
const EVEN: f64 = 1.1;
/// Failing over takes no longer than this if it is to be called "at once".
const AT_ONCE: f64 = 1.0;
/// Requests may grow by this factor before they are called bigger.
const BIGGER: f64 = 1.1;

/// A claim and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is said.
    pub says: &'static str,
    /// Is it so?
    pub outcome: Outcome,
    /// Why; empty if nothing was measured.
    pub figures: String,
}

/// Is a claim true?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is, on this machine and with these settings.
    Held,
    /// It is not, on this machine and with these settings.
    NotHere,
    /// There are no figures.
    NotMeasured,
}

impl Outcome {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Held => "held",
            Outcome::NotHere => "not here",
            Outcome::NotMeasured => "not measured",
        }
    }
}

/// Whether a claim holds, and the figures that say so; `None` if there are none.
type Judge = fn(&Figures<'_>) -> Option<(bool, String)>;

const CLAIMS: [(&str, Judge); 12] = [
    ("Stateful servers scale hard: new ones take up work late", stateful_scales_hard),
    ("Stateless servers scale easily: new ones take up work at once", stateless_scales),
    ("Stateful servers are loaded unevenly", stateful_is_uneven),
    ("Stateless servers are loaded evenly", stateless_is_even),
    ("A stateful server that fails takes its sessions with it", stateful_loses_sessions),
    ("Stateless servers fail over at once", stateless_fails_over),
    ("Deploying stateful servers is awkward", stateful_deploys_awkwardly),
    ("Stateless servers can be deployed at any time", stateless_deploys),
    ("The price of a session store is a look-up in each request", store_costs),
    ("The price of a signed token is a bigger request", token_costs),
    ("Sessions in memory do not work without affinity", memory_needs_affinity),
    ("Hybrid: the API fails over, and only live channels break off", hybrid_fails_over),
];

impl Report {
    /// Every claim, judged by the runs of this report.
    pub fn claims(&self) -> Vec<Claim> {
        let figures = Figures { all: self.summaries() };
        let judged = CLAIMS.iter().map(|&(says, judge)| match judge(&figures) {
            Some((true, figures)) => Claim { says, outcome: Outcome::Held, figures },
            Some((false, figures)) => Claim { says, outcome: Outcome::NotHere, figures },
            None => Claim { says, outcome: Outcome::NotMeasured, figures: String::new() },
        });
        judged.collect()
    }
}

/// The runs, sorted by what the claims are about.
struct Figures<'a> {
    all: Vec<Summary<'a>>,
}

impl<'a> Figures<'a> {
    /// Sessions in memory, with affinity.
    fn stateful(&self, scenario: &str) -> Option<&Summary<'a>> {
        let is_it = |s: &&Summary<'_>| s.policy.is_stateful() && s.policy.is_sticky();
        self.of(scenario).find(is_it)
    }

    /// Sessions elsewhere, and no affinity; at least one.
    fn stateless(&self, scenario: &str) -> Option<Vec<&Summary<'a>>> {
        let is_it = |s: &&Summary<'_>| !s.policy.is_stateful() && !s.policy.is_sticky();
        let found: Vec<_> = self.of(scenario).filter(is_it).collect();
        (!found.is_empty()).then_some(found)
    }

    fn state(&self, scenario: &str, state: &str) -> Option<&Summary<'a>> {
        self.of(scenario).find(|summary| summary.policy.state == state)
    }

    fn of(&self, scenario: &str) -> impl Iterator<Item = &Summary<'a>> {
        self.all.iter().filter(move |summary| summary.scenario == scenario)
    }
}

/// The share that new servers took over the share that is fair, and both in words.
fn newcomers(summary: &Summary<'_>) -> Option<(f64, String)> {
    let share = |run: &super::Run| run.details.newcomers_share;
    let actual = summary.median_of(|run| share(run).map(|share| share.actual))?;
    let fair = summary.median_of(|run| share(run).map(|share| share.fair))?;
    let words = format!("{} of {} with {}", percent(actual), percent(fair), summary.policy.name);
    Some((actual / fair.max(f64::MIN_POSITIVE), words))
}

fn stateful_scales_hard(figures: &Figures<'_>) -> Option<(bool, String)> {
    let (part, words) = newcomers(figures.stateful(scenario::SCALE_OUT)?)?;
    Some((part < SLOW_HELP, format!("share of the requests in the first moments: {words}")))
}

fn stateless_scales(figures: &Figures<'_>) -> Option<(bool, String)> {
    let stateless = figures.stateless(scenario::SCALE_OUT)?;
    let (parts, words): (Vec<f64>, Vec<String>) =
        stateless.into_iter().filter_map(newcomers).unzip();
    let slowest = parts.into_iter().reduce(f64::min)?;
    let words = format!("share of the requests in the first moments: {}", list(&words));
    Some((slowest >= PROMPT_HELP, words))
}

fn peak(summary: &Summary<'_>) -> f64 {
    summary.median(|run| run.imbalance.peak_to_mean)
}

fn stateful_is_uneven(figures: &Figures<'_>) -> Option<(bool, String)> {
    let sticky = figures.stateful(scenario::SKEWED)?;
    let others: Vec<_> = figures.of(scenario::SKEWED).cloned().collect();
    let even = baseline(sticky, &others)?;
    let cost = headroom_cost(sticky, even);
    let words = format!(
        "with some heavy users, peak-to-mean {:.2} with {} and {:.2} with {}: {} more headroom",
        peak(sticky),
        sticky.policy.name,
        peak(even),
        even.policy.name,
        percent(cost)
    );
    Some((cost > UNEVEN, words))
}

fn stateless_is_even(figures: &Figures<'_>) -> Option<(bool, String)> {
    let stateless = figures.stateless(scenario::SKEWED)?;
    let words: Vec<_> =
        stateless.iter().map(|s| format!("{:.2} with {}", peak(s), s.policy.name)).collect();
    let worst = stateless.into_iter().map(peak).fold(0.0, f64::max);
    Some((worst <= EVEN, format!("with some heavy users, peak-to-mean {}", list(&words))))
}

/// `12 of 400 sessions lost and 3 requests failed with sticky`
fn damage(summary: &Summary<'_>) -> String {
    format!(
        "{} of {} lost and {} failed with {}",
        count(lost(summary)),
        several(summary.total(|run| run.sessions.seen), "session"),
        several(summary.total(|run| run.errors), "request"),
        summary.policy.name
    )
}

fn lost(summary: &Summary<'_>) -> u64 {
    summary.lost().unwrap_or_default()
}

fn stateful_loses_sessions(figures: &Figures<'_>) -> Option<(bool, String)> {
    let sticky = figures.stateful(scenario::CRASH)?;
    Some((lost(sticky) > 0, format!("kill -9 of the busiest server: {}", damage(sticky))))
}

fn stateless_fails_over(figures: &Figures<'_>) -> Option<(bool, String)> {
    let stateless = figures.stateless(scenario::CRASH)?;
    let recovery = |s: &Summary<'_>| s.median_of(|run| run.details.recovery_seconds);
    let words: Vec<_> = stateless
        .iter()
        .map(|summary| match recovery(summary) {
            Some(last) if last > 0.0 => {
                format!("{}, the last {} after the kill", damage(summary), seconds(last))
            }
            _ => damage(summary),
        })
        .collect();
    let at_once = |s: &&Summary<'_>| lost(s) == 0 && recovery(s).unwrap_or_default() <= AT_ONCE;
    Some((stateless.iter().all(at_once), words.join("; ")))
}

fn stateful_deploys_awkwardly(figures: &Figures<'_>) -> Option<(bool, String)> {
    let sudden = figures.stateful(scenario::DEPLOY)?;
    let mut words = format!("without drain {}", damage(sudden));
    if let Some(drained) = figures.stateful(scenario::DRAINED_DEPLOY) {
        words += &format!("; with drain {}", damage(drained));
        let drains = drained.runs.iter().flat_map(|run| &run.details.drain_seconds).copied();
        if let Some(drains) = super::figures::Spread::of(drains) {
            words += &format!(", and {} a server", seconds(drains.median));
        }
    }
    Some((lost(sudden) > 0, words))
}

fn stateless_deploys(figures: &Figures<'_>) -> Option<(bool, String)> {
    let stateless = figures.stateless(scenario::DEPLOY)?;
    let words: Vec<_> = stateless.iter().map(|summary| damage(summary)).collect();
    let unharmed = stateless.iter().all(|s| lost(s) == 0 && s.total(|run| run.errors) == 0);
    Some((unharmed, format!("without drain {}", words.join("; "))))
}

fn store_costs(figures: &Figures<'_>) -> Option<(bool, String)> {
    let (redis, sticky) =
        (figures.state(scenario::STEADY, "redis")?, figures.stateful(scenario::STEADY)?);
    let state = |s: &Summary<'_>| s.median_of(|run| run.details.state_ms.map(|ms| ms.p50));
    let (there, here) = (state(redis)?, state(sticky)?);
    let p50 = |s: &Summary<'_>| millis(s.median(|run| run.latency.p50));
    let words = format!(
        "session read and written in {} at the median with {} and in {} with {}; whole requests \
         in {} and {}",
        millis(there),
        redis.policy.name,
        millis(here),
        sticky.policy.name,
        p50(redis),
        p50(sticky)
    );
    Some((there > here, words))
}

fn token_costs(figures: &Figures<'_>) -> Option<(bool, String)> {
    let (jwt, sticky) =
        (figures.state(scenario::STEADY, "jwt")?, figures.stateful(scenario::STEADY)?);
    let bytes = |s: &Summary<'_>| s.median_of(|run| run.details.request_bytes);
    let (large, small) = (bytes(jwt)?, bytes(sticky)?);
    let words = format!(
        "{} bytes on average with {}, {} with {}",
        digits(large),
        jwt.policy.name,
        digits(small),
        sticky.policy.name
    );
    Some((large > small * BIGGER, words))
}

fn memory_needs_affinity(figures: &Figures<'_>) -> Option<(bool, String)> {
    let is_it = |s: &&Summary<'_>| s.policy.is_stateful() && !s.policy.is_sticky();
    let without = figures.of(scenario::STEADY).find(is_it)?;
    Some((lost(without) > 0, format!("although nothing happens, {}", damage(without))))
}

fn hybrid_fails_over(figures: &Figures<'_>) -> Option<(bool, String)> {
    let hybrid = figures.state(scenario::CRASH, "hybrid")?;
    let cut: u64 = hybrid.total(|run| run.details.channels_cut.unwrap_or_default());
    let words = format!("{}, and {} live channels cut", damage(hybrid), count(cut));
    Some((lost(hybrid) == 0 && cut > 0, words))
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::super::{Percentiles, Run, Share};
    use super::*;

    fn judge(runs: Vec<Run>, says: &str) -> (Outcome, String) {
        let claims = Report { runs, ..Report::default() }.claims();
        let claim = claims.into_iter().find(|claim| claim.says.starts_with(says)).unwrap();
        (claim.outcome, claim.figures)
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        let claims = Report::default().claims();
        assert_eq!(claims.len(), 12);
        assert!(claims.iter().all(|claim| claim.outcome == Outcome::NotMeasured));
    }

    #[test]
    fn a_crash_is_judged_by_what_it_costs() {
        let crash = |policy, lost, last| {
            let mut run = run(policy, scenario::CRASH);
            (run.sessions.seen, run.sessions.lost) = (300, Some(lost));
            run.details.recovery_seconds = Some(last);
            run
        };
        let runs = vec![crash("sticky", 70, 2.0), crash("redis", 0, 0.25), crash("jwt", 0, 0.0)];
        let (outcome, figures) = judge(runs.clone(), "A stateful server that fails");
        assert_eq!(outcome, Outcome::Held);
        assert!(figures.contains("70 of 300 sessions lost"), "{figures}");
        let (outcome, figures) = judge(runs, "Stateless servers fail over");
        assert_eq!(outcome, Outcome::Held);
        let expected = "0 of 300 sessions lost and 0 requests failed with redis, the last 0.25 s after \
                        the kill; 0 of 300 sessions lost and 0 requests failed with jwt";
        assert_eq!(figures, expected);
        let slow = vec![crash("redis", 0, 0.25), crash("jwt", 0, 3.0)];
        let (outcome, figures) = judge(slow, "Stateless servers fail over");
        assert_eq!(outcome, Outcome::NotHere);
        assert!(figures.contains("with jwt, the last 3.0 s after the kill"), "{figures}");
    }

    #[test]
    fn evenness_and_scaling_are_judged_against_the_fair_share() {
        let skewed = |policy, peak| {
            let mut run = run(policy, scenario::SKEWED);
            run.imbalance.peak_to_mean = peak;
            run
        };
        let runs = vec![skewed("sticky", 1.5), skewed("redis", 1.2)];
        assert_eq!(judge(runs.clone(), "Stateful servers are loaded").0, Outcome::Held);
        assert_eq!(judge(runs, "Stateless servers are loaded").0, Outcome::NotHere);
        let grown = |policy, actual| {
            let mut run = run(policy, scenario::SCALE_OUT);
            run.details.newcomers_share = Some(Share { actual, fair: 0.5 });
            run
        };
        let runs = vec![grown("sticky", 0.45), grown("redis", 0.49)];
        assert_eq!(judge(runs.clone(), "Stateful servers scale").0, Outcome::NotHere);
        assert_eq!(judge(runs, "Stateless servers scale").0, Outcome::Held);
    }

    #[test]
    fn prices_are_told() {
        let price = |policy, state, bytes| {
            let mut run = run(policy, scenario::STEADY);
            run.details.state_ms = Some(Percentiles { p50: state, ..Percentiles::default() });
            run.details.request_bytes = Some(bytes);
            run
        };
        let runs = vec![
            price("sticky", 0.01, 300.0),
            price("redis", 0.4, 300.0),
            price("jwt", 0.02, 600.0),
        ];
        let (outcome, figures) = judge(runs.clone(), "The price of a session store");
        assert_eq!(outcome, Outcome::Held);
        assert!(figures.starts_with("session read and written in 0.40 ms"), "{figures}");
        assert_eq!(judge(runs, "The price of a signed token").0, Outcome::Held);
    }
}
