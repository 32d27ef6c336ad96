//! Stickiness: what a request's token or key says about where it should go.
//!
//! Affinity only *proposes*; [`Pool::place`](super::Pool::place) decides, because a home can be
//! down, draining or gone. Reading a token and writing one are values in and out: this module
//! never sees a request or a response.

mod first_burst;
mod ledger;
mod lifetimes;
mod released;
mod token;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

pub(super) use first_burst::{First, FirstBurst};
pub use ledger::{Ledger, Residence};
pub(super) use lifetimes::Lifetimes;
pub(super) use released::Released;
pub use token::{Key, Keyring, TOKEN_LEN, TokenText};

use super::hashing::Algorithm;
use super::unstick::{Arm, Unstick};
use super::{BackendId, Rng, Timestamp};

/// One client's stay with the app. Random for a session of our own cookie, the hash of the key
/// for hash affinity; unique within a pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// A new session.
    pub fn random(rng: &mut dyn Rng) -> Self {
        SessionId(rng.next_u64())
    }

    /// The id that [`SessionId::to_bits`] gave, or the hash of a key.
    pub const fn from_bits(bits: u64) -> Self {
        SessionId(bits)
    }

    /// 64 bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// What a token says: which session is bound to which backend, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The session's home.
    pub backend: BackendId,
    /// The session.
    pub session: SessionId,
    /// When the session began; the absolute timeout counts from here. Millisecond precision.
    pub issued: Timestamp,
    /// When the client's token was last renewed; the idle timeout counts from here.
    pub refreshed: Timestamp,
}

impl Grant {
    /// The same with a new token. A clock that was ahead is put right.
    pub(super) fn refreshed_at(&self, now: Timestamp) -> Grant {
        Grant { issued: self.issued.min(now), refreshed: now, ..*self }
    }
}

/// What a request asks for, before anybody has looked whether it can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It may go anywhere.
    Free,
    /// The same, and a client that is known by this number sends it: if it is among its first
    /// requests, they land together.
    First(u64),
    /// It carries a valid token.
    Bound(Grant),
    /// It carries a key: the hash of a header, a cookie, an address, ...
    Key(u64),
}

/// What the client is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: what it has is right, or there is nothing to have.
    Keep,
    /// A token that says this.
    Issue(Grant),
    /// That what it has is worth nothing any more.
    Revoke,
}

/// What the app wants done with the session of a request that it has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To begin, if there is none: see [`Establish::OnDemand`].
    Pin,
    /// To end: the user has logged out.
    Release,
}

/// When a session begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Establish {
    /// With the first answer.
    #[default]
    Always,
    /// When the app says so, with [`Wish::Pin`].
    OnDemand,
}

impl Establish {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Establish::Always => "always",
            Establish::OnDemand => "on_demand",
        }
    }
}

/// Moving sessions toward even distribution while all is well: after a scale-out, above all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebalance {
    /// How many move a second at most.
    pub moves_per_second: NonZeroU32,
    /// A backend gives sessions away while it has more than 1 plus this times its fair share.
    pub margin: f32,
    /// Only sessions that have paused for so long move.
    pub idle_for: Duration,
}

/// How a pool recognizes a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    #[default]
    None,
    /// By a sealed cookie of our own.
    Cookie,
    /// By hashing a key that the request carries.
    Hash(Algorithm),
}

impl Mode {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::None => "none",
            Mode::Cookie => "cookie",
            Mode::Hash(_) => "hash",
        }
    }
}

/// What happens to a session whose home cannot serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// It moves to another backend for good.
    #[default]
    Rebalance,
    /// It is served elsewhere for now, always at the same place as far as possible; the binding
    /// stays, and it returns when its home is back.
    Detour,
    /// The request is refused; the session stays bound and finds its home when that is back.
    Reject,
    /// The request is held, and if its home is not back in time, this happens.
    Wait {
        /// How long it is held at most.
        up_to: Duration,
        /// What happens then.
        then: Afterwards,
    },
}

/// What happens to a session that has waited for its home in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// As [`WhenUnavailable::Rebalance`].
    #[default]
    Rebalance,
    /// As [`WhenUnavailable::Detour`].
    Detour,
    /// As [`WhenUnavailable::Reject`].
    Reject,
}

