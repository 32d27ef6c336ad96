//! The metrics, one after the other: their names, their labels, and what they mean.
//! `docs/metrics.md` says more about each.

mod cost;
mod unstick;

use std::sync::atomic::Ordering;

use super::meter::Counts;
use super::snapshot::{BackendFigures, PoolFigures, Snapshot};
use super::text::{Format, Kind, Text};
use super::{Histogram, Metrics, STATUS_CLASSES, Tally, process};
use crate::balance::{Backend, BackendState, Outcome, Reason, Timestamp};
use crate::clock;
use crate::observe::{End, ProblemKind};

/// All of them.
pub(super) fn all(metrics: &Metrics, snapshot: &Snapshot, format: Format) -> String {
    let mut text = Text::new(format);
    requests(&mut text, snapshot);
    latencies(&mut text, snapshot);
    connections(&mut text, snapshot);
    backends(&mut text, snapshot);
    drains(&mut text, snapshot);
    pools(&mut text, snapshot);
    cost::write(&mut text, snapshot, metrics.costs());
    unstick::write(&mut text, snapshot, metrics);
    listeners(&mut text, snapshot);
    of_the_process(&mut text, metrics);
    text.finish()
}

/// Calls `each` with pool and name of every backend.
fn each_backend(snapshot: &Snapshot, mut each: impl FnMut([(&str, &str); 2], &BackendFigures)) {
    for pool in &snapshot.pools {
        for backend in &pool.backends {
            each([("pool", pool.pool.name()), ("backend", &backend.name)], backend);
        }
    }
}

/// Calls `each` with the labels and the counts of everything that requests can end at: backends,
/// pools without one, and no pool at all.
fn each_end(snapshot: &Snapshot, mut each: impl FnMut([(&str, &str); 2], &Counts)) {
    each([("pool", ""), ("backend", "")], &snapshot.unrouted);
    for pool in &snapshot.pools {
        each([("pool", pool.pool.name()), ("backend", "")], &pool.unplaced);
    }
    each_backend(snapshot, |labels, backend| each(labels, &backend.counts));
}

fn requests(text: &mut Text, snapshot: &Snapshot) {
    text.metric(
        "stickler_requests",
        Kind::Counter,
        "Requests that have ended, by where they went and why, and the class of their status.",
    );
    each_end(snapshot, |[pool, backend], counts| {
        for (cause, class, count) in counts.requests().filter(|(.., count)| *count > 0) {
            let cause = ("cause", cause.unwrap_or_default());
            text.sample(&[pool, backend, cause, ("code", STATUS_CLASSES[class])], count);
        }
    });
    text.metric(
        "stickler_problems",
        Kind::Counter,
        "Requests that got an answer of the proxy's own.",
    );
    let of_nobody = [("", &snapshot.unrouted)].into_iter();
    let totals: Vec<_> =
        snapshot.pools.iter().map(|pool| (pool.pool.name(), pool.total())).collect();
    for (pool, counts) in of_nobody.chain(totals.iter().map(|(name, counts)| (*name, counts))) {
        for kind in ProblemKind::ALL {
            // Those that a pool has no part in are never counted there.
            if pool.is_empty() || counts.problems(*kind) > 0 {
                let labels = [("pool", pool), ("problem", kind.as_str())];
                text.sample(&labels, counts.problems(*kind));
            }
        }
    }
    text.metric(
        "stickler_rerouted_requests",
        Kind::Counter,
        "Requests whose session is not at home here: moved here for good, or detoured for now.",
    );
    each_backend(snapshot, |[pool, backend], figures| {
        for reason in Reason::ALL {
            let counts = [
                ("moved", figures.counts.moved(*reason)),
                ("detoured", figures.counts.detoured(*reason)),
            ];
            for (cause, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                let labels = [pool, backend, ("cause", cause), ("reason", reason.as_str())];
                text.sample(&labels, count);
            }
        }
    });
    text.metric(
        "stickler_broken_requests",
        Kind::Counter,
        "Requests that did not end well, and why.",
    );
    each_end(snapshot, |[pool, backend], counts| {
        for end in End::ALL.into_iter().filter(|end| counts.ends(*end) > 0) {
            text.sample(&[pool, backend, ("end", end.as_str())], counts.ends(end));
        }
    });
}

fn latencies(text: &mut Text, snapshot: &Snapshot) {
    text.metric(
        "stickler_request_duration_seconds",
        Kind::Histogram,
        "Whole requests, from their head to the end of their response; tunnels do not count.",
    );
    each_end(snapshot, |labels, counts| {
        if !labels[1].1.is_empty() || counts.whole.count() > 0 {
            histogram(text, &labels, &counts.whole);
        }
    });
    text.metric(
        "stickler_backend_response_head_seconds",
        Kind::Histogram,
        "From sending a request to a backend until the head of its response.",
    );
    each_backend(snapshot, |labels, backend| histogram(text, &labels, &backend.counts.head));
}

