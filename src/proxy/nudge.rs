//! A waker that knows when it is not needed.
//!
//! hyper's halves of a connection wake each other through channels. Here one task drives both, so
//! a wake-up that its own doing causes only makes it run once more for nothing; and an idle
//! connection must not wake the task that used it last. A nudge passes on what comes from the
//! socket and drops the rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The waker of one backend connection. `Sync` because wakers are; all of it happens on one
/// thread, so the lock is never waited for.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// Who uses the connection.
    task: Mutex<Option<Waker>>,
    is_muted: AtomicBool,
}

impl Nudge {
    /// From now on it wakes this task.
    pub(super) fn aim_at(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *task {
            Some(task) => task.clone_from(waker), // free if it is the same already
            none => *none = Some(waker.clone()),
        }
    }

    /// From now on it wakes nobody.
    pub(super) fn aim_at_nobody(&self) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Does something whose wake-ups are of no interest, since the connection is about to be
    /// driven anyway.
    pub(super) fn muted<T>(&self, act: impl FnOnce() -> T) -> T {
        self.is_muted.store(true, Ordering::Relaxed);
        let result = act();
        self.is_muted.store(false, Ordering::Relaxed);
        result
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_muted.load(Ordering::Relaxed)
            && let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner)
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_wakes_whom_it_is_aimed_at_and_only_when_it_is_needed() {
        let count = Arc::new(Count::default());
        let nudge = Arc::new(Nudge::default());
        let waker = Waker::from(nudge.clone());
        waker.wake_by_ref();
        nudge.aim_at(&Waker::from(count.clone()));
        waker.wake_by_ref();
        nudge.muted(|| waker.wake_by_ref());
        nudge.aim_at_nobody();
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
