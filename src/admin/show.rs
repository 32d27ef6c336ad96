//! From pools, backends and events to what the API says.

mod cost;
mod unstick;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::cost::cost;
use super::Admin;
use super::figures::{Recent, requests, share};
use super::view::{self, rfc3339};
use crate::balance::{Backend, Cause, DrainProgress, Outcome, Pool, Reason, Timestamp};
use crate::observe::{Change, Check, Event, ReloadOutcome, Reloaded};

impl Admin {
    /// Every pool, as it is now.
    pub(super) fn show_pools(&self, now: Timestamp) -> view::Pools {
        let pools = self.controller.pools();
        let recent = self.figures.recent(&pools, &self.metrics);
        let pools = pools.iter().map(|pool| self.show_pool(pool, &recent, now)).collect();
        view::Pools { at: rfc3339(now), pools, routes: self.show_splits() }
    }

    /// What has come in the last seconds.
    pub(super) fn recent(&self) -> Recent {
        self.figures.recent(&self.controller.pools(), &self.metrics)
    }

    /// One pool.
    pub(super) fn show_pool(
        &self,
        pool: &Arc<Pool>,
        recent: &Recent,
        now: Timestamp,
    ) -> view::Pool {
        let backends = pool.backends();
        let of_pool = Totals::new(&backends, recent);
        let affinity = pool.affinity();
        let reasons = Reason::ALL.iter().map(|&reason| (reason.as_str(), pool.count_of(reason)));
        let waiting: u32 = backends.iter().map(|backend| backend.waiting()).sum();
        view::Pool {
            name: pool.name().to_owned(),
            balance: pool.balance().as_str().to_owned(),
            affinity: view::Affinity {
                mode: affinity.mode.as_str().to_owned(),
                when_unavailable: affinity.when_unavailable.as_str().to_owned(),
                idle_timeout: humantime::format_duration(affinity.idle_timeout).to_string(),
            },
            sessions: pool.ledger().len() as u64,
            untracked: pool.ledger().untracked(),
            in_flight: backends.iter().map(|backend| backend.in_flight()).sum(),
            waiting: waiting + pool.waiting(),
            unavailable: pool.unavailable(),
            request_rate: recent.rate(of_pool.recent),
            reasons: counted(reasons),
            cost: self.show_cost(pool),
            unstick: affinity.unstick.and_then(|_| self.show_unstick(pool.name())),
            backends: backends
                .iter()
                .map(|backend| self.show_backend(pool, backend, &of_pool, recent, now))
                .collect(),
        }
    }

    fn show_cost(&self, pool: &Pool) -> Vec<view::Cost> {
        let costs = self.metrics.costs().of(pool.name());
        costs.iter().map(|measured| cost(measured, pool)).collect()
    }

    /// What a pool's unstick experiment has shown, if there is one.
    pub(super) fn show_unstick(&self, pool: &str) -> Option<view::Unstick> {
        let experiment = self.metrics.experiment(&self.controller.pools(), pool)?;
        Some(unstick::unstick(&experiment))
    }

    fn show_backend(
        &self,
        pool: &Pool,
        backend: &Arc<Backend>,
        of_pool: &Totals,
        recent: &Recent,
        now: Timestamp,
    ) -> view::Backend {
        let lately = recent.requests(backend);
        let history = self.controller.history(backend.id());
        let last_error = history.last_error();
        view::Backend {
            name: backend.name().to_owned(),
            address: backend.address().to_string(),
            state: backend.state().as_str().to_owned(),
            weight: backend.weight(),
            priority: backend.priority(),
            max_connections: backend.max_connections(),
            in_flight: backend.in_flight(),
            waiting: backend.waiting(),
            tunnels: backend.tunnels(),
            sessions: backend.sessions(),
            requests: requests(backend),
            request_rate: recent.rate(lately),
            request_share: share(lately as f64, of_pool.recent as f64),
            session_share: share(backend.sessions().into(), of_pool.sessions as f64),
            fair_share: of_pool.fair_share(backend),
            placed: all(Cause::LABELS.into_iter().zip(backend.placed())),
            outcomes: all(Outcome::LABELS.into_iter().zip(backend.outcomes())),
            latency: recent.latency(pool.name(), backend.name()).map(|[p50, p99]| view::Latency {
                p50_ms: p50.as_secs_f64() * 1e3,
                p99_ms: p99.as_secs_f64() * 1e3,
            }),
            drain: pool.drain_progress(backend.id(), now).map(|progress| drain(&progress)),
            last_error: last_error
                .map(|(at, what)| view::LastError { at: rfc3339(at), what: what.to_owned() }),
        }
    }

    /// One backend, and what became of it lately.
    pub(super) fn show_detail(
        &self,
        pool: &Arc<Pool>,
        backend: &Arc<Backend>,
        now: Timestamp,
    ) -> view::BackendDetail {
        let recent = self.recent();
        let of_pool = Totals::new(&pool.backends(), &recent);
        let history = self.controller.history(backend.id());
        let changes = history.changes().map(|change| (change.at, of_change(change)));
        let checks = history.checks().map(|check| (check.at, of_check(check)));
        let mut entries: Vec<_> = changes.chain(checks).collect();
        entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let origin = self.controller.origin(pool.name(), backend.name());
        view::BackendDetail {
            pool: pool.name().to_owned(),
            origin: origin.map(|origin| origin.as_str().to_owned()),
            backend: self.show_backend(pool, backend, &of_pool, &recent, now),
            history: entries.into_iter().map(|(_, entry)| entry).collect(),
        }
    }
}

