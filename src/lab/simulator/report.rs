//! Runs as a [`Report`], the same as that of the load test.

use super::figures::Figures;
use super::sweep::Run;
use crate::lab::report::figures::{Imbalance, Percentiles};
use crate::lab::report::{self, BackendLoad, Details, Fact, Load, Report};

/// Nanoseconds of a millisecond.
const MILLI: f64 = 1e6;

/// Runs, under the name of what happened in them.
pub fn report(
    title: &str,
    command: String,
    setup: Vec<Fact>,
    scenario: &str,
    runs: &[Run],
) -> Report {
    Report {
        title: title.into(),
        command,
        setup,
        runs: runs.iter().map(|run| one(scenario, run)).collect(),
        judges_claims: false,
        is_simulated: true,
    }
}

fn one(scenario: &str, run: &Run) -> report::Run {
    let Run { settings, figures } = run;
    let varied = settings.iter().map(|(key, value)| format!("{key} {value}"));
    let names: Vec<_> = std::iter::once(scenario.to_owned()).chain(varied).collect();
    let sessions = figures.sessions.as_ref();
    report::Run {
        policy: policy(&figures.policy),
        scenario: names.join(", "),
        seconds: figures.seconds,
        requests: figures.requests.answered,
        errors: figures.requests.failures(),
        requests_lost: figures.requests.failed.get("crashed").copied().unwrap_or_default(),
        latency: Percentiles::of(&figures.latencies, MILLI),
        sessions: report::Sessions {
            seen: sessions.map_or(0, |sessions| sessions.begun),
            lost: sessions.and_then(|sessions| sessions.lost),
            moved: sessions.map_or(0, |sessions| sessions.moved.values().sum()),
        },
        imbalance: Imbalance {
            peak_to_mean: figures.imbalance.requests,
            jain: figures.imbalance.jain,
            variation: figures.imbalance.variation,
        },
        load: load(figures),
        details: Details {
            drain_seconds: figures.drains.iter().filter_map(|drain| drain.took).collect(),
            cost: figures.cost.map(|cost| report::Cost { headroom: cost.headroom, p99: cost.p99 }),
            ..Details::default()
        },
    }
}

fn policy(text: &str) -> report::Policy {
    let (balance, affinity) = text.split_once('+').unwrap_or((text, "none"));
    report::Policy {
        name: text.into(),
        balance: balance.into(),
        affinity: affinity.into(),
        state: String::new(),
    }
}

/// Requests a second of each backend over time. Who came later had none before.
fn load(figures: &Figures) -> Load {
    let step = figures.timeline.get(1).map_or(figures.seconds, |slot| slot.at);
    let rates = |backend: usize| {
        figures.rates.iter().map(|slot| slot.get(backend).copied().unwrap_or_default()).collect()
    };
    let backends = figures
        .by_backend
        .iter()
        .enumerate()
        .map(|(i, backend)| BackendLoad { name: backend.name.clone(), rates: rates(i) });
    Load { step, backends: backends.collect() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::lab::report::words;
    use crate::lab::simulator::scenario::Scenario;
    use crate::lab::simulator::sweep::Sweep;
    use crate::lab::simulator::{simulate, table};

    /// The page says what the terminal says, although only sticky policies are in the report.
    #[test]
    fn a_report_says_what_stickiness_costs_as_the_table_does() {
        let text = "duration = \"12s\"\nwarm_up = \"1s\"\n[fleet]\nbackends = 3\n[sessions]\n\
                    think = \"100ms\"\nhot = 2.0\n";
        let (scenario, _) = Scenario::parse("a", text.as_bytes()).unwrap();
        let policies = ["two_choices+cookie", "random"].map(|policy| policy.parse().unwrap());
        let said = |policies| {
            let runs = Sweep::new(&scenario.plan, &[], policies, 1).unwrap().run(1);
            let report = report("t", "c".into(), Vec::new(), "hot-session", &runs);
            let cost = runs[0].figures.cost.unwrap();
            let headroom = words::headroom(cost.headroom);
            assert!(cost.headroom > 0.01 && table::verdict(&runs).contains(&headroom), "{cost:?}");
            let verdict = report.verdict().join("\n");
            let expected =
                format!("two_choices+cookie {headroom} next to two_choices without affinity:");
            assert!(verdict.contains(&expected), "{verdict}");
            let page = report.to_html();
            assert!(page.contains(&expected) && page.contains("in the table or not"), "{page}");
            report
        };
        said(&policies[..1]);
        // `random` cannot lose sessions, and is not what the cookie is compared with.
        let report = said(&policies);
        assert_eq!(report.runs[1].sessions.lost, None);
        assert_eq!(report.runs[1].details.cost, None);
        let text = report.to_text();
        let row = text.lines().find(|line| line.starts_with(" random ")).unwrap();
        assert_eq!(row.split_whitespace().rev().nth(1), Some("-"), "lost: {row}");
    }

    #[test]
    fn a_report_says_the_same_as_the_figures() {
        let text = "duration = \"12s\"\nwarm_up = \"1s\"\n[fleet]\nbackends = 3\n[sessions]\n\
                    think = \"100ms\"\n[[events]]\nat = \"3s\"\nscale_out = { backends = 2 }\n";
        let (scenario, _) = Scenario::parse("a", text.as_bytes()).unwrap();
        let policy = "two_choices+cookie".parse().unwrap();
        let figures = simulate(&scenario.plan, &policy, 1, &AtomicU64::new(0));
        let run = Run { settings: vec![("backends", "3".into())], figures };
        let report = report("t", "c".into(), Vec::new(), "growth", std::slice::from_ref(&run));
        let one = &report.runs[0];
        assert_eq!(one.scenario, "growth, backends 3");
        assert_eq!((&*one.policy.affinity, &*one.policy.balance), ("cookie", "two_choices"));
        let ratio = one.latency.p99 / run.figures.latency.p99 / 1e3;
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
        assert_eq!(one.load.backends.len(), 5);
        let total = |i: usize| one.load.backends[i].rates.iter().sum::<f64>();
        assert!(total(4) > 0.0 && one.load.backends[4].rates[0] == 0.0, "it came later");
        // Rates times steps are the requests.
        let answered: f64 = (0..5).map(total).sum::<f64>() * one.load.step;
        let difference = answered / run.figures.requests.answered as f64 - 1.0;
        assert!(difference.abs() < 0.02, "{difference}");
        assert!(report.to_html().contains("<svg"));
    }
}