impl WhenUnavailable {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            WhenUnavailable::Rebalance => "rebalance",
            WhenUnavailable::Detour => "detour",
            WhenUnavailable::Reject => "reject",
            WhenUnavailable::Wait { .. } => "wait",
        }
    }

    /// The choice when there is no waiting, or no more.
    pub const fn without_waiting(self) -> Afterwards {
        match self {
            WhenUnavailable::Rebalance => Afterwards::Rebalance,
            WhenUnavailable::Detour => Afterwards::Detour,
            WhenUnavailable::Reject => Afterwards::Reject,
            WhenUnavailable::Wait { then, .. } => then,
        }
    }
}

impl Afterwards {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Afterwards::Rebalance => "rebalance",
            Afterwards::Detour => "detour",
            Afterwards::Reject => "reject",
        }
    }
}

/// A bound on the load that bound sessions may bring to their home.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overload {
    /// A home with more than this times its fair share of the requests in flight is overloaded.
    /// Above 1.
    pub factor: f32,
    /// What happens to a session's request then.
    pub action: OverloadAction,
}

/// What happens to a request of a session whose home is overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverloadAction {
    /// It is served elsewhere; the binding stays.
    Detour,
    /// The session moves for good.
    Rebalance,
    /// It waits until its home is no longer overloaded.
    Queue,
}

impl OverloadAction {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            OverloadAction::Detour => "detour",
            OverloadAction::Rebalance => "rebalance",
            OverloadAction::Queue => "queue",
        }
    }
}

/// A pool's affinity policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffinitySpec {
    /// How a session is recognized.
    pub mode: Mode,
    /// What happens when its home cannot serve it.
    pub when_unavailable: WhenUnavailable,
    /// What happens when its home has too much to do, if anything. For tokens.
    pub overload: Option<Overload>,
    /// Whether sessions move while their home is well, for the sake of evenness. For tokens.
    pub rebalance: Option<Rebalance>,
    /// Which sessions are routed freely, to see whether the app still needs stickiness, if any.
    pub unstick: Option<Unstick>,
    /// When a session begins. For tokens.
    pub establish: Establish,
    /// The first requests of a client that come within so long land together. For tokens.
    pub coalesce: Option<Duration>,
    /// For hashed keys: a member with more than this times its fair share of the requests in
    /// flight is passed over for now. Above 1.
    pub max_load: Option<f32>,
    /// A session ends when it has not been seen for so long.
    pub idle_timeout: Duration,
    /// A session ends so long after it began, however busy it is.
    pub absolute_timeout: Duration,
    /// Sessions that the ledger tracks at most; further ones are served but not counted.
    pub max_sessions: usize,
}

impl Default for AffinitySpec {
    fn default() -> Self {
        AffinitySpec {
            mode: Mode::None,
            when_unavailable: WhenUnavailable::Rebalance,
            overload: None,
            rebalance: None,
            unstick: None,
            establish: Establish::Always,
            coalesce: None,
            max_load: None,
            idle_timeout: Duration::from_secs(30 * 60),
            absolute_timeout: Duration::from_secs(12 * 60 * 60),
            max_sessions: 1_000_000,
        }
    }
}

impl AffinitySpec {
    /// How old a token's refresh time may become before the client gets a new token: a twentieth
    /// of the idle timeout, a minute at most.
    ///
    /// It is also how much later than `idle_timeout` a session may end, since the token of a
    /// session that was just seen may be this old already.
    pub fn refresh_interval(&self) -> Duration {
        (self.idle_timeout / 20).min(Duration::from_secs(60))
    }

    /// Should the client be told again? Also if the token's times lie ahead: it was made by a clock
    /// that has been put right since, and would never grow old.
    pub fn is_refresh_due(&self, grant: &Grant, now: Timestamp) -> bool {
        Lifetimes::from(self).is_refresh_due(grant, now)
    }

    /// Is this session one of those that are routed freely?
    #[inline]
    pub fn frees(&self, session: SessionId) -> bool {
        self.unstick.is_some_and(|unstick| unstick.arm(session) == Arm::Free)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