fn histogram(text: &mut Text, labels: &[(&str, &str); 2], histogram: &Histogram) {
    let [pool, backend] = *labels;
    for (micros, count) in histogram.exposed() {
        let bound = format!("{:?}", micros as f64 / 1e6);
        text.line("_bucket", &[pool, backend, ("le", &bound)], count);
    }
    text.line("_bucket", &[pool, backend, ("le", "+Inf")], histogram.count());
    text.line("_sum", labels, histogram.sum().as_secs_f64());
    text.line("_count", labels, histogram.count());
}

fn connections(text: &mut Text, snapshot: &Snapshot) {
    let counters = [
        ("stickler_backend_connections_opened", Tally::Opened, "Connections made to a backend."),
        (
            "stickler_backend_connections_reused",
            Tally::Reused,
            "Requests that were sent over a connection from the cache.",
        ),
        (
            "stickler_backend_connect_failures",
            Tally::ConnectFailures,
            "Connections that could not be made.",
        ),
        (
            "stickler_backend_retries",
            Tally::Retries,
            "Requests that were sent again, there or elsewhere, after this backend failed them.",
        ),
        (
            "stickler_backend_unknown_sessions",
            Tally::Unknown,
            "Requests whose session the app did not know, as it said.",
        ),
        (
            "stickler_backend_received_bytes",
            Tally::Received,
            "Bytes received from a backend, heads and tunnels included.",
        ),
        (
            "stickler_backend_sent_bytes",
            Tally::Sent,
            "Bytes sent to a backend, heads and tunnels included.",
        ),
    ];
    for (name, tally, help) in counters {
        text.metric(name, Kind::Counter, help);
        each_backend(snapshot, |labels, backend| text.sample(&labels, backend.counts.get(tally)));
    }
}

fn backends(text: &mut Text, snapshot: &Snapshot) {
    text.metric("stickler_backend_in_flight", Kind::Gauge, "Requests started and not finished.");
    each_backend(snapshot, |labels, backend| text.sample(&labels, backend.in_flight()));
    text.metric(
        "stickler_backend_attempts",
        Kind::Counter,
        "Attempts to have a request served by a backend, by outcome.",
    );
    each_member(snapshot, |[pool, backend], member| {
        for (outcome, count) in Outcome::LABELS.into_iter().zip(member.outcomes()) {
            text.sample(&[pool, backend, ("outcome", outcome)], count);
        }
    });
    text.metric(
        "stickler_backend_state",
        Kind::Gauge,
        "1 for the state that a backend is in, else 0.",
    );
    each_member(snapshot, |[pool, backend], member| {
        let state = member.state();
        for each in BackendState::ALL {
            let labels = [pool, backend, ("state", each.as_str())];
            text.sample(&labels, u8::from(each == state));
        }
    });
    let mut gauge = |name, help, value: fn(&Backend) -> u32| {
        text.metric(name, Kind::Gauge, help);
        each_member(snapshot, |labels, member| text.sample(&labels, value(member)));
    };
    gauge("stickler_backend_sessions", "Sessions bound to a backend.", Backend::sessions);
    let help = "Requests in flight that have become tunnels.";
    gauge("stickler_backend_tunnels", help, Backend::tunnels);
    let help = "Requests that wait for this very backend.";
    gauge("stickler_backend_waiting", help, Backend::waiting);
    let help = "The weight of a backend, not counting a slow start.";
    gauge("stickler_backend_weight", help, Backend::weight);
    text.metric(
        "stickler_backend_max_in_flight",
        Kind::Gauge,
        "Requests in flight at most, for backends with a limit (max_connections).",
    );
    each_member(snapshot, |labels, member| {
        let limit = member.max_connections();
        limit.into_iter().for_each(|limit| text.sample(&labels, limit));
    });
}

