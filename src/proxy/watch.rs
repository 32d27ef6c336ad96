//! Deadlines that cost nothing while they are met.
//!
//! A timer per request is a timer-wheel insertion and removal per request. Instead every worker
//! has a coarse clock of [`TICK`]s, a deadline is a number of ticks in a cell, and a sweep over
//! the worker's connections wakes the few that are late. Setting and clearing a deadline is one
//! store. Timeouts are kept to within two ticks, never early.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

/// The step of the coarse clock.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A point on a worker's coarse clock; 0 is never.
pub(crate) type Tick = u32;

/// How many ticks surely cover a duration.
pub(crate) fn ticks(duration: Duration) -> Tick {
    let ticks = duration.as_millis().div_ceil(TICK.as_millis());
    // One more, since the current tick is partly over.
    Tick::try_from(ticks).unwrap_or(Tick::MAX / 2).saturating_add(1)
}

/// Whom a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client, to send something.
    ClientRead = 0,
    /// The client, to take something.
    ClientWrite = 1,
    /// The backend.
    Backend = 2,
    /// All of them together: the client has said how long it waits.
    Deadline = 3,
}

const SIDES: [Side; 4] = [Side::ClientRead, Side::ClientWrite, Side::Backend, Side::Deadline];

/// The deadlines of one client connection, and how to wake it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    deadlines: [Cell<Tick>; SIDES.len()],
    /// Deadlines that have passed, one bit a side.
    fired: Cell<u8>,
    waker: RefCell<Option<Waker>>,
    /// The task of an upload that goes on beside its response: its deadlines are here too.
    uploader: RefCell<Option<Waker>>,
}

impl Watch {
    /// Remembers the connection's task.
    pub(crate) fn attach(&self, waker: &Waker) {
        remember(&self.waker, waker);
    }

    /// Remembers the task of an upload that goes on beside its response.
    pub(crate) fn attach_uploader(&self, waker: &Waker) {
        remember(&self.uploader, waker);
    }

    /// Forgets that task.
    pub(crate) fn detach_uploader(&self) {
        let uploader = self.uploader.take();
        drop(uploader);
    }

    /// Sets a deadline, in place of an earlier one.
    pub(crate) fn set(&self, side: Side, deadline: Tick) {
        self.deadlines[side as usize].set(deadline);
        self.fired.set(self.fired.get() & !(1 << side as u8));
    }

    /// Sets a deadline unless one is set.
    pub(crate) fn ensure(&self, side: Side, deadline: impl FnOnce() -> Tick) {
        if !self.is_set(side) && !self.has_fired(side) {
            self.set(side, deadline());
        }
    }

    /// Is a deadline set that has not passed?
    pub(crate) fn is_set(&self, side: Side) -> bool {
        self.deadlines[side as usize].get() != 0
    }

    /// Takes a deadline back.
    pub(crate) fn clear(&self, side: Side) {
        self.set(side, 0);
    }

    /// Has a deadline passed?
    pub(crate) fn has_fired(&self, side: Side) -> bool {
        self.fired.get() & 1 << side as u8 != 0
    }

    /// Wakes the connection.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Fires what is late and wakes the connection if anything is.
    pub(crate) fn sweep(&self, now: Tick) {
        let mut late = false;
        for side in SIDES {
            let deadline = &self.deadlines[side as usize];
            if deadline.get() != 0 && deadline.get() <= now {
                deadline.set(0);
                self.fired.set(self.fired.get() | 1 << side as u8);
                late = true;
            }
        }
        if late {
            if let Some(uploader) = &*self.uploader.borrow() {
                uploader.wake_by_ref();
            }
            self.wake();
        }
    }
}

/// Keeps a task's waker. It is nearly always the one that is kept, and a clone counts atomically.
fn remember(kept: &RefCell<Option<Waker>>, waker: &Waker) {
    match &mut *kept.borrow_mut() {
        Some(kept) => kept.clone_from(waker),
        none => *none = Some(waker.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn deadlines_fire_once_and_wake() {
        let count = Arc::new(Count::default());
        let watch = Watch::default();
        watch.attach(&Waker::from(count.clone()));
        watch.set(Side::Backend, 10);
        watch.ensure(Side::Backend, || 5);
        watch.sweep(9);
        assert!(!watch.has_fired(Side::Backend));
        watch.sweep(10);
        watch.sweep(11);
        assert!(watch.has_fired(Side::Backend) && !watch.has_fired(Side::ClientRead));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        watch.set(Side::Backend, 20);
        assert!(!watch.has_fired(Side::Backend), "a new deadline starts afresh");
        watch.clear(Side::Backend);
        watch.sweep(30);
        assert!(!watch.has_fired(Side::Backend));
    }

    #[test]
    fn timeouts_are_never_early() {
        // Set just before a tick, noticed at a sweep just after: never less than the duration.
        assert_eq!(ticks(Duration::from_millis(100)), 2);
        assert_eq!(ticks(Duration::from_millis(101)), 3);
        assert_eq!(ticks(Duration::ZERO), 1);
        assert!(ticks(Duration::MAX) < Tick::MAX);
    }
}
