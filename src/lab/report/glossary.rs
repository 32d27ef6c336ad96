//! What the figures of a report mean, as its page says it.

use super::Report;

/// A term and its meaning.
type Entry = (&'static str, &'static str);

/// Of the load test.
const MEASURED: [Entry; 8] = [
    (
        "latency",
        "from the moment when a request was due, not from when it could be sent: a slow answer does \
         not hide those that wait behind it",
    ),
    (
        "errors, requests lost",
        "requests without the right answer; those of them that no app server answered",
    ),
    ("sessions lost", "a server said that it does not know the session, or the cart was gone"),
    ("moved", "sessions that were answered by more than one server"),
    ("peak/mean", "requests of the busiest server over its fair share; 1 is even"),
    JAIN,
    (
        "headroom",
        "peak/mean over that of the policy without affinity, minus 1: the extra capacity that every \
         server must have because one of them is busier",
    ),
    (
        "predicted, error",
        "what the simulator makes of the same schedule, without network and proxy; by how much that \
         is more or less than what was measured",
    ),
];

/// Of the simulator and of a replay.
const SIMULATED: [Entry; 7] = [
    ("latency", "from a request's arrival to its answer, of those that were answered"),
    (
        "errors, requests lost",
        "requests that were not answered; those of them that died with the server that had them",
    ),
    (
        "sessions lost",
        "sessions that met a server which did not know them, of all that began; - without affinity: \
         such servers must not keep sessions",
    ),
    (
        "moved",
        "moves of sessions to another home, those of the warm-up included; one that moves twice \
         counts twice",
    ),
    (
        "peak/mean",
        "requests a second at the busiest server over the mean, each over the time that it was \
         there; 1 is even",
    ),
    JAIN,
    (
        "headroom",
        "peak/mean over that of the same requests under the same balancer without affinity, minus 1, \
         whether that is in the table or not: the extra capacity that the busiest server needs \
         because sessions stick",
    ),
];

const JAIN: Entry =
    ("Jain, CoV", "Jain's fairness index (1 is even) and the coefficient of variation (0 is even)");

const SPREAD: Entry =
    ("1.31 (1.28-1.40)", "the median over the repetitions, the lowest and the highest");

/// What the figures of this report mean.
pub(super) fn of(report: &Report) -> Vec<Entry> {
    let mut entries = if report.is_simulated { SIMULATED.to_vec() } else { MEASURED.to_vec() };
    if report.summaries().iter().any(|summary| summary.runs.len() > 1) {
        entries.push(SPREAD);
    }
    entries
}
