//! The order of arrivals. Most proxies write a line when the answer has gone out, so that a slow
//! request stands behind quick ones that came later; and a log may only have seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::SeedableRng;
use rand_xoshiro::SplitMix64;

use super::entry::Entry;
use crate::balance::Rng;

/// Entries that are held back at most, whatever the window: what is older goes.
const MOST: usize = 1_000_000;

/// Holds entries back for a while and lets them go in the order of their times.
#[derive(Debug)]
pub struct Order {
    window: u64,
    waiting: BinaryHeap<Reverse<Waiting>>,
    latest: u64,
    /// The time of the last one that was let go.
    released: u64,
    /// Entries that came too late for the order; they arrive when they come.
    late: u64,
    serial: u64,
    dice: SplitMix64,
}

/// By time, then in the order of the log.
#[derive(Debug)]
struct Waiting {
    at: u64,
    serial: u64,
    entry: Entry,
}

impl Order {
    /// Holds entries back until so many nanoseconds later ones have been seen.
    pub fn new(window: u64) -> Self {
        Order {
            window,
            waiting: BinaryHeap::new(),
            latest: 0,
            released: 0,
            late: 0,
            serial: 0,
            dice: SplitMix64::seed_from_u64(0),
        }
    }

    /// Takes in the next entry of the log. What the log's clock does not say, chance does.
    pub fn push(&mut self, mut entry: Entry) {
        if entry.grain > 1 {
            let chance = (u128::from(self.dice.next_u64()) * u128::from(entry.grain)) >> 64;
            entry.at = entry.at.saturating_add(chance as u64);
        }
        self.latest = self.latest.max(entry.at);
        self.serial += 1;
        self.waiting.push(Reverse(Waiting { at: entry.at, serial: self.serial, entry }));
    }

    /// The next arrival that no later line can come before.
    pub fn pop(&mut self) -> Option<Entry> {
        let Reverse(first) = self.waiting.peek()?;
        let is_due = first.at.saturating_add(self.window) <= self.latest;
        if is_due || self.waiting.len() > MOST { self.pop_any() } else { None }
    }

    /// The next arrival, when the log has come to its end.
    pub fn pop_any(&mut self) -> Option<Entry> {
        let Reverse(Waiting { mut entry, .. }) = self.waiting.pop()?;
        if entry.at < self.released {
            self.late += 1;
            entry.at = self.released;
        }
        self.released = entry.at;
        Some(entry)
    }

    /// Entries that came too late for the order.
    pub fn late(&self) -> u64 {
        self.late
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64, grain: u64) -> Entry {
        Entry { at, grain, key: None, took: None }
    }

    fn times(order: &mut Order) -> Vec<u64> {
        std::iter::from_fn(|| order.pop()).map(|entry| entry.at).collect()
    }

    #[test]
    fn what_is_within_the_window_is_sorted() {
        let mut order = Order::new(10);
        [5, 3, 9, 14].into_iter().for_each(|at| order.push(entry(at, 1)));
        assert_eq!(times(&mut order), [3], "14 says that nothing before 4 comes any more");
        order.push(entry(30, 1));
        assert_eq!(times(&mut order), [5, 9, 14]);
        order.push(entry(2, 1));
        order.push(entry(50, 1));
        assert_eq!(times(&mut order), [14, 30], "too late: it comes when it comes");
        assert_eq!(order.late(), 1);
        assert_eq!(order.pop_any().map(|entry| entry.at), Some(50));
    }

    #[test]
    fn a_coarse_clock_is_made_finer_by_chance() {
        let mut order = Order::new(0);
        (0..1_000).for_each(|_| order.push(entry(1_000, 1_000)));
        let times: Vec<u64> = std::iter::from_fn(|| order.pop_any()).map(|e| e.at).collect();
        assert!(times.is_sorted() && times[0] < 1_020 && times[999] > 1_980 && times[999] < 2_000);
    }
}
