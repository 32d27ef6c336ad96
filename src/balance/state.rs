//! How a backend is: what is true of it, and what follows from that.

use std::fmt;

use super::Reason;

/// How a backend is. Two questions matter, and they have different answers:
/// [`accepts_new`](BackendState::accepts_new) and [`accepts_bound`](BackendState::accepts_bound).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// Takes everything.
    Ready,
    /// Takes its bound sessions, no new ones.
    Draining,
    /// Has drained: takes nothing until an operator makes it ready.
    Drained,
    /// Passively removed for a while because of failures seen in traffic.
    Ejected,
    /// Its health checks fail.
    Down,
    /// An operator took it out.
    Maintenance,
}

impl BackendState {
    /// Every state, for whoever shows one of them as the one that holds.
    pub const ALL: [BackendState; 6] = [
        BackendState::Ready,
        BackendState::Draining,
        BackendState::Drained,
        BackendState::Ejected,
        BackendState::Down,
        BackendState::Maintenance,
    ];

    /// May a new session, or a free request, go there?
    pub const fn accepts_new(self) -> bool {
        matches!(self, BackendState::Ready)
    }

    /// May a session that is bound to it go there?
    pub const fn accepts_bound(self) -> bool {
        matches!(self, BackendState::Ready | BackendState::Draining)
    }

    /// Why a session cannot stay there; `None` when it can.
    pub const fn refusal(self) -> Option<Reason> {
        match self {
            BackendState::Ready | BackendState::Draining => None,
            BackendState::Drained => Some(Reason::Drained),
            BackendState::Ejected => Some(Reason::Ejected),
            BackendState::Down | BackendState::Maintenance => Some(Reason::Down),
        }
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            BackendState::Ready => "ready",
            BackendState::Draining => "draining",
            BackendState::Drained => "drained",
            BackendState::Ejected => "ejected",
            BackendState::Down => "down",
            BackendState::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that can be true of a backend independently of the others. The visible
/// [`BackendState`] follows from all of them, so that a drain survives a failed health check and
/// a recovery does not end a maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// An operator took it out.
    Maintenance = 1 << 0,
    /// Its health checks fail.
    Down = 1 << 1,
    /// Failures seen in traffic.
    Ejected = 1 << 2,
    /// A drain has come to its end.
    Drained = 1 << 3,
    /// An operator drains it.
    Draining = 1 << 4,
    /// The app asked, through its health check, to be drained.
    AskedToDrain = 1 << 5,
}

impl Condition {
    /// What makes a backend's sessions leave, as a set of bits.
    pub(super) const LEAVING: u8 = Condition::Draining as u8 | Condition::AskedToDrain as u8;

    /// What an operator does, as a set of bits.
    pub(super) const BY_OPERATOR: u8 =
        Condition::Maintenance as u8 | Condition::Draining as u8 | Condition::Drained as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_questions_have_different_answers() {
        use BackendState::*;
        for state in [Ready, Draining, Drained, Ejected, Down, Maintenance] {
            assert_eq!(state.accepts_new(), state == Ready);
            assert_eq!(state.accepts_bound(), matches!(state, Ready | Draining));
            assert_eq!(state.refusal().is_none(), state.accepts_bound());
        }
    }
}
