//! What a run comes to. Times are in seconds; shares from 0 to 1.

use std::collections::BTreeMap;

use serde::Serialize;

use super::crowd::Counts;
use super::happening::Drain;
use super::meter::Failure;
use super::site::{Site, name};
use crate::balance::Reason;
use crate::lab::policy::Policy;

/// A backend that was there for less than this share of the time has no say in what the peak is:
/// its figures are mostly chance.
const LONG_ENOUGH: f64 = 0.1;

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The policy.
    pub policy: String,
    /// Backends at the beginning.
    pub backends: u32,
    /// The seed.
    pub seed: u64,
    /// Seconds of virtual time that were measured.
    pub seconds: f64,
    /// Requests.
    pub requests: Requests,
    /// From arrival to answer.
    pub latency: Latency,
    /// From arrival to the beginning of service, mean.
    pub mean_wait: f64,
    /// How busy the fleet was.
    pub utilization: f64,
    /// Backends that took requests, on average: what the fleet costs.
    pub mean_backends: f64,
    /// How uneven it was.
    pub imbalance: Imbalance,
    /// Sessions; `None` if the clients have none.
    pub sessions: Option<Sessions>,
    /// What stickiness costs next to even distribution of the same arrivals; `None` if the policy
    /// is not sticky.
    pub cost: Option<Cost>,
    /// Drains that began.
    pub drains: Vec<DrainReport>,
    /// Each backend.
    pub by_backend: Vec<BackendFigures>,
    /// How it went over time.
    pub timeline: Vec<Slot>,
    /// Requests a second of each backend, in the steps of the timeline; shorter for those that
    /// came later.
    #[serde(skip)]
    pub rates: Vec<Vec<f64>>,
    /// Every latency, to three digits, in nanoseconds.
    #[serde(skip)]
    pub latencies: hdrhistogram::Histogram<u64>,
}

/// Requests that arrived while it was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Requests {
    /// All.
    pub offered: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that were not, by why.
    pub failed: BTreeMap<&'static str, u64>,
    /// Those under way when it ended.
    pub unfinished: u64,
}

impl Requests {
    /// Requests that were not answered.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "a quantile says what it is by its name")]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// How uneven the load of the backends was. 1 is even, for each of the peaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Imbalance {
    /// Requests a second at the busiest backend over the mean.
    pub requests: f64,
    /// The same for the time that requests are in flight.
    pub in_flight_time: f64,
    /// The same for sessions.
    pub sessions: f64,
    /// Jain's index of requests: 1 is even, 1/n is everything at one backend.
    pub jain: f64,
    /// Coefficient of variation of requests: 0 is even.
    pub variation: f64,
    /// p99 at the backend with the most requests, over that of the pool.
    pub busiest_p99: f64,
}

/// What became of sessions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sessions {
    /// Those that began while it was measured.
    pub begun: u64,
    /// Those that met a server which did not know them any more. `None` if none began, and without
    /// affinity: then servers that keep sessions in memory cannot be what is behind the proxy.
    pub lost: Option<u64>,
    /// Times that this happened.
    pub unknown: Option<u64>,
    /// Moves to another home since the beginning, warm-up included, by reason.
    pub moved: BTreeMap<&'static str, u64>,
}

/// What stickiness costs: this run against the same arrivals, distributed by the same balancer
/// without affinity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Peak-to-mean of requests over that of even distribution, minus 1: the extra capacity that
    /// the busiest backend must have.
    pub headroom: f64,
    /// p99 over that of even distribution, minus 1.
    pub p99: f64,
    /// Mean latency over that of even distribution, minus 1.
    pub mean: f64,
}

/// A drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrainReport {
    /// Which backend.
    pub backend: String,
    /// When it began, since measuring began.
    pub at: f64,
    /// How long it took; `None` if it was under way at the end.
    pub took: Option<f64>,
    /// Sessions at its beginning.
    pub sessions: u32,
    /// Sessions that were still there when its time was over.
    pub cut: u32,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendFigures {
    /// Its name.
    pub name: String,
    /// Requests that it answered.
    pub requests: u64,
    /// Its requests a second while it took any, over the mean.
    pub of_mean: f64,
    /// How busy it was.
    pub utilization: f64,
    /// Its latencies.
    pub p50: f64,
    /// The same.
    pub p99: f64,
}

