//! Log lines.

use crate::balance::{Pool, Transition};

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
