//! Who has been called: the wakers of requests that wait at the simulated proxy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

/// Those who were called and have not been listened to yet.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<VecDeque<Ring>>);

/// Who was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    pub(super) waiting: u32,
    pub(super) stamp: u32,
}

/// A waker's inside.
#[derive(Debug)]
pub(super) struct Handle {
    bell: Arc<Bell>,
    ring: Ring,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Ring>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls somebody.
    pub(super) fn ring(&self, ring: Ring) {
        self.lock().push_back(ring);
    }

    /// The first who was called.
    pub(super) fn heard(&self) -> Option<Ring> {
        self.lock().pop_front()
    }

    /// What calls this one.
    pub(super) fn handle(self: &Arc<Self>, ring: Ring) -> Arc<Handle> {
        Arc::new(Handle { bell: self.clone(), ring })
    }
}

impl Wake for Handle {
    fn wake(self: Arc<Self>) {
        self.bell.ring(self.ring);
    }
}