/// A part of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slot {
    /// When it began, since measuring began.
    pub at: f64,
    /// Requests that arrived, a second.
    pub requests_per_second: f64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests in flight at its end.
    pub in_flight: u64,
    /// Sessions at its end.
    pub sessions: u64,
    /// Backends that took requests at its end; a mean where slots were taken together.
    pub backends: f64,
    /// Requests a second that the busiest backend answered.
    pub busiest_per_second: f64,
    /// That over the mean of the backends that answered any.
    pub peak_to_mean: f64,
    /// Half of the answers were quicker.
    pub p50: f64,
    /// 99 of 100 answers were quicker.
    pub p99: f64,
}

impl Slot {
    /// Slots that follow each other, taken together. Of quantiles the highest is kept: nothing that
    /// somebody had to wait for is lost.
    pub(super) fn of(slots: &[Slot]) -> Slot {
        let first = slots[0];
        let n = slots.len() as f64;
        let mean = |of: fn(&Slot) -> f64| slots.iter().map(of).sum::<f64>() / n;
        let most = |of: fn(&Slot) -> f64| slots.iter().map(of).fold(0.0, f64::max);
        let last = slots[slots.len() - 1];
        Slot {
            at: first.at,
            requests_per_second: mean(|slot| slot.requests_per_second),
            failed: slots.iter().map(|slot| slot.failed).sum(),
            in_flight: last.in_flight,
            sessions: last.sessions,
            backends: mean(|slot| slot.backends),
            busiest_per_second: most(|slot| slot.busiest_per_second),
            peak_to_mean: mean(|slot| slot.peak_to_mean),
            p50: mean(|slot| slot.p50),
            p99: most(|slot| slot.p99),
        }
    }
}

impl Figures {
    /// Sums up a run that is over.
    pub(in crate::lab) fn new(
        site: &Site,
        policy: &Policy,
        seed: u64,
        counts: Option<Counts>,
    ) -> Self {
        let meter = &site.meter;
        let length = (meter.to() - meter.from()) as f64;
        let failed = Failure::LABELS.iter().zip(meter.failed).filter(|(_, count)| *count > 0);
        let failed: BTreeMap<_, _> = failed.map(|(label, count)| (*label, count)).collect();
        let over: u64 = meter.answered + failed.values().sum::<u64>();
        let answered = (meter.answered as f64).max(1.0);
        let latencies = meter.latencies();
        let quantile = |q: f64| latencies.value_at_quantile(q) as f64 / 1e9;
        let by_backend = by_backend(site);
        let concurrency = f64::from(site.plan.fleet.concurrency);
        let (busy, ready) = site.servers.iter().fold((0.0, 0.0), |(busy, ready), server| {
            (busy + server.load.busy as f64, ready + server.load.ready as f64)
        });
        let moved = Reason::ALL.iter().map(|reason| reason.as_str()).zip(site.pool.moves());
        Figures {
            policy: policy.to_string(),
            backends: site.plan.fleet.backends,
            seed,
            seconds: length / 1e9,
            requests: Requests {
                offered: meter.offered,
                answered: meter.answered,
                failed,
                unfinished: meter.offered.saturating_sub(over),
            },
            latency: Latency {
                mean: meter.latency_sum as f64 / answered / 1e9,
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: latencies.max() as f64 / 1e9,
            },
            mean_wait: meter.waited as f64 / answered / 1e9,
            utilization: if ready > 0.0 { busy / ready / concurrency } else { 0.0 },
            mean_backends: if length > 0.0 { ready / length } else { 0.0 },
            imbalance: imbalance(site, quantile(0.99)),
            sessions: counts.map(|Counts { begun, lost, unknown }| Sessions {
                begun,
                lost: (policy.is_sticky() && begun > 0).then_some(lost),
                unknown: (policy.is_sticky() && begun > 0).then_some(unknown),
                moved: moved.filter(|(_, count)| *count > 0).collect(),
            }),
            cost: None,
            drains: site.drains.iter().map(|drain| drain_report(drain, meter.from())).collect(),
            by_backend,
            timeline: meter.slots.clone(),
            rates: meter.by_slot.clone(),
            latencies,
        }
    }

