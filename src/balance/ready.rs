//! The backends that take new sessions, laid out for balancers.

mod least;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use self::least::Run;
use super::load::World;
use super::{Backend, BackendId, Timestamp};

/// A weight of 1. Effective weights are in thousandths, since a slow start begins with a fraction.
pub(super) const WEIGHT_ONE: u32 = 1_000;

/// The backends of one priority that take new sessions. Immutable: renewed when one of them
/// changes.
pub struct Ready {
    backends: Vec<Arc<Backend>>,
    /// Effective weights in thousandths, none of them zero.
    weights: Box<[u32]>,
    /// What one request adds to a backend's relative load: the inverse of its weight.
    steps: Box<[u64]>,
    /// Requests in flight at most; `u32::MAX` if there is no limit.
    limits: Box<[u32]>,
    /// Where the in-flight counts are, in the order of `backends`.
    runs: Box<[Run]>,
    /// Whose counts they are.
    world: World,
    has_equal_weights: bool,
    has_limits: bool,
}

impl Ready {
    /// Backends, each with its effective weight in thousandths, as they are in a world.
    pub(super) fn new(members: Vec<(Arc<Backend>, u32)>, world: World) -> Self {
        let (backends, weights): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let step = |&weight: &u32| (u64::from(WEIGHT_ONE) << 32) / u64::from(weight.max(1));
        let limit = |backend: &Arc<Backend>| backend.max_connections().unwrap_or(u32::MAX);
        Ready {
            steps: weights.iter().map(step).collect(),
            limits: backends.iter().map(limit).collect(),
            runs: Run::all(&backends, &weights),
            has_equal_weights: weights.windows(2).all(|pair| pair[0] == pair[1]),
            has_limits: backends.iter().any(|backend| backend.max_connections().is_some()),
            weights: weights.into(),
            world,
            backends,
        }
    }

    /// Requests in flight at backend `index`.
    pub fn in_flight(&self, index: usize) -> u32 {
        self.backends[index].load().in_flight(self.world)
    }

    /// The backends.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// Effective weights in thousandths.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Do all of them have the same weight?
    pub fn has_equal_weights(&self) -> bool {
        self.has_equal_weights
    }

    /// The requests in flight at backend `index` for its weight, rounded, so that 3 of weight 3
    /// equal 1 of weight 1. Who is full has more than anybody else.
    pub fn relative_load(&self, index: usize) -> u64 {
        rounded(exact(self.in_flight(index), self.steps[index], self.limits[index]))
    }
}

/// The bits of a load that are rounded away, so that what is equal by weights is equal after
/// division.
const ROUNDING: u32 = 12;

/// The load of those that are full, before it is rounded: more than any other.
const FULL: u64 = u64::MAX << ROUNDING;

#[inline]
fn exact(in_flight: u32, step: u64, limit: u32) -> u64 {
    if in_flight < limit { u64::from(in_flight) * step } else { FULL }
}

#[inline]
fn rounded(exact: u64) -> u64 {
    (exact + (1 << (ROUNDING - 1))) >> ROUNDING
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.backends.iter().map(|backend| backend.name());
        f.debug_map().entries(names.zip(self.weights.iter())).finish()
    }
}

/// What a balancer may choose from.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The backends that take new sessions.
    pub ready: &'a Ready,
    /// Those that failed this request already. Nearly always empty.
    pub tried: &'a [BackendId],
    /// For what changes with time.
    pub now: Timestamp,
}

impl Candidates<'_> {
    /// May candidate `index` take this request?
    pub fn allows(&self, index: usize) -> bool {
        let backend = &self.ready.backends[index];
        (self.tried.is_empty() || !self.tried.contains(&backend.id()))
            && (!self.ready.has_limits || self.ready.in_flight(index) < self.ready.limits[index])
    }

    /// May all of them, without a look?
    pub fn allows_all(&self) -> bool {
        self.tried.is_empty() && !self.ready.has_limits
    }

    /// The less loaded of two: fewer requests in flight for its weight, and if those are equal,
    /// fewer sessions for its weight, which will bring more. Of equals the first.
    pub fn less_loaded(&self, a: usize, b: usize) -> usize {
        match self.ready.relative_load(b).cmp(&self.ready.relative_load(a)) {
            Ordering::Less => b,
            Ordering::Greater => a,
            Ordering::Equal => self.fewer_sessions(a, b),
        }
    }

    /// The one of two with fewer sessions for its weight. Of equals the first.
    pub fn fewer_sessions(&self, a: usize, b: usize) -> usize {
        if self.sessions(b) < self.sessions(a) { b } else { a }
    }

    /// Sessions bound to candidate `index` for its weight. In the even world none are.
    fn sessions(&self, index: usize) -> u64 {
        if self.ready.world == World::Even {
            return 0;
        }
        u64::from(self.ready.backends[index].sessions()) * self.ready.steps[index]
    }
}
