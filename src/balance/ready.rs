//! The backends that take new sessions, laid out for balancers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::balancer::below;
use super::load::{Block, World};
use super::{Backend, BackendId, Rng, Timestamp};

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

/// Consecutive backends whose counts are next to each other.
struct Run {
    /// The index of the first of them.
    start: usize,
    block: Arc<Block>,
    /// Where in the block its count is.
    first: usize,
    len: usize,
    /// The weight of all of them.
    weight: u64,
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
            runs: runs(&backends, &weights),
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

    /// The requests in flight at backend `index` for its weight; `u64::MAX` if it is full. Rounded,
    /// so that 3 of weight 3 equal 1 of weight 1.
    pub fn relative_load(&self, index: usize) -> u64 {
        self.relative(index, self.in_flight(index))
    }

    fn relative(&self, index: usize, in_flight: u32) -> u64 {
        relative(in_flight, self.steps[index], self.limits[index])
    }

    /// The least relative load that any of them has. Reads the counts where they stand.
    pub(super) fn least(&self) -> Least {
        let mut least = Least { load: u64::MAX, by_run: [0; NOTED_RUNS] };
        for (i, run) in self.runs.iter().enumerate() {
            let load = self.least_of(run);
            least.load = least.load.min(load);
            if let Some(noted) = least.by_run.get_mut(i) {
                *noted = load;
            }
        }
        least
    }

    fn least_of(&self, run: &Run) -> u64 {
        if self.has_limits {
            return self.loads(run).fold(u64::MAX, u64::min);
        }
        // Without limits the counts alone, or counts and weights, give the order.
        let counts = self.counts(run).iter().map(|count| count.load(Ordering::Relaxed));
        if self.has_equal_weights {
            return counts.min().map_or(u64::MAX, |count| self.relative(run.start, count));
        }
        let steps = &self.steps[run.start..run.start + run.len];
        let products = counts.zip(steps).map(|(count, step)| u64::from(count) * step);
        products.min().map_or(u64::MAX, rounded)
    }

    fn counts<'a>(&self, run: &'a Run) -> &'a [AtomicU32] {
        &run.block.counts(self.world)[run.first..run.first + run.len]
    }

    fn loads<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = u64> + 'a {
        let range = run.start..run.start + run.len;
        let limits = self.steps[range.clone()].iter().zip(&self.limits[range]);
        let loads = self.counts(run).iter().zip(limits);
        loads.map(|(count, (&step, &limit))| relative(count.load(Ordering::Relaxed), step, limit))
    }

    /// One of those with the least load, as often as its weight says. Of many, a run of those that
    /// have one is drawn first, by the weight of all in it: exact if there is only one run or all
    /// loads are equal, and near enough else. `None` if nobody has that load any more.
    pub(super) fn draw_least(&self, least: &Least, rng: &mut dyn Rng) -> Option<usize> {
        let noted = self.runs.iter().zip(&least.by_run);
        let with_least = || noted.clone().filter(|(_, load)| **load == least.load);
        let total: u64 = with_least().map(|(run, _)| run.weight).sum();
        let mut ticket = below(rng, total);
        let (run, _) = with_least().find(|(run, _)| match ticket.checked_sub(run.weight) {
            Some(rest) => {
                ticket = rest;
                false
            }
            None => true,
        })?;
        let weight = |(i, load): (usize, u64)| {
            if load == least.load { u64::from(self.weights[run.start + i]) } else { 0 }
        };
        let total: u64 = self.loads(run).enumerate().map(weight).sum();
        let ticket = below(rng, total);
        let mut sum = 0;
        let hit = self.loads(run).enumerate().position(|tie| {
            sum += weight(tie);
            ticket < sum
        });
        hit.map(|i| run.start + i)
    }
}

/// The least load, and where it is.
pub(super) struct Least {
    pub(super) load: u64,
    /// The least load of each run, as far as there is room.
    by_run: [u64; NOTED_RUNS],
}

/// Enough for two thousand backends of which all are ready. Of further ones the least load counts,
/// and if only they have it the slow way finds them.
const NOTED_RUNS: usize = 32;

#[inline]
fn relative(in_flight: u32, step: u64, limit: u32) -> u64 {
    if in_flight < limit { rounded(u64::from(in_flight) * step) } else { u64::MAX }
}

/// So that what is equal by weights is equal after division.
#[inline]
fn rounded(load: u64) -> u64 {
    const ROUNDING: u32 = 12;
    (load + (1 << (ROUNDING - 1))) >> ROUNDING
}

fn runs(backends: &[Arc<Backend>], weights: &[u32]) -> Box<[Run]> {
    let mut runs: Vec<Run> = Vec::new();
    for (start, (backend, &weight)) in backends.iter().zip(weights).enumerate() {
        let weight = u64::from(weight);
        let slot = backend.load().slot();
        match runs.last_mut() {
            Some(run)
                if Arc::ptr_eq(&run.block, &slot.block) && run.first + run.len == slot.index =>
            {
                run.len += 1;
                run.weight += weight;
            }
            _ => runs.push(Run {
                start,
                block: slot.block.clone(),
                first: slot.index,
                len: 1,
                weight,
            }),
        }
    }
    runs.into()
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
        let load = |index| (self.ready.relative_load(index), self.sessions(index));
        if load(b) < load(a) { b } else { a }
    }

    /// Sessions bound to candidate `index` for its weight. In the even world none are.
    fn sessions(&self, index: usize) -> u64 {
        if self.ready.world == World::Even {
            return 0;
        }
        u64::from(self.ready.backends[index].sessions()) * self.ready.steps[index]
    }
}
