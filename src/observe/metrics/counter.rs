//! A count that one thread writes and every thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that belongs to one worker: adding to it is a load, an addition and a store, without
/// the bus lock that a shared count would cost. Readers see a recent value.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the worker that the count belongs to may do so.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes 1 off again, of a count of what is going on. Only the worker may do so.
    #[inline]
    pub(crate) fn take_back(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    /// The count so far.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
