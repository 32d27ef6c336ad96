//! What a backend carries right now, laid out for those who look at many backends at once.
//!
//! In-flight counts stand next to each other, [`BLOCK`] to a block: a balancer that compares a
//! thousand backends reads four kilobytes instead of a thousand scattered cache lines. Everything
//! else that requests write lies apart, a cache line or more per backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::peak_ewma::Latency;
use super::queue::Queue;
use super::{Cause, Outcome};

/// Counts in a block.
pub(super) const BLOCK: usize = 64;

/// In-flight counts of up to [`BLOCK`] backends.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) in_flight: [AtomicU32; BLOCK],
    /// Which of them belong to a backend, one bit each.
    taken: AtomicU64,
}

impl Block {
    fn new() -> Arc<Self> {
        let in_flight = std::array::from_fn(|_| AtomicU32::new(0));
        Arc::new(Block { in_flight, taken: AtomicU64::new(0) })
    }
}

/// One count of a block. Returned when dropped, which is when nothing is in flight any more.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) block: Arc<Block>,
    pub(super) index: usize,
}

impl Slot {
    fn count(&self) -> &AtomicU32 {
        &self.block.in_flight[self.index]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.block.taken.fetch_and(!(1 << self.index), Ordering::Relaxed);
    }
}

/// The blocks of a pool.
#[derive(Debug, Default)]
pub(super) struct Blocks(Vec<Arc<Block>>);

impl Blocks {
    /// A count that belongs to nobody yet. Callers take turns (the pool's change lock).
    pub(super) fn take(&mut self) -> Slot {
        let free = |block: &Arc<Block>| (!block.taken.load(Ordering::Relaxed)).trailing_zeros();
        let found = self.0.iter().position(|block| free(block) < BLOCK as u32);
        let block = match found {
            Some(i) => self.0[i].clone(),
            None => {
                self.0.push(Block::new());
                self.0[self.0.len() - 1].clone()
            }
        };
        let index = free(&block) as usize;
        block.taken.fetch_or(1 << index, Ordering::Relaxed);
        Slot { block, index }
    }
}

/// What changes about a backend while the pool works. It outlives changes of the configuration:
/// whoever keeps its name keeps its load.
#[derive(Debug)]
pub(super) struct Load {
    slot: Slot,
    /// The [`Condition`](super::state::Condition)s that hold. Written under the pool's change
    /// lock.
    pub(super) conditions: AtomicU8,
    /// Configured weight; may change at run time, under the pool's change lock.
    pub(super) weight: AtomicU32,
    /// Requests in flight at most, `u32::MAX` if there is no limit; as the weight.
    pub(super) limit: AtomicU32,
    /// No longer a member: what is in flight may end here, and nothing begins.
    pub(super) has_departed: AtomicBool,
    /// The share of the pool's load that its weight entitles it to, as the bits of an `f32`.
    pub(super) share: AtomicU32,
    /// When it began to take new sessions again, in nanoseconds; 0 if that is long ago.
    pub(super) ready_since: AtomicU64,
    /// When an ejection began and when it ends, in nanoseconds; read while ejected.
    pub(super) ejected: [AtomicU64; 2],
    pub(super) hot: CachePadded<Hot>,
}

/// What every request writes.
#[derive(Debug, Default)]
pub(super) struct Hot {
    pub(super) sessions: AtomicU32,
    /// Consecutive failures to connect; see [`outlier`](super::outlier).
    pub(super) failures: AtomicU32,
    pub(super) latency: Latency,
    pub(super) placed: [AtomicU64; Cause::LABELS.len()],
    pub(super) outcomes: [AtomicU64; Outcome::LABELS.len()],
}

impl Load {
    pub(super) fn new(slot: Slot) -> Self {
        Load {
            slot,
            conditions: AtomicU8::new(0),
            weight: AtomicU32::new(1),
            limit: AtomicU32::new(u32::MAX),
            has_departed: AtomicBool::new(false),
            share: AtomicU32::new(1.0f32.to_bits()),
            ready_since: AtomicU64::new(0),
            ejected: Default::default(),
            hot: CachePadded::default(),
        }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.slot.count().load(Ordering::Relaxed)
    }

