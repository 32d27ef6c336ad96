//! Why something that was asked of a running proxy is not done.

use thiserror::Error;

use crate::balance::Refused;

/// Why something that was asked of a running proxy is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No pool has that name.
    #[error("there is no such pool")]
    UnknownPool,
    /// No backend of the pool has that name.
    #[error("the pool has no such backend")]
    UnknownBackend,
    /// It would leave the pool without a ready backend. Force overrides it.
    #[error("no other backend of the pool is ready")]
    LastReady,
    /// No route over several pools has that name.
    #[error("there is no such route over several pools")]
    UnknownRoute,
    /// No pool would be left to take new sessions.
    #[error("no other pool of the route takes new sessions")]
    NobodyElse,
    /// It would take new sessions, if it had a weight.
    #[error("the pool has weight 0 in this route: it takes no new sessions")]
    NoWeight,
    /// Another backend of the pool has that name.
    #[error("the pool has a backend of that name")]
    NameTaken,
    /// It is no longer listed anywhere, and is gone when its sessions have left.
    #[error("the backend is leaving already")]
    Leaving,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UnknownBackend => Refusal::UnknownBackend,
            Refused::LastReady => Refusal::LastReady,
        }
    }
}
