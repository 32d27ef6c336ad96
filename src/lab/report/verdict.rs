//! What the figures say, in plain words. Every number in a sentence is computed from the runs.

use super::summary::Summary;
use super::words::{count, digits, headroom, list, millis, percent, seconds, sentence, several};
use super::{Report, Run, prediction};

/// Names of the scenarios about which there is something special to say. Any other scenario is
/// judged by its imbalance and its latency.
pub mod scenario {
    /// Nothing happens.
    pub const STEADY: &str = "steady";
    /// Some users send many times more than others.
    pub const SKEWED: &str = "skewed";
    /// One session sends a large share of all requests.
    pub const HOT_SESSION: &str = "hot-session";
    /// The busiest server is killed, and comes back.
    pub const CRASH: &str = "crash";
    /// All servers are restarted, one after the other, without notice.
    pub const DEPLOY: &str = "rolling-deploy";
    /// As [`DEPLOY`], but each of them is drained first.
    pub const DRAINED_DEPLOY: &str = "rolling-deploy-drain";
    /// The fleet grows under load.
    pub const SCALE_OUT: &str = "scale-out";
    /// The fleet shrinks under load.
    pub const SCALE_IN: &str = "scale-in";
}

/// A load generator that is later than this (in milliseconds) shares the machine with too much
/// else.
const TOO_LATE: f64 = 25.0;

impl Report {
    /// The verdict, one sentence or two for each thing there is to say.
    pub fn verdict(&self) -> Vec<String> {
        let mut verdict = Vec::new();
        verdict.extend(too_busy(&self.runs));
        for (scenario, summaries) in self.scenarios() {
            match scenario {
                scenario::CRASH => {
                    verdict.extend(losses("a crash of the busiest server", &summaries))
                }
                scenario::DEPLOY => {
                    verdict.extend(losses("a rolling deploy without drain", &summaries));
                }
                scenario::DRAINED_DEPLOY => {
                    verdict.extend(losses("a rolling deploy with drain", &summaries));
                    verdict.extend(drains(&summaries));
                }
                scenario::SCALE_OUT => verdict.extend(newcomers(&summaries)),
                scenario::SCALE_IN => {
                    verdict.extend(losses("taking servers out with a drain", &summaries));
                    verdict.extend(drains(&summaries));
                }
                _ => {
                    verdict.extend(costs(scenario, &summaries, true));
                    verdict.extend(quiet_losses(scenario, &summaries));
                    continue;
                }
            }
            verdict.extend(costs(scenario, &summaries, false));
        }
        let all = self.summaries();
        verdict.extend(needs_affinity(&all));
        verdict.extend(state(&all));
        verdict.extend(bytes(&all));
        verdict.extend(errors(&all));
        verdict.extend(prediction::verdict(&all));
        verdict
    }
}

/// A warning, if the figures are about the machine rather than about the policies.
fn too_busy(runs: &[Run]) -> Option<String> {
    let late = runs.iter().filter_map(|run| run.details.generator_late_ms).fold(0.0, f64::max);
    (late > TOO_LATE).then(|| {
        format!(
            "Do not trust these latencies: the machine was too busy, and the load generator was up \
             to {} late at the 99th percentile.",
            millis(late)
        )
    })
}

/// What a sticky policy is compared with: the same scenario without affinity, if possible with the
/// same balancer, and on servers to which it is all the same where a request goes.
pub(super) fn baseline<'a, 'b>(
    sticky: &Summary<'_>,
    summaries: &'b [Summary<'a>],
) -> Option<&'b Summary<'a>> {
    let even = summaries.iter().filter(|other| !other.policy.is_sticky());
    even.max_by_key(|other| {
        let same_balancer = other.policy.balance == sticky.policy.balance;
        // Of equals the first: `max_by_key` would take the last.
        let position = summaries.iter().position(|s| s.policy == other.policy).unwrap_or_default();
        (same_balancer, !other.policy.is_stateful(), std::cmp::Reverse(position))
    })
}