    /// One more in flight.
    pub(super) fn start(&self) {
        self.slot.count().fetch_add(1, Ordering::Relaxed);
    }

    /// One more in flight, unless there are `limit` already. Sequentially consistent, as is
    /// [`finish_bounded`](Load::finish_bounded): a slot that becomes free and a request that
    /// begins to wait must not miss each other.
    pub(super) fn try_start(&self, limit: u32) -> bool {
        let more = |count: u32| (count < limit).then_some(count + 1);
        self.slot.count().fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    pub(super) fn finish(&self) {
        self.slot.count().fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn finish_bounded(&self) {
        self.slot.count().fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the backends of a pool have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Requests in flight in the whole pool; only those that began while anybody asked for that:
    /// one count that all workers write is not free.
    total: CachePadded<AtomicU32>,
    counts_total: AtomicBool,
    /// Can a backend be too full for a request? Only then can one be waited for.
    bounded: AtomicBool,
    /// Sessions wait while their home has more in flight than this factor of its fair share: the
    /// bits of an `f32`, which is infinite if they never do.
    queues_above: AtomicU32,
    /// Requests that wait for any backend.
    queue: Arc<Queue>,
}

impl Shared {
    pub(super) fn new(counts_total: bool, queues_above: Option<f32>) -> Arc<Self> {
        let shared = Shared {
            total: CachePadded::default(),
            counts_total: AtomicBool::new(false),
            bounded: AtomicBool::new(false),
            queues_above: AtomicU32::default(),
            queue: Queue::new(),
        };
        shared.reconfigure(counts_total, queues_above);
        Arc::new(shared)
    }

    pub(super) fn reconfigure(&self, counts_total: bool, queues_above: Option<f32>) {
        let bits = queues_above.unwrap_or(f32::INFINITY).to_bits();
        self.queues_above.store(bits, Ordering::Relaxed);
        self.counts_total.store(counts_total, Ordering::Relaxed);
        if queues_above.is_some() {
            self.set_bounded();
        }
    }

    /// Requests in flight in the pool; 0 if they are not counted.
    pub(super) fn in_flight(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a request in, if anybody asks; gives whether it was.
    pub(super) fn start(&self) -> bool {
        let counts = self.counts_total.load(Ordering::Relaxed);
        if counts {
            self.total.fetch_add(1, Ordering::Relaxed);
        }
        counts
    }

    /// One that was counted in has ended.
    pub(super) fn finish(&self) {
        self.total.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.bounded.load(Ordering::Relaxed)
    }

    /// A backend has a limit. Once true it stays so: those who wait must be called.
    pub(super) fn set_bounded(&self) {
        self.bounded.store(true, Ordering::Relaxed);
    }

    pub(super) fn queues_above(&self) -> Option<f32> {
        let factor = f32::from_bits(self.queues_above.load(Ordering::Relaxed));
        factor.is_finite().then_some(factor)
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_blocks_and_are_used_again() {
        let mut blocks = Blocks::default();
        let mut slots: Vec<_> = (0..BLOCK + 1).map(|_| blocks.take()).collect();
        assert_eq!((blocks.0.len(), slots[BLOCK].index), (2, 0));
        assert!(slots.iter().take(BLOCK).enumerate().all(|(i, slot)| slot.index == i));
        drop(slots.remove(7));
        let again = blocks.take();
        assert_eq!((again.index, Arc::ptr_eq(&again.block, &blocks.0[0])), (7, true));
        assert_eq!(blocks.0.len(), 2);
    }

    #[test]
    fn a_bound_is_kept() {
        let load = Load::new(Blocks::default().take());
        assert!(load.try_start(2) && load.try_start(2) && !load.try_start(2));
        load.finish_bounded();
        assert!(load.try_start(2));
    }
}
