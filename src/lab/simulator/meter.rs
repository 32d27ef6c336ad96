//! What is measured while it runs. Only requests that arrive while it is measured count, so that
//! neither the empty fleet of the beginning nor a warm cache of counters shows in a figure.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::figures::Slot;
use super::plan::Plan;
use crate::lab::latency::Latencies;

/// Parts of the timeline.
pub(super) const SLOTS: u64 = 120;

/// Latencies are kept to three digits between these, in nanoseconds.
const LATENCIES: (u64, u64) = (1_000, 3_600_000_000_000);

/// Buckets of one server's latencies: [`PARTS`] to a doubling, from a microsecond on.
const BUCKETS: usize = 32 * PARTS;
/// Buckets to a doubling.
const PARTS: usize = 8;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Failure {
    /// Every backend that was tried refused the connection.
    Refused,
    /// Its server died while it worked on it.
    Crashed,
    /// Its server's line was full.
    Backlog,
    /// No backend may take it.
    NoBackend,
    /// Every backend is at its limit, and so is the queue.
    Full,
    /// Its home is away, and the policy is to reject.
    Home,
}

impl Failure {
    /// Every label, in the order of the variants.
    pub(super) const LABELS: [&'static str; 6] =
        ["refused", "crashed", "backlog_full", "no_backend", "full", "home_unavailable"];
}

/// Counts and times.
#[derive(Debug)]
pub(in crate::lab) struct Meter {
    /// When measuring begins and ends, in nanoseconds.
    from: u64,
    to: u64,
    pub(super) latencies: Histogram<u64>,
    pub(super) latency_sum: u128,
    /// Time from arrival to the beginning of service.
    pub(super) waited: u128,
    pub(super) offered: u64,
    pub(super) answered: u64,
    pub(super) failed: [u64; Failure::LABELS.len()],
    /// Latencies by server, coarsely.
    by_server: Vec<[u32; BUCKETS]>,
    /// Requests of the current slot by server.
    slot_by_server: Vec<u32>,
    slot_failed: u64,
    slot_offered: u64,
    slot_length: u64,
    slot_start: u64,
    /// Those of the current slot: coarser, so that a slot's end is cheap.
    slot_latencies: Latencies,
    pub(super) slots: Vec<Slot>,
    /// Requests a second of each server, by slot.
    pub(super) by_slot: Vec<Vec<f64>>,
}

impl Meter {
    pub(super) fn new(plan: &Plan) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (from, length) = (nanos(plan.warm_up), nanos(plan.duration));
        Meter {
            from,
            to: from.saturating_add(length),
            latencies: histogram(),
            latency_sum: 0,
            waited: 0,
            offered: 0,
            answered: 0,
            failed: [0; Failure::LABELS.len()],
            by_server: Vec::new(),
            slot_by_server: Vec::new(),
            slot_failed: 0,
            slot_offered: 0,
            slot_length: (length / SLOTS).max(1),
            slot_start: from,
            slot_latencies: Latencies::default(),
            slots: Vec::new(),
            by_slot: Vec::new(),
        }
    }

    /// When measuring begins.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// When it ends.
    pub(in crate::lab) fn to(&self) -> u64 {
        self.to
    }

    /// Does a request that arrived then count?
    #[inline]
    pub(super) fn measures(&self, arrived: u64) -> bool {
        arrived >= self.from
    }

    #[inline]
    pub(super) fn offered(&mut self, arrived: u64) {
        let counts = u64::from(self.measures(arrived));
        self.offered += counts;
        self.slot_offered += counts;
    }

    #[inline]
    pub(super) fn waited(&mut self, nanos: u64) {
        self.waited += u128::from(nanos);
    }

    #[inline]
    pub(super) fn answered(&mut self, server: u32, latency: u64) {
        self.answered += 1;
        self.latency_sum += u128::from(latency);
        self.latencies.saturating_record(latency);
        self.slot_latencies.record(Duration::from_nanos(latency));
        let server = server as usize;
        if server >= self.by_server.len() {
            self.by_server.resize(server + 1, [0; BUCKETS]);
            self.slot_by_server.resize(server + 1, 0);
        }
        self.by_server[server][bucket(latency)] += 1;
        self.slot_by_server[server] += 1;
    }

