use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// Keeps whoever waits at it until it is opened, once and for all. Clones are the same gate: one
/// for the test, one for its backend's script.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Gate::default()
    }

    pub fn open(&self) {
        let (is_open, changed) = &*self.0;
        *is_open.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Returns when the gate is open.
    #[track_caller]
    pub fn wait(&self) {
        let (is_open, changed) = &*self.0;
        let guard = is_open.lock().unwrap();
        let waited = changed.wait_timeout_while(guard, PATIENCE, |is_open| !*is_open).unwrap();
        assert!(!waited.1.timed_out(), "waited in vain for a gate to open");
    }
}
