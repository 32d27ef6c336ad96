//! From experiments to what the API says.

use super::counted;
use crate::admin::view::{self, rfc3339};
use crate::balance::unstick::{Comparison, Difference};
use crate::observe::Experiment;
use crate::observe::metrics::{ArmCounts, STATUS_CLASSES};

/// What an experiment has shown so far.
pub(in crate::admin) fn unstick(experiment: &Experiment) -> view::Unstick {
    let Experiment { unstick, since, arms: [bound, free] } = experiment;
    let comparison = experiment.comparison();
    let Comparison { differences, durations, verdict, .. } = &comparison;
    let differences = differences.iter().map(|found| (found.kind.as_str().into(), of(found)));
    view::Unstick {
        percent: unstick.percent(),
        since: rfc3339(*since),
        verdict: verdict.as_str().into(),
        in_words: comparison.in_words(),
        bound: arm(bound),
        free: arm(free),
        differences: differences.collect(),
        durations: durations
            .map(|ranks| view::Durations { free_is_longer: ranks.superiority, p: ranks.p }),
    }
}

fn arm(counts: &ArmCounts) -> view::Group {
    let ArmCounts { classes, unknown, whole } = counts;
    let millis = |q| whole.quantile(q).map(|duration| duration.as_secs_f64() * 1e3);
    let latency = || Some(view::Latency { p50_ms: millis(0.5)?, p99_ms: millis(0.99)? });
    view::Group {
        requests: classes.iter().sum(),
        statuses: counted(STATUS_CLASSES.into_iter().zip(*classes)),
        unknown_sessions: *unknown,
        duration: latency(),
    }
}

fn of(found: &Difference) -> view::Difference {
    view::Difference {
        bound: found.bound.share(),
        free: found.free.share(),
        p: found.p,
        at_least: found.interval[0],
        at_most: found.interval[1],
        is_worse: found.is_worse(),
    }
}
