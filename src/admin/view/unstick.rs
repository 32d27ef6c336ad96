//! The unstick experiment. `docs/unstick.md` says how it is to be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the experiment has shown so far: would the app do without stickiness?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unstick {
    /// How many percent of the sessions are routed freely.
    pub percent: f64,
    /// When it began: with the process, or when a reload changed the share.
    #[schema(format = DateTime)]
    pub since: String,
    /// `safe`, `unsafe` or `too_early`.
    pub verdict: String,
    /// The verdict in plain words.
    pub in_words: String,
    /// Sessions that go home.
    pub bound: Group,
    /// Sessions that go anywhere.
    pub free: Group,
    /// Of free and bound requests, how often this happened: `unknown`, `failed`, `refused`,
    /// `redirected`.
    pub differences: BTreeMap<String, Difference>,
    /// Whose requests take longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<Durations>,
}

/// What was counted in one arm. First requests of sessions do not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Requests that have ended.
    pub requests: u64,
    /// The same by class of status: `2xx`, ..., or `none`. What never happened is left out.
    pub statuses: BTreeMap<String, u64>,
    /// Those whose session the app did not know, as it said.
    pub unknown_sessions: u64,
    /// How long they took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<super::Latency>,
}

/// How often something happened in either arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Its share of the bound requests.
    pub bound: f64,
    /// Its share of the free requests.
    pub free: f64,
    /// The probability of a difference like this, or a greater one, by chance alone.
    pub p: f64,
    /// The second share less the first is at least this, with 95 % confidence,
    pub at_least: f64,
    /// and at most this.
    pub at_most: f64,
    /// Do free requests fare worse, and not by chance (p below 0.001)?
    pub is_worse: bool,
}

/// Free requests' durations against bound ones'.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Durations {
    /// In how many of all pairs of a free and a bound request the free one took longer, as a share;
    /// 0.5 is no difference.
    pub free_is_longer: f64,
    /// The probability of a difference like this, or a greater one, by chance alone.
    pub p: f64,
}
