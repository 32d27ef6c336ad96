//! What is measured while it runs. Only requests that arrive while it is measured count, so that
//! neither the empty fleet of the beginning nor a warm cache of counters shows in a figure.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::figures::Slot;
use super::plan::Plan;
use crate::lab::buckets;

/// Parts of the timeline.
pub(super) const SLOTS: u64 = 120;

/// Latencies are kept to three digits up to this, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// Of the [`buckets`] of nanoseconds: `1 << FINE` to a doubling, which is three digits.
const FINE: u32 = 10;
const FINE_BUCKETS: usize = bucket(LONGEST) + 1;

/// So many of them, as a power of two, are a bucket of one server's latencies: there are many
/// servers, and eight buckets to a doubling are enough for each.
const COARSE: u32 = FINE - 3;
const COARSE_BUCKETS: usize = (FINE_BUCKETS >> COARSE) + 1;

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
    /// Answers by latency, by [`bucket`]; without those of the current slot.
    latencies: Box<[u64]>,
    pub(super) latency_sum: u128,
    /// Time from arrival to the beginning of service.
    pub(super) waited: u128,
    pub(super) offered: u64,
    pub(super) answered: u64,
    pub(super) failed: [u64; Failure::LABELS.len()],
    /// Latencies by server, coarsely.
    by_server: Vec<[u32; COARSE_BUCKETS]>,
    /// Requests of the current slot by server.
    slot_by_server: Vec<u32>,
    slot_failed: u64,
    slot_offered: u64,
    slot_length: u64,
    slot_start: u64,
    /// Answers of the current slot by latency: the only count to three digits that a request makes.
    slot_latencies: Box<[u32]>,
    /// The last of them that is not zero, for a slot's end.
    slot_last: usize,
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
            latencies: vec![0; FINE_BUCKETS].into(),
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
            slot_latencies: vec![0; FINE_BUCKETS].into(),
            slot_last: 0,
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
        let bucket = bucket(latency.min(LONGEST));
        self.slot_latencies[bucket] += 1;
        self.slot_last = self.slot_last.max(bucket);
        let server = server as usize;
        if server >= self.by_server.len() {
            self.by_server.resize(server + 1, [0; COARSE_BUCKETS]);
            self.slot_by_server.resize(server + 1, 0);
        }
        self.by_server[server][bucket >> COARSE] += 1;
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
        let latencies = &mut self.slot_latencies[..=self.slot_last];
        let answered: u64 = self.slot_by_server.iter().map(|&count| u64::from(count)).sum();
        let quantile =
            |q| buckets::quantile(latencies, answered, q).map_or(0.0, |found| seconds(found, 0));
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        for (sum, count) in self.latencies.iter_mut().zip(latencies) {
            *sum += u64::from(std::mem::take(count));
        }
        let peak = self.slot_by_server.iter().max().copied().unwrap_or_default();
        let taking = self.slot_by_server.iter().filter(|&&count| count > 0).count();
        let length = (now - self.slot_start).max(1) as f64 / 1e9;
        self.slots.push(Slot {
            at: (self.slot_start - self.from) as f64 / 1e9,
            requests_per_second: self.slot_offered as f64 / length,
            failed: self.slot_failed,
            in_flight,
            sessions,
            backends: backends.into(),
            busiest_per_second: f64::from(peak) / length,
            peak_to_mean: match answered {
                0 => 0.0,
                answered => f64::from(peak) * taking as f64 / answered as f64,
            },
            p50,
            p99,
        });
        self.by_slot
            .push(self.slot_by_server.iter().map(|count| f64::from(*count) / length).collect());
        self.slot_by_server.fill(0);
        (self.slot_failed, self.slot_offered, self.slot_last) = (0, 0, 0);
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
        let total = counts.iter().map(|&count| u64::from(count)).sum();
        buckets::quantile(counts, total, q).map_or(0.0, |found| seconds(found, COARSE))
    }

    /// Every latency, to three digits.
    pub(super) fn latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        let recent = self.slot_latencies.iter().map(|&count| u64::from(count));
        let counts = self.latencies.iter().zip(recent).map(|(sum, recent)| sum + recent);
        for (number, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
            all.saturating_record_n(lowest(number), count);
        }
        all
    }
}

#[expect(clippy::expect_used, reason = "these bounds are valid, as every test shows")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}

/// Where a latency belongs.
#[inline]
const fn bucket(nanos: u64) -> usize {
    buckets::bucket(nanos, FINE)
}

/// The lowest latency of a bucket, in nanoseconds.
const fn lowest(bucket: usize) -> u64 {
    buckets::lowest(bucket, FINE)
}

/// The middle of a bucket that is `1 << coarse` of the fine ones, in seconds.
fn seconds(number: usize, coarse: u32) -> f64 {
    (lowest(number << coarse) + lowest((number + 1) << coarse)) as f64 / 2e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_latencies_are_right_to_a_tenth_and_a_slots_to_a_thousandth() {
        let mut nanos = 1_500u64;
        while nanos < LONGEST {
            for (coarse, error) in [(COARSE, 0.1), (0, 0.001)] {
                let found = seconds(bucket(nanos) >> coarse, coarse) * 1e9;
                assert!((found / nanos as f64 - 1.0).abs() < error, "{nanos}: {found}");
            }
            nanos += nanos / 5;
        }
    }

    /// Counted first and recorded later is the same as recorded at once.
    #[test]
    fn the_buckets_are_those_of_the_histogram() {
        let (mut at_once, mut later) = (histogram(), histogram());
        let mut nanos = 0;
        while nanos <= LONGEST {
            at_once.saturating_record(nanos);
            later.saturating_record(lowest(bucket(nanos)));
            nanos += nanos / 700 + 1;
        }
        assert_eq!((at_once.max(), at_once.len()), (later.max(), later.len()));
        let counts = |histogram: &Histogram<u64>| {
            let steps = histogram.iter_recorded();
            steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect::<Vec<_>>()
        };
        assert_eq!(counts(&at_once), counts(&later));
    }
}
