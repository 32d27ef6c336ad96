//! One request, from its arrival to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use stickler::balance::queue::{Wait, Woken};
use stickler::balance::{BackendId, Cause, Hint, InFlight, Placement, Reason, Timestamp};

/// A request.
pub struct Request {
    pub client: usize,
    pub hint: Hint,
    pub tried: Vec<BackendId>,
    pub since: Timestamp,
    /// What was true when it asked last.
    pub facts: Facts,
    pub phase: Phase,
    /// Times that it has waited.
    pub waits: u32,
}

impl Request {
    /// May it go to this backend, and has nobody called it yet? Calls of one moment are heard in any
    /// order.
    pub fn waits_for(&self, id: BackendId) -> bool {
        let has_rung = matches!(&self.phase, Phase::Waiting(_, bell) if bell.has_rung());
        !has_rung && !self.tried.contains(&id)
    }
}

/// Where a request is on its way.
pub enum Phase {
    /// About to ask.
    Asking,
    /// In a line.
    Waiting(Wait, Arc<Bell>),
    /// In flight.
    Placed(Placement, InFlight),
    /// Answered, refused or left.
    Over,
}

/// What a request could expect when it asked. Decisions are judged by it, also those that a
/// queue makes later.
#[derive(Clone, Debug)]
pub struct Facts {
    pub kind: Kind,
    /// Why it could not be served at home, or why it could leave. Empty: it had to go there.
    pub reasons: Vec<Reason>,
    /// A drain wants it to leave its home now, if anybody takes it.
    pub must_leave: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing binds it. The cause is what a placement must say.
    Free(Cause),
    /// A valid token names this home.
    Bound(BackendId),
    /// A key, and where it was seen last.
    Keyed(u64, Option<BackendId>),
}

/// A waker that remembers that it was called.
#[derive(Default)]
pub struct Bell(AtomicBool);

impl Bell {
    pub fn has_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn poll(self: &Arc<Self>, wait: &mut Wait) -> Poll<Woken> {
        wait.poll(&mut Context::from_waker(&Waker::from(self.clone())))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