/// The extra capacity that a policy needs because its busiest server is busier: 0.34 is 34 %.
pub(super) fn headroom_cost(policy: &Summary<'_>, baseline: &Summary<'_>) -> f64 {
    peak(policy) / peak(baseline).max(f64::MIN_POSITIVE) - 1.0
}

/// A sticky policy next to even distribution.
struct Compared {
    /// What it is compared with.
    with: String,
    /// Extra capacity: 0.34 is 34 %.
    headroom: f64,
    /// Peak-to-mean of even distribution.
    peak: f64,
    /// Its 99th percentile, in milliseconds.
    p99: f64,
}

impl Compared {
    /// As the runs themselves say it: they know their own twins without affinity.
    fn with_its_twin(policy: &Summary<'_>) -> Option<Self> {
        let cost =
            |of: fn(&super::Cost) -> f64| policy.median_of(|run| run.details.cost.as_ref().map(of));
        let (headroom, p99) = (cost(|cost| cost.headroom)?, cost(|cost| cost.p99)?);
        Some(Compared {
            with: format!("{} without affinity", policy.policy.balance),
            headroom,
            peak: peak(policy) / (1.0 + headroom),
            p99: p99_of(policy) / (1.0 + p99),
        })
    }

    /// With another policy of the report.
    fn with_another(policy: &Summary<'_>, summaries: &[Summary<'_>]) -> Option<Self> {
        let even = baseline(policy, summaries)?;
        Some(Compared {
            with: even.policy.name.clone(),
            headroom: headroom_cost(policy, even),
            peak: peak(even),
            p99: p99_of(even),
        })
    }
}

fn peak(summary: &Summary<'_>) -> f64 {
    summary.median(|run| run.imbalance.peak_to_mean)
}

fn p99_of(summary: &Summary<'_>) -> f64 {
    summary.median(|run| run.latency.p99)
}

/// What each sticky policy costs next to even distribution, if there were sessions. Where something happens that is no
/// part of a policy (`is_quiet` is false), only a twin of the run itself is a fair comparison.
fn costs(scenario: &str, summaries: &[Summary<'_>], is_quiet: bool) -> Vec<String> {
    let sticks = |summary: &&Summary<'_>| {
        summary.policy.is_sticky() && summary.total(|run| run.sessions.seen) > 0
    };
    let told = summaries.iter().filter(sticks).filter_map(|policy| {
        let another = || Compared::with_another(policy, summaries).filter(|_| is_quiet);
        let even = Compared::with_its_twin(policy).or_else(another)?;
        Some(format!(
            "{}: {} {} next to {}: its busiest server has {:.2} times its fair share of the \
             requests, against {:.2}. The 99th percentile is {}, against {}.",
            sentence(scenario),
            policy.policy.name,
            headroom(even.headroom),
            even.with,
            peak(policy),
            even.peak,
            millis(p99_of(policy)),
            millis(even.p99),
        ))
    });
    told.collect()
}

