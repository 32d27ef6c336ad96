//! Log lines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::balance::{Pool, Transition};
use crate::config::Log;

/// Sends log lines to standard error, as configured. A second call changes nothing.
pub fn init(log: &Log) {
    // The filter was checked when the configuration was read.
    let filter = EnvFilter::new(&log.filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let _ = match log.json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

/// Says that a backend has changed its state: who, why, and whom it concerns.
pub(crate) fn log_transition(pool: &Pool, transition: &Transition, why: &str) {
    let Transition { backend, from, to } = transition;
    let (pool, sessions, in_flight) = (pool.name(), backend.sessions(), backend.in_flight());
    let backend = backend.name();
    if to.accepts_new() {
        tracing::info!(pool, backend, %from, %to, sessions, in_flight, "{why}");
    } else {
        tracing::warn!(pool, backend, %from, %to, sessions, in_flight, "{why}");
    }
}