/// What is known of drains: of the last one of each backend that has had one.
fn drains(text: &mut Text, snapshot: &Snapshot) {
    let now = clock::now();
    let mut drains = Vec::new();
    for pool in &snapshot.pools {
        let progress = |backend: &BackendFigures| pool.pool.drain_progress(backend.id, now);
        let found = pool.backends.iter().filter_map(|b| Some((b, progress(b)?)));
        drains.extend(found.map(|(backend, drain)| {
            ([("pool", pool.pool.name()), ("backend", &*backend.name)], drain)
        }));
    }
    let help = "Sessions of a backend's last drain, by what has become of them so far.";
    text.metric("stickler_drain_sessions", Kind::Gauge, help);
    for ([pool, backend], drain) in &drains {
        let staying = u64::from(drain.sessions);
        let fates = [
            ("staying", staying),
            ("left", drain.left),
            ("moved", drain.moved),
            ("cut", drain.cut),
        ];
        for (fate, count) in fates {
            text.sample(&[*pool, *backend, ("fate", fate)], count);
        }
    }
    let help = "When a backend's last drain began, in seconds since 1970.";
    text.metric("stickler_drain_start_timestamp_seconds", Kind::Gauge, help);
    for (labels, drain) in &drains {
        text.sample(labels, seconds(drain.since));
    }
    let help = "When a drain that goes on will be over, as far as can be said.";
    text.metric("stickler_drain_estimated_end_timestamp_seconds", Kind::Gauge, help);
    for (labels, drain) in drains.iter().filter(|(_, drain)| drain.ended.is_none()) {
        drain.estimated_end.into_iter().for_each(|end| text.sample(labels, seconds(end)));
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1e3
}

fn each_member(snapshot: &Snapshot, mut each: impl FnMut([(&str, &str); 2], &Backend)) {
    each_backend(snapshot, |labels, backend| {
        backend.member.iter().for_each(|member| each(labels, member));
    });
}

fn pools(text: &mut Text, snapshot: &Snapshot) {
    text.metric(
        "stickler_pool_sessions",
        Kind::Gauge,
        "Sessions of a pool that this proxy knows of.",
    );
    each_pool(snapshot, |labels, pool| text.sample(labels, pool.pool.ledger().len()));
    text.metric(
        "stickler_pool_untracked_sessions",
        Kind::Counter,
        "Times that a session was not recorded because the ledger was full (max_sessions).",
    );
    each_pool(snapshot, |labels, pool| text.sample(labels, pool.pool.ledger().untracked()));
    text.metric("stickler_pool_waiting", Kind::Gauge, "Requests that wait for any backend.");
    each_pool(snapshot, |labels, pool| text.sample(labels, pool.pool.waiting()));
    text.metric(
        "stickler_affinity_breaks",
        Kind::Counter,
        "Sessions that moved or were detoured, and tokens that were not honoured, by reason.",
    );
    each_pool(snapshot, |labels, pool| {
        for reason in Reason::ALL {
            let labels = [labels[0], ("reason", reason.as_str())];
            text.sample(&labels, pool.pool.count_of(*reason));
        }
    });
}

fn each_pool(snapshot: &Snapshot, mut each: impl FnMut(&[(&str, &str)], &PoolFigures)) {
    snapshot.pools.iter().for_each(|pool| each(&[("pool", pool.pool.name())], pool));
}

fn listeners(text: &mut Text, snapshot: &Snapshot) {
    let mut each = |name, kind, help, value: fn(&super::ListenerFigures) -> u64| {
        text.metric(name, kind, help);
        for listener in &snapshot.listeners {
            text.sample(&[("listener", &listener.address.to_string())], value(listener));
        }
    };
    let help = "Connections that clients have made.";
    each("stickler_listener_connections_accepted", Kind::Counter, help, |l| l.accepted);
    let help = "Client connections that are open.";
    each("stickler_listener_connections", Kind::Gauge, help, |l| l.open);
    let help = "Client connections at once, at most; further ones wait in the kernel's queue.";
    each("stickler_listener_max_connections", Kind::Gauge, help, |l| l.max);
    let help = "Bytes received from clients, tunnels included.";
    each("stickler_listener_received_bytes", Kind::Counter, help, |l| l.received);
    let help = "Bytes sent to clients, tunnels included.";
    each("stickler_listener_sent_bytes", Kind::Counter, help, |l| l.sent);
}

fn of_the_process(text: &mut Text, metrics: &Metrics) {
    text.metric(
        "stickler_config_reloads",
        Kind::Counter,
        "Times that the configuration was read again.",
    );
    for (outcome, count) in ["failure", "success"].into_iter().zip(metrics.reloads()) {
        text.sample(&[("outcome", outcome)], count);
    }
    let help = "1 unless the last reload failed, and the configuration before it is in force.";
    text.metric("stickler_config_last_reload_successful", Kind::Gauge, help);
    text.sample(&[], 1 - metrics.last_failed.load(Ordering::Relaxed));
    let help = "When the configuration in force was loaded, in seconds since 1970.";
    text.metric("stickler_config_loaded_timestamp_seconds", Kind::Gauge, help);
    text.sample(&[], metrics.loaded.load(Ordering::Relaxed) as f64 / 1e9);
    let help = "Log lines that could not be written, because their output did not take them.";
    text.metric("stickler_log_lines_lost", Kind::Counter, help);
    for (log, lost) in metrics.lines_lost() {
        text.sample(&[("log", log)], lost);
    }
    text.metric(
        "stickler_build_info",
        Kind::Gauge,
        "Always 1; the labels say which build this is.",
    );
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    process::write(text);
}
