//! The repetitions of one policy in one scenario, taken together.

use super::figures::Spread;
use super::{Policy, Report, Run};

/// One policy in one scenario.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    /// What was compared.
    pub policy: &'a Policy,
    /// What happened meanwhile.
    pub scenario: &'a str,
    /// Every repetition, at least one.
    pub runs: Vec<&'a Run>,
}

impl Report {
    /// All summaries, in the order in which their first runs stand in the report.
    pub fn summaries(&self) -> Vec<Summary<'_>> {
        let mut summaries: Vec<Summary<'_>> = Vec::new();
        for run in &self.runs {
            let known = summaries.iter_mut().find(|known| {
                known.policy.name == run.policy.name && known.scenario == run.scenario
            });
            match known {
                Some(known) => known.runs.push(run),
                None => summaries.push(Summary {
                    policy: &run.policy,
                    scenario: &run.scenario,
                    runs: vec![run],
                }),
            }
        }
        summaries
    }

    /// The scenarios, each with its summaries, in the order of the report.
    pub fn scenarios(&self) -> Vec<(&str, Vec<Summary<'_>>)> {
        let mut scenarios: Vec<(&str, Vec<Summary<'_>>)> = Vec::new();
        for summary in self.summaries() {
            match scenarios.iter_mut().find(|(name, _)| *name == summary.scenario) {
                Some((_, known)) => known.push(summary),
                None => scenarios.push((summary.scenario, vec![summary])),
            }
        }
        scenarios
    }
}

impl Summary<'_> {
    /// A figure over the repetitions.
    pub fn spread(&self, figure: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(|run| figure(run))).unwrap_or_default()
    }

    /// The median of a figure over the repetitions.
    pub fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        self.spread(figure).median
    }

    /// The median of a figure over those repetitions that have it.
    pub fn median_of(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        Spread::of(self.runs.iter().filter_map(|run| figure(run))).map(|spread| spread.median)
    }

    /// The sum of a count over all repetitions.
    pub fn total(&self, count: impl Fn(&Run) -> u64) -> u64 {
        self.runs.iter().map(|run| count(run)).sum()
    }

    /// Requests a second that were answered rightly.
    pub fn throughput(&self) -> Spread {
        self.spread(Run::throughput)
    }

    /// Sessions that were lost, over all repetitions; `None` if that makes no sense.
    pub fn lost(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.sessions.lost).reduce(|a, b| a + b)
    }

    /// The share of all sessions that were lost, 0 to 1.
    pub fn share_lost(&self) -> Option<f64> {
        let (lost, seen) = (self.lost()?, self.total(|run| run.sessions.seen));
        Some(if seen == 0 { 0.0 } else { lost as f64 / seen as f64 })
    }

    /// The repetition whose peak-to-mean is the middle one: the one to show.
    pub fn typical(&self) -> &Run {
        let mut runs = self.runs.clone();
        runs.sort_by(|a, b| a.imbalance.peak_to_mean.total_cmp(&b.imbalance.peak_to_mean));
        runs[runs.len() / 2]
    }
}

impl Run {
    /// Requests a second that were answered rightly.
    pub fn throughput(&self) -> f64 {
        if self.seconds > 0.0 { self.requests as f64 / self.seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn repetitions_are_taken_together() {
        let mut report = Report::default();
        for (policy, scenario, p99) in [
            ("sticky", "steady", 10.0),
            ("redis", "steady", 7.0),
            ("sticky", "steady", 30.0),
            ("sticky", "crash", 50.0),
            ("sticky", "steady", 11.0),
        ] {
            let mut run = run(policy, scenario);
            run.latency.p99 = p99;
            run.sessions.lost = Some(2);
            report.runs.push(run);
        }
        let scenarios = report.scenarios();
        let names: Vec<_> = scenarios.iter().map(|(name, of)| (*name, of.len())).collect();
        assert_eq!(names, [("steady", 2), ("crash", 1)]);
        let sticky = &scenarios[0].1[0];
        assert_eq!(sticky.runs.len(), 3);
        let p99 = sticky.spread(|run| run.latency.p99);
        assert_eq!((p99.lowest, p99.median, p99.highest), (10.0, 11.0, 30.0));
        assert_eq!(sticky.lost(), Some(6));
        let mut unknown = run("none", "steady");
        unknown.sessions.lost = None;
        let report = Report { runs: vec![unknown], ..Report::default() };
        assert_eq!(
            (report.summaries()[0].lost(), report.summaries()[0].share_lost()),
            (None, None)
        );
    }
}