    /// Says what stickiness costs, given the same arrivals without it.
    pub(in crate::lab) fn compare(&mut self, even: &Figures) {
        let over = |own: f64, other: f64| if other > 0.0 { own / other - 1.0 } else { 0.0 };
        self.cost = Some(Cost {
            headroom: over(self.imbalance.requests, even.imbalance.requests),
            p99: over(self.latency.p99, even.latency.p99),
            mean: over(self.latency.mean, even.latency.mean),
        });
    }
}

fn by_backend(site: &Site) -> Vec<BackendFigures> {
    let mean = mean_rate(site, |server| server.requests);
    let concurrency = f64::from(site.plan.fleet.concurrency);
    let one = |(number, server): (usize, &super::server::Server)| {
        let load = server.load;
        let ready = load.ready as f64;
        let per = |what: f64| if ready > 0.0 { what / ready } else { 0.0 };
        BackendFigures {
            name: name(number as u32),
            requests: load.requests,
            of_mean: if mean > 0.0 { per(load.requests as f64) / mean } else { 0.0 },
            utilization: per(load.busy as f64) / concurrency,
            p50: site.meter.quantile_of(number, 0.5),
            p99: site.meter.quantile_of(number, 0.99),
        }
    };
    site.servers.iter().enumerate().map(one).collect()
}

/// What all of them carried over the time that they were there.
fn mean_rate(site: &Site, of: impl Fn(&super::server::Load) -> u64) -> f64 {
    let sum: f64 = site.servers.iter().map(|server| of(&server.load) as f64).sum();
    let ready: f64 = site.servers.iter().map(|server| server.load.ready as f64).sum();
    if ready > 0.0 { sum / ready } else { 0.0 }
}

fn imbalance(site: &Site, p99: f64) -> Imbalance {
    let length = (site.meter.to() - site.meter.from()) as f64;
    let counts = |server: &&super::server::Server| server.load.ready as f64 >= LONG_ENOUGH * length;
    let peak = |of: fn(&super::server::Load) -> u64| {
        let rates = site.servers.iter().filter(counts);
        let rates = rates.map(|server| of(&server.load) as f64 / server.load.ready as f64);
        let mean = mean_rate(site, of);
        if mean > 0.0 { rates.fold(0.0, f64::max) / mean } else { 0.0 }
    };
    let rates: Vec<f64> = site
        .servers
        .iter()
        .filter(counts)
        .map(|server| server.load.requests as f64 / server.load.ready as f64)
        .collect();
    let n = rates.len().max(1) as f64;
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    let mean = sum / n;
    let variance = (squares / n - mean * mean).max(0.0);
    let by_requests = |&i: &usize| site.servers[i].load.requests;
    let busiest = (0..site.servers.len()).max_by_key(by_requests).unwrap_or_default();
    let busiest_p99 = site.meter.quantile_of(busiest, 0.99);
    Imbalance {
        requests: peak(|load| load.requests),
        in_flight_time: peak(|load| load.resident),
        sessions: peak(|load| load.sessions),
        jain: if squares > 0.0 { sum * sum / (n * squares) } else { 1.0 },
        variation: if mean > 0.0 { variance.sqrt() / mean } else { 0.0 },
        busiest_p99: if p99 > 0.0 { busiest_p99 / p99 } else { 0.0 },
    }
}

fn drain_report(drain: &Drain, from: u64) -> DrainReport {
    DrainReport {
        backend: name(drain.server),
        at: drain.since.saturating_sub(from) as f64 / 1e9,
        took: drain.ended.map(|ended| (ended - drain.since) as f64 / 1e9),
        sessions: drain.sessions_at_start,
        cut: drain.cut,
    }
}
