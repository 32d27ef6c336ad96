//! What was measured, in a form that people can put before their team: a terminal table, JSON,
//! and one HTML page that needs no network.
//!
//! A [`Report`] is plain data. Whoever has measured something (the load test, the simulator, a
//! replayed log) fills it in; nothing in here knows where the figures come from, and no word on
//! the page is chosen before the figures are there.
//!
//! Reading order: [`figures`] (percentiles, imbalance, spread); [`summary`] (repetitions of a run
//! taken together); [`verdict`] (plain words); [`claims`] (what is said about stateful servers,
//! held against the figures); `prediction` (the simulator, held against them); [`table`], [`page`]
//! and [`markdown`] (how it looks); `glossary` (what the figures mean).

mod chart;
pub mod claims;
pub mod figures;
mod glossary;
mod markdown;
mod page;
mod prediction;
pub mod summary;
mod table;
pub mod verdict;
pub(in crate::lab) mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::figures::{Imbalance, Percentiles};

/// Everything that was measured, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What this is, as in `stickler bench`.
    pub title: String,
    /// The command line that makes such a report again.
    pub command: String,
    /// How it was measured: what a reader must know to judge the figures or to repeat them.
    pub setup: Vec<Fact>,
    /// Each policy in each scenario, once for each repetition.
    pub runs: Vec<Run>,
    /// Should the claims about stateful and stateless servers be held against the figures?
    #[serde(default)]
    pub judges_claims: bool,
    /// Was it virtual time? Then some figures mean something else; the page says what.
    #[serde(default)]
    pub is_simulated: bool,
}

/// A line of [`Report::setup`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What, as in `seed`.
    pub name: String,
    /// How much, with its unit.
    pub value: String,
}

impl Fact {
    /// `name` is `value`.
    pub fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Fact { name: name.into(), value: value.to_string() }
    }
}

/// One policy in one scenario, once. All figures are about the measured time, without warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What was compared.
    pub policy: Policy,
    /// What happened meanwhile, as in `steady` or `crash`.
    pub scenario: String,
    /// How long was measured.
    pub seconds: f64,
    /// Requests that were answered rightly.
    pub requests: u64,
    /// Requests that were not: no answer, a gateway's error, a wrong answer. A request whose
    /// session is not known is no error: it counts as a lost session.
    pub errors: u64,
    /// Those of the errors that got no answer of an app server at all.
    pub requests_lost: u64,
    /// Milliseconds from the moment when a request was due to the end of its answer.
    pub latency: Percentiles,
    /// What became of the sessions.
    pub sessions: Sessions,
    /// How unevenly requests came to the backends, as the backends count them.
    pub imbalance: Imbalance,
    /// The load of each backend over time.
    pub load: Load,
    /// What only some scenarios and some kinds of app servers have.
    #[serde(default)]
    pub details: Details,
}

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// A short name, unique in the report, as in `sticky`.
    pub name: String,
    /// How requests are balanced that are free to go anywhere.
    pub balance: String,
    /// How sessions stick; `none` if they do not.
    pub affinity: String,
    /// Where sessions are kept: `memory`, `redis`, ...; empty if that is not the question.
    pub state: String,
}

impl Policy {
    /// Does it keep sessions where they are?
    pub fn is_sticky(&self) -> bool {
        self.affinity != "none"
    }

    /// Do sessions die with the server that keeps them?
    pub fn is_stateful(&self) -> bool {
        matches!(self.state.as_str(), "memory" | "websocket")
    }
}

/// What became of the sessions that were seen during the measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// All of them.
    pub seen: u64,
    /// A server did not know them, or their cart was gone. `None` if the question makes no sense:
    /// a simulated fleet without affinity must not keep sessions.
    pub lost: Option<u64>,
    /// Answered by more than one server; of a simulation, moves of sessions to another home.
    pub moved: u64,
}

/// Requests by backend over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Seconds from one sample to the next.
    pub step: f64,
    /// One for each backend.
    pub backends: Vec<BackendLoad>,
}

/// One backend's line in [`Load`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendLoad {
    /// Its name.
    pub name: String,
    /// Requests a second in each step.
    pub rates: Vec<f64>,
}

/// Figures that are absent where they make no sense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Milliseconds that a request spent on reading and writing its session, inside the app
    /// server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_ms: Option<Percentiles>,
    /// Bytes of a request as the client sends it, on average: head and body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<f64>,
    /// Seconds that each drain took, from its beginning until the server could stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drain_seconds: Vec<f64>,
    /// Seconds from the failure until the last request or session that it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_seconds: Option<f64>,
    /// Share of the requests (0 to 1) that new servers took in the first moments after they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newcomers_share: Option<Share>,
    /// What the errors were, by status or short name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Live channels that broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels_cut: Option<u64>,
    /// Milliseconds by which the load generator was late at the 99th percentile. It has nothing to
    /// do with what is measured: the machine was too busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_late_ms: Option<f64>,
    /// What stickiness costs next to the same requests under the same balancer without affinity, if
    /// that was played, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// What the simulator says about the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Prediction>,
}

/// What stickiness costs a run: figures over those of even distribution, minus 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Of [`Imbalance::peak_to_mean`]: the extra capacity that the busiest backend must have.
    pub headroom: f64,
    /// Of [`Percentiles::p99`].
    pub p99: f64,
}

/// What a run should come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// As [`Imbalance::peak_to_mean`].
    pub peak_to_mean: f64,
    /// Milliseconds, as [`Percentiles::p50`].
    pub p50: f64,
    /// Milliseconds, as [`Percentiles::p99`].
    pub p99: f64,
}

/// A share, and the one that would be fair; both 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// What it was.
    pub actual: f64,
    /// What it should be.
    pub fair: f64,
}

impl Report {
    /// For machines, and for [`Report::from_json`].
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// What [`Report::to_json`] gave.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// For terminals and pipes: the figures and the verdict.
    pub fn to_text(&self) -> String {
        table::render(self)
    }

    /// One self-contained HTML page with charts.
    pub fn to_html(&self) -> String {
        page::render(self)
    }

    /// A section for documentation: the verdict, the claims and the figures as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }
}

#[cfg(test)]
mod tests;