/// Sessions that sticky policies lose although nothing happens that should cost any.
fn quiet_losses(scenario: &str, summaries: &[Summary<'_>]) -> Vec<String> {
    let told =
        summaries.iter().filter(|summary| summary.policy.is_sticky()).filter_map(|summary| {
            let lost = summary.lost().filter(|lost| *lost > 0)?;
            let seen = several(summary.total(|run| run.sessions.seen), "session");
            let name = &summary.policy.name;
            Some(format!("{}: {name} loses {} of {seen}.", sentence(scenario), count(lost)))
        });
    told.collect()
}

/// Sessions that an event costs, for each policy that can lose any.
fn losses(event: &str, summaries: &[Summary<'_>]) -> Option<String> {
    let parts: Vec<String> = summaries
        .iter()
        .filter_map(|summary| {
            let (lost, seen) = (summary.lost()?, summary.total(|run| run.sessions.seen));
            let errors = summary.total(|run| run.errors);
            let errors = match errors {
                0 => String::new(),
                1 => " (and 1 request fails)".to_owned(),
                errors => format!(" (and {} requests fail)", count(errors)),
            };
            let name = &summary.policy.name;
            Some(format!("{} of {} with {name}{errors}", count(lost), several(seen, "session")))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("{} loses {}.", sentence(event), list(&parts)))
}

/// How long servers took to be drained.
fn drains(summaries: &[Summary<'_>]) -> Option<String> {
    let parts: Vec<String> = summaries
        .iter()
        .filter_map(|summary| {
            let drains = summary.runs.iter().flat_map(|run| &run.details.drain_seconds);
            let drains = super::figures::Spread::of(drains.copied())?;
            let name = &summary.policy.name;
            Some(format!(
                "{} with {name} (longest {})",
                seconds(drains.median),
                seconds(drains.highest)
            ))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("To drain one server takes {}.", list(&parts)))
}

/// What new servers took over at first.
fn newcomers(summaries: &[Summary<'_>]) -> Option<String> {
    let mut fair = None;
    let mut parts = Vec::new();
    for summary in summaries {
        let share = |run: &Run| run.details.newcomers_share;
        let Some(actual) = summary.median_of(|run| share(run).map(|share| share.actual)) else {
            continue;
        };
        fair = summary.median_of(|run| share(run).map(|share| share.fair));
        parts.push(format!("{} with {}", percent(actual), summary.policy.name));
    }
    let fair = percent(fair?);
    Some(format!(
        "Scale-out: the share of the requests that new servers take in their first moments is {}; \
         {fair} would be fair.",
        list(&parts)
    ))
}

/// What is lost when servers that keep sessions do not get them back.
fn needs_affinity(all: &[Summary<'_>]) -> Option<String> {
    let without = all.iter().find(|summary| {
        let policy = summary.policy;
        policy.is_stateful() && !policy.is_sticky() && summary.lost().is_some_and(|lost| lost > 0)
    })?;
    let name = &without.policy.name;
    Some(format!(
        "Sessions in memory need affinity: without it ({name}, {}) {} of them are lost.",
        without.scenario,
        percent(without.share_lost()?)
    ))
}

/// What it costs to keep the state elsewhere.
fn state(all: &[Summary<'_>]) -> Vec<String> {
    let mut told: Vec<&str> = Vec::new();
    let mut sentences = Vec::new();
    for summary in all {
        let name = summary.policy.name.as_str();
        let p50 = summary.median_of(|run| run.details.state_ms.map(|state| state.p50));
        let p99 = summary.median_of(|run| run.details.state_ms.map(|state| state.p99));
        let (Some(p50), Some(p99)) = (p50, p99) else { continue };
        if summary.policy.is_stateful() || told.contains(&name) {
            continue;
        }
        told.push(name);
        let mine = || all.iter().filter(|other| other.policy.name == name);
        let lost: u64 = mine().filter_map(Summary::lost).sum();
        let seen: u64 = mine().map(|other| other.total(|run| run.sessions.seen)).sum();
        let loses = match lost {
            0 => format!("loses none of {}", several(seen, "session")),
            lost => format!("loses {} of {}", count(lost), several(seen, "session")),
        };
        sentences.push(format!(
            "{}: reading and writing the session costs {} a request at the median and {} at the \
             99th percentile ({}), and in all scenarios together it {loses}.",
            sentence(name),
            millis(p50),
            millis(p99),
            summary.scenario,
        ));
    }
    sentences
}

/// How large requests are; worth a word only if they differ.
fn bytes(all: &[Summary<'_>]) -> Option<String> {
    let first = all.first()?.scenario;
    let sizes: Vec<(f64, &str)> = all
        .iter()
        .filter(|summary| summary.scenario == first)
        .filter_map(|summary| {
            let bytes = summary.median_of(|run| run.details.request_bytes)?;
            Some((bytes, summary.policy.name.as_str()))
        })
        .collect();
    let smallest = sizes.iter().map(|(bytes, _)| *bytes).fold(f64::INFINITY, f64::min);
    let largest = sizes.iter().map(|(bytes, _)| *bytes).fold(0.0, f64::max);
    if sizes.len() < 2 || largest < smallest * 1.1 {
        return None;
    }
    let parts: Vec<_> =
        sizes.iter().map(|(bytes, name)| format!("{} bytes with {name}", digits(*bytes))).collect();
    Some(format!("A request has {} on average.", list(&parts)))
}

/// How many requests failed in all.
fn errors(all: &[Summary<'_>]) -> Option<String> {
    let requests: u64 = all.iter().map(|summary| summary.total(|run| run.requests)).sum();
    let errors: u64 = all.iter().map(|summary| summary.total(|run| run.errors)).sum();
    let lost: u64 = all.iter().map(|summary| summary.total(|run| run.requests_lost)).sum();
    (requests > 0).then(|| match errors {
        0 => format!("Not one of {} failed.", several(requests, "request")),
        errors => format!(
            "Of {} {} failed, {} of them without an answer from an app server.",
            several(requests + errors, "request"),
            count(errors),
            count(lost)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    /// A run whose busiest server has so many times its fair share.
    fn uneven(policy: &str, scenario: &str, peak: f64, p99: f64) -> Run {
        let mut run = run(policy, scenario);
        run.imbalance.peak_to_mean = peak;
        run.latency.p99 = p99;
        run
    }

    fn verdict(runs: Vec<Run>) -> String {
        Report { runs, ..Report::default() }.verdict().join("\n")
    }

    #[test]
    fn headroom_is_the_ratio_of_the_peaks() {
        let text = verdict(vec![
            uneven("sticky", "skewed", 1.34 * 1.1, 84.0),
            uneven("none", "skewed", 1.3, 70.0),
            uneven("redis", "skewed", 1.1, 60.0),
        ]);
        let expected = "Skewed: sticky costs 34 % headroom next to redis: its busiest server has \
                        1.47 times its fair share of the requests, against 1.10. The 99th \
                        percentile is 84 ms, against 60 ms.";
        assert!(text.starts_with(expected), "{text}");
        let same = verdict(vec![
            uneven("sticky", "steady", 1.1, 1.0),
            uneven("redis", "steady", 1.1, 1.0),
        ]);
        assert!(same.contains("sticky costs no extra headroom"), "{same}");
        let better = verdict(vec![
            uneven("sticky", "steady", 1.0, 1.0),
            uneven("redis", "steady", 1.25, 1.0),
        ]);
        assert!(better.contains("sticky saves 20 % headroom"), "{better}");
    }

    /// A run that knows its twin says what that says, whatever else is in the report.
    #[test]
    fn the_cost_that_a_run_knows_is_told() {
        let mut known = uneven("sticky", scenario::CRASH, 1.34, 60.0);
        known.details.cost = Some(super::super::Cost { headroom: 0.34, p99: 0.2 });
        let expected = "Crash: sticky costs 34 % headroom next to two_choices without affinity: its \
                        busiest server has 1.34 times its fair share of the requests, against 1.00. \
                        The 99th percentile is 60 ms, against 50 ms.";
        let alone = verdict(vec![known.clone()]);
        assert!(alone.contains(expected), "{alone}");
        known.scenario = scenario::STEADY.into();
        let text = verdict(vec![known, uneven("none", scenario::STEADY, 1.3, 1.0)]);
        assert!(text.contains("against 1.00."), "{text}");
        let unknown = verdict(vec![
            uneven("sticky", scenario::CRASH, 1.34, 60.0),
            uneven("none", scenario::CRASH, 1.0, 50.0),
        ]);
        assert!(!unknown.contains("headroom"), "a crash is no fair comparison: {unknown}");
    }

    #[test]
    fn who_cannot_lose_sessions_is_left_out() {
        let mut none = run("none", scenario::CRASH);
        none.sessions.lost = None;
        assert!(!verdict(vec![none.clone()]).contains("loses"));
        let text = verdict(vec![none, run("sticky", scenario::CRASH)]);
        assert!(text.contains("loses 0 of 10 sessions with sticky."), "{text}");
    }

    #[test]
    fn sessions_that_are_lost_in_a_quiet_run_are_told() {
        let mut sticky = run("sticky", scenario::STEADY);
        (sticky.sessions.seen, sticky.sessions.lost) = (50, Some(28));
        let text = verdict(vec![sticky, run("redis", scenario::STEADY)]);
        assert!(text.contains("Steady: sticky loses 28 of 50 sessions."), "{text}");
        assert!(!text.contains("redis loses"), "{text}");
    }

    #[test]
    fn losses_are_summed_over_repetitions() {
        let mut first = run("sticky", scenario::CRASH);
        (first.sessions.lost, first.sessions.seen, first.errors) = (Some(400), 700, 3);
        let mut second = run("sticky", scenario::CRASH);
        (second.sessions.lost, second.sessions.seen) = (Some(12), 500);
        let mut redis = run("redis", scenario::CRASH);
        redis.sessions.seen = 1_201;
        let text = verdict(vec![first, second, redis]);
        let expected = "A crash of the busiest server loses 412 of 1,200 sessions with sticky (and \
                        3 requests fail) and 0 of 1,201 sessions with redis.";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_price_of_a_store_and_of_a_token_is_told() {
        let mut redis = run("redis", scenario::STEADY);
        redis.details.state_ms =
            Some(super::super::Percentiles { p50: 0.4, p99: 1.25, ..Default::default() });
        redis.details.request_bytes = Some(200.0);
        redis.sessions.seen = 900;
        let mut jwt = run("jwt", scenario::STEADY);
        jwt.details.request_bytes = Some(512.4);
        let text = verdict(vec![redis, jwt]);
        assert!(text.contains("Redis: reading and writing the session costs 0.40 ms a"), "{text}");
        assert!(text.contains("it loses none of 900 sessions"), "{text}");
        assert!(text.contains("200 bytes with redis and 512 bytes with jwt"), "{text}");
        assert!(text.contains("Not one of 200 requests failed."), "{text}");
    }

    #[test]
    fn drains_newcomers_and_missing_affinity_have_their_sentences() {
        let mut drained = run("sticky", scenario::DRAINED_DEPLOY);
        drained.details.drain_seconds = vec![3.0, 4.0, 11.0];
        let mut grown = run("sticky", scenario::SCALE_OUT);
        grown.details.newcomers_share = Some(super::super::Share { actual: 0.22, fair: 0.5 });
        let mut none = run("none", scenario::STEADY);
        (none.sessions.seen, none.sessions.lost) = (100, Some(98));
        let text = verdict(vec![drained, grown, none]);
        assert!(text.contains("takes 4.0 s with sticky (longest 11 s)"), "{text}");
        assert!(text.contains("first moments is 22 % with sticky; 50 % would be fair"), "{text}");
        assert!(text.contains("without it (none, steady) 98 % of them are lost"), "{text}");
    }

    #[test]
    fn a_busy_machine_is_told_first() {
        let mut late = run("sticky", scenario::STEADY);
        late.details.generator_late_ms = Some(3.0);
        assert!(!verdict(vec![late.clone()]).contains("too busy"));
        late.details.generator_late_ms = Some(80.0);
        let text = verdict(vec![late]);
        assert!(text.starts_with("Do not trust") && text.contains("up to 80 ms late"), "{text}");
    }

    #[test]
    fn nothing_measured_is_nothing_said() {
        assert_eq!(Report::default().verdict(), Vec::<String>::new());
    }
}