    pub(super) fn failed(&mut self, arrived: u64, why: Failure) {
        if self.measures(arrived) {
            self.failed[why as usize] += 1;
            self.slot_failed += 1;
        }
    }

    pub(super) fn slot_start(&self) -> u64 {
        self.slot_start
    }

    /// When the current slot ends.
    pub(super) fn next_slot(&self) -> u64 {
        self.slot_start + self.slot_length
    }

    /// Measuring ends now: the end was not known before.
    pub(in crate::lab) fn end_at(&mut self, now: u64) {
        self.to = now;
    }

    /// The current slot is over.
    pub(super) fn turn_slot(&mut self, now: u64, in_flight: u64, sessions: u64, backends: u32) {
        let latencies = std::mem::take(&mut self.slot_latencies);
        let answered = latencies.count();
        let peak = self.slot_by_server.iter().max().copied().unwrap_or_default();
        let taking = self.slot_by_server.iter().filter(|&&count| count > 0).count();
        let seconds = (now - self.slot_start).max(1) as f64 / 1e9;
        self.slots.push(Slot {
            at: (self.slot_start - self.from) as f64 / 1e9,
            requests_per_second: self.slot_offered as f64 / seconds,
            failed: self.slot_failed,
            in_flight,
            sessions,
            backends: backends.into(),
            busiest_per_second: f64::from(peak) / seconds,
            peak_to_mean: match answered {
                0 => 0.0,
                answered => f64::from(peak) * taking as f64 / answered as f64,
            },
            p50: latencies.quantile(0.5).as_secs_f64(),
            p99: latencies.quantile(0.99).as_secs_f64(),
        });
        self.by_slot
            .push(self.slot_by_server.iter().map(|count| f64::from(*count) / seconds).collect());
        self.slot_by_server.fill(0);
        (self.slot_failed, self.slot_offered) = (0, 0);
        self.slot_start = now;
        if self.slots.len() as u64 >= 2 * SLOTS {
            self.coarsen();
        }
    }

    /// Makes one slot of two: nobody knew how long it would be.
    fn coarsen(&mut self) {
        self.slots = self.slots.chunks(2).map(Slot::of).collect();
        let mean = |pair: &[Vec<f64>]| {
            let longest = pair.iter().map(Vec::len).max().unwrap_or_default();
            let at = |i: usize| pair.iter().filter_map(|rates| rates.get(i)).sum::<f64>();
            (0..longest).map(|i| at(i) / pair.len() as f64).collect()
        };
        self.by_slot = self.by_slot.chunks(2).map(mean).collect();
        self.slot_length *= 2;
    }

    /// The latency that a share of `q` of a server's answers did not exceed, in seconds, to within
    /// a tenth.
    pub(super) fn quantile_of(&self, server: usize, q: f64) -> f64 {
        let Some(counts) = self.by_server.get(server) else { return 0.0 };
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let rank = ((total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let found = counts.iter().position(|&count| {
            seen += u64::from(count);
            seen >= rank
        });
        found.map_or(0.0, middle)
    }
}

#[expect(clippy::expect_used, reason = "these bounds are valid, as every test shows")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCIES.0, LATENCIES.1, 3).expect("valid bounds")
}

/// Where a latency belongs: [`PARTS`] equal parts of each doubling of a microsecond.
#[inline]
fn bucket(nanos: u64) -> usize {
    let micros8 = (nanos * PARTS as u64 / 1_000).max(PARTS as u64);
    let doublings = micros8.ilog2() - PARTS.ilog2();
    let part = (micros8 >> doublings) as usize - PARTS;
    (doublings as usize * PARTS + part).min(BUCKETS - 1)
}

/// The middle of a bucket, in seconds.
fn middle(bucket: usize) -> f64 {
    let (doublings, part) = (bucket / PARTS, bucket % PARTS);
    (1.0 + (part as f64 + 0.5) / PARTS as f64) * (1u64 << doublings) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_latencies_are_right_to_a_tenth() {
        let mut nanos = 1_500u64;
        while nanos < 2_000_000_000_000 {
            let found = middle(bucket(nanos)) * 1e9;
            assert!((found / nanos as f64 - 1.0).abs() < 0.1, "{nanos}: {found}");
            nanos += nanos / 5;
        }
    }
}
