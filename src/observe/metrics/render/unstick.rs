//! The unstick experiments: both arms next to each other, and what follows.

use super::super::snapshot::{PoolFigures, Snapshot};
use super::super::text::{Kind, Text};
use super::super::{ArmCounts, Metrics, STATUS_CLASSES};
use crate::balance::unstick::{Arm, Verdict};
use crate::clock;
use crate::observe::Experiment;

/// Writes them down.
pub(super) fn write(text: &mut Text, snapshot: &Snapshot, metrics: &Metrics) {
    metrics.experiments.read(snapshot, clock::now());
    let experiment = |pool: &PoolFigures| {
        let name = pool.pool.name();
        Some((name.to_owned(), metrics.experiments.of(name)?))
    };
    let experiments: Vec<_> = snapshot.pools.iter().filter_map(experiment).collect();
    let help = "Requests of the unstick experiment that have ended; first ones do not count.";
    text.metric("stickler_unstick_requests", Kind::Counter, help);
    for (labels, arm) in arms(&experiments) {
        for (code, count) in
            STATUS_CLASSES.into_iter().zip(arm.classes).filter(|(_, count)| *count > 0)
        {
            text.sample(&[labels[0], labels[1], ("code", code)], count);
        }
    }
    let help = "Those of them whose session the app did not know, as it said.";
    text.metric("stickler_unstick_unknown_sessions", Kind::Counter, help);
    for (labels, arm) in arms(&experiments) {
        text.sample(&labels, arm.unknown);
    }
    let help = "How long the requests of the unstick experiment took.";
    text.metric("stickler_unstick_request_duration_seconds", Kind::Histogram, help);
    for (labels, arm) in arms(&experiments) {
        super::histogram(text, &labels, &arm.whole);
    }
    let help = "1 for the verdict of the unstick experiment, else 0.";
    text.metric("stickler_unstick_verdict", Kind::Gauge, help);
    for (pool, experiment) in &experiments {
        let verdict = experiment.comparison().verdict;
        for each in Verdict::ALL {
            let labels = [("pool", pool.as_str()), ("verdict", each.as_str())];
            text.sample(&labels, u8::from(each == verdict));
        }
    }
}

/// Every arm, with its labels.
fn arms(
    experiments: &[(String, Experiment)],
) -> impl Iterator<Item = ([(&str, &str); 2], &ArmCounts)> {
    experiments.iter().flat_map(|(pool, experiment)| {
        Arm::ALL.into_iter().map(move |arm| {
            let labels = [("pool", pool.as_str()), ("arm", arm.as_str())];
            (labels, &experiment.arms[arm.index()])
        })
    })
}
