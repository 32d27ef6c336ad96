//! What is known of the frames on a connection of HTTP/2. Those that nothing comes of (empty settings,
//! pings and the like) cost us as much as they cost the client, and should be few.

use std::cell::Cell;

use crate::http::http2::Fault;

/// Bytes of HTTP/2 that a client may send for nothing.
const FRAMES_FREE: u64 = 1 << 20;

/// Further ones for each byte that is of use.
pub(crate) const FRAMES_PER_PAYLOAD: u64 = 8;

/// What each frame with something of use in it counts for beside that: whoever gets an event of one
/// byte may say that there is room for another one.
const FRAME_PAYLOAD: u64 = 16;

/// What has come on a connection, weighed against what of it was of use.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Bytes that have come.
    come: Cell<u64>,
    /// What has been sent and received that somebody asked for.
    payload: Cell<u64>,
    /// What was wrong with them. Nothing more is read then.
    fault: Cell<Option<Fault>>,
}

impl Frames {
    /// So many bytes have come.
    pub(crate) fn note(&self, bytes: usize) {
        self.come.set(self.come.get() + bytes as u64);
    }

    /// So many bytes of what was asked for, or asks for it, have come or gone in a frame.
    pub(crate) fn note_payload(&self, bytes: usize) {
        self.payload.set(self.payload.get() + FRAME_PAYLOAD + bytes as u64);
    }

    /// They make no sense.
    pub(crate) fn note_fault(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// Why they make no sense, if they do not.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Was nearly all of it of no use? `unread`: what of bodies may have come that nobody has asked
    /// for yet.
    pub(crate) fn are_a_flood(&self, unread: u64) -> bool {
        let useful = self.payload.get().saturating_mul(FRAMES_PER_PAYLOAD);
        self.come.get() > FRAMES_FREE.saturating_add(unread).saturating_add(useful)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_something_may_send_a_lot() {
        let frames = Frames::default();
        frames.note(FRAMES_FREE as usize + 1000);
        assert!(frames.are_a_flood(0) && !frames.are_a_flood(1000));
        frames.note_payload(200);
        assert!(!frames.are_a_flood(0));
    }
}