/// What a backend's shares are of.
struct Totals {
    /// Requests lately.
    recent: u64,
    sessions: u64,
    /// Of the backends that take new sessions.
    weight: u64,
    /// Their priority.
    priority: Option<u32>,
}

impl Totals {
    fn new(backends: &[Arc<Backend>], recent: &Recent) -> Self {
        let ready = || backends.iter().filter(|b| b.state().accepts_new() && b.weight() > 0);
        let priority = ready().map(|backend| backend.priority()).min();
        let first = ready().filter(|backend| Some(backend.priority()) == priority);
        Totals {
            recent: backends.iter().map(|backend| recent.requests(backend)).sum(),
            sessions: backends.iter().map(|backend| u64::from(backend.sessions())).sum(),
            weight: first.map(|backend| u64::from(backend.weight())).sum(),
            priority,
        }
    }

    fn fair_share(&self, backend: &Backend) -> f64 {
        match backend.state().accepts_new() && Some(backend.priority()) == self.priority {
            true => share(backend.weight().into(), self.weight as f64),
            false => 0.0,
        }
    }
}

/// A drain.
pub(super) fn drain(progress: &DrainProgress) -> view::Drain {
    let moved = Reason::ALL.iter().zip(progress.moved_by_reason);
    view::Drain {
        since: rfc3339(progress.since),
        deadline: progress.deadline.map(rfc3339),
        sessions_at_start: progress.sessions_at_start,
        joined: progress.joined,
        sessions: progress.sessions,
        in_flight: progress.in_flight,
        tunnels: progress.tunnels,
        left: progress.left,
        moved: progress.moved,
        moved_by_reason: counted(moved.map(|(reason, count)| (reason.as_str(), count))),
        cut: progress.cut,
        tunnels_closed: progress.tunnels_closed,
        estimated_end: progress.estimated_end.map(rfc3339),
        ended: progress.ended.map(rfc3339),
        was_cancelled: progress.was_cancelled,
    }
}

fn of_change(change: &Change) -> view::HistoryEntry {
    view::HistoryEntry {
        at: rfc3339(change.at),
        kind: "transition".into(),
        from: Some(change.from.as_str().to_owned()),
        to: Some(change.to.as_str().to_owned()),
        passed: None,
        why: change.why.to_string(),
    }
}

fn of_check(check: &Check) -> view::HistoryEntry {
    view::HistoryEntry {
        at: rfc3339(check.at),
        kind: "health".into(),
        from: None,
        to: None,
        passed: Some(check.error.is_none()),
        why: check.error.as_deref().unwrap_or("passes").to_owned(),
    }
}

/// All counts by label.
fn all<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    counts.map(|(label, count)| (label.to_owned(), count)).collect()
}

/// Counts by label, without those of what never happened.
fn counted<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    all(counts.filter(|&(_, count)| count > 0))
}

/// How a reload went.
pub(super) fn reload(outcome: &ReloadOutcome) -> view::Reload {
    let (changes, warnings, error) = match &outcome.result {
        Ok(Reloaded { changes, warnings }) => (changes.clone(), warnings.clone(), None),
        Err(error) => (Vec::new(), Vec::new(), Some(error.clone())),
    };
    view::Reload {
        at: rfc3339(outcome.at),
        trigger: outcome.trigger.as_str().to_owned(),
        ok: outcome.is_success(),
        changes,
        warnings,
        error,
    }
}

/// Something that has just happened.
pub(super) fn event(event: &Event, now: Timestamp) -> view::Event {
    let names = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect();
    match event {
        Event::Transition(change) => view::Event::Transition(view::Transition {
            at: rfc3339(change.at),
            pool: change.pool.to_string(),
            backend: change.backend.to_string(),
            from: change.from.as_str().to_owned(),
            to: change.to.as_str().to_owned(),
            why: change.why.to_string(),
            sessions: change.sessions,
            in_flight: change.in_flight,
        }),
        Event::Drain { pool, backend, progress } => view::Event::Drain(view::DrainOf {
            at: rfc3339(progress.ended.unwrap_or(now)),
            pool: pool.to_string(),
            backend: backend.to_string(),
            drain: drain(progress),
        }),
        Event::Reload(outcome) => view::Event::Reload(reload(outcome)),
        Event::Membership { pool, added, removed, at } => {
            view::Event::Membership(view::Membership {
                at: rfc3339(*at),
                pool: pool.to_string(),
                added: names(added),
                removed: names(removed),
            })
        }
        Event::Weight { pool, backend, weight, at } => view::Event::Weight(view::WeightOf {
            at: rfc3339(*at),
            pool: pool.to_string(),
            backend: backend.to_string(),
            weight: *weight,
        }),
    }
}
