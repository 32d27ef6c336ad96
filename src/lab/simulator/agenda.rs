//! What happens next: a calendar queue.
//!
//! Events lie in buckets of equal width, as in a wall calendar: finding the bucket of a new event
//! is a shift, and the next event is in the first bucket that is not empty (Brown 1988, "Calendar
//! queues: a fast O(1) priority queue implementation for the simulation event set problem"). Most
//! buckets are empty, and a bit for each says so; of the others most have a single event, which
//! need not be sorted. The calendar always shows the same number of buckets from now on; what lies
//! beyond waits in a heap until its bucket comes into view. Nothing is allocated for an event once
//! the lists have grown.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No node.
const NONE: u32 = u32::MAX;

/// Buckets whose bits are in one number.
const WORD: usize = u64::BITS as usize;

/// Buckets in view: at least, at most, as powers of two.
const BUCKETS: (u32, u32) = (10, 20);

/// Buckets for one event: so many that events seldom share one, and so few that they stay in the
/// processor's cache.
const BUCKETS_PER_EVENT: f64 = 2.0;

/// The calendar shows so many times as long as an event lies ahead on average: an exponential time
/// is seldom longer.
const VIEW: f64 = 4.0;

/// Things to come, in the order of their times; of equals, first come first served.
#[derive(Debug)]
pub(in crate::lab) struct Agenda<E> {
    /// The first node of each bucket's list.
    buckets: Box<[u32]>,
    /// Which of them have any, one bit each.
    used: Box<[u64]>,
    nodes: Vec<Node<E>>,
    /// The first node of the list of those that are free.
    free: u32,
    /// Nodes in buckets.
    near: usize,
    /// What is left of the current bucket, latest first.
    today: Vec<(u64, E)>,
    /// The number of the current bucket, counted from time zero.
    current: u64,
    /// Width of a bucket as a power of two.
    shift: u32,
    far: BinaryHeap<Reverse<Far<E>>>,
    /// The bucket of the first of them, to look at in passing.
    far_from: u64,
    /// Things that ever were far away, to keep equals in order.
    serial: u64,
}

#[derive(Debug)]
struct Node<E> {
    time: u64,
    event: E,
    next: u32,
}

#[derive(Debug)]
struct Far<E> {
    time: u64,
    serial: u64,
    event: E,
}

impl<E: Copy> Agenda<E> {
    /// For about so many events per nanosecond, of which `pending` lie ahead at a time. Right for
    /// any, and fast if that is about right.
    pub(in crate::lab) fn new(per_nanosecond: f64, pending: f64) -> Self {
        let width = 1.0 / per_nanosecond.max(1e-15) / BUCKETS_PER_EVENT;
        let buckets = (VIEW * BUCKETS_PER_EVENT * pending).max(1.0).log2().ceil() as u32;
        let buckets = 1usize << buckets.clamp(BUCKETS.0, BUCKETS.1);
        Agenda {
            buckets: vec![NONE; buckets].into(),
            used: vec![0; buckets / WORD].into(),
            nodes: Vec::new(),
            free: NONE,
            near: 0,
            today: Vec::new(),
            current: 0,
            shift: width.clamp(1.0, 1e15).log2() as u32,
            far: BinaryHeap::new(),
            far_from: u64::MAX,
            serial: 0,
        }
    }

    /// Something to come. What should have happened already happens next.
    #[inline]
    pub(in crate::lab) fn add(&mut self, time: u64, event: E) {
        let bucket = time >> self.shift;
        if bucket <= self.current {
            self.add_today(time, event);
        } else if bucket - self.current < self.buckets.len() as u64 {
            self.file(time, event);
        } else {
            self.add_far(time, event);
        }
    }

    #[inline(never)]
    fn add_today(&mut self, time: u64, event: E) {
        let at = self.today.partition_point(|&(other, _)| other > time);
        self.today.insert(at, (time, event));
    }

    #[inline(never)]
    fn add_far(&mut self, time: u64, event: E) {
        self.serial += 1;
        self.far.push(Reverse(Far { time, serial: self.serial, event }));
        self.far_from = self.far_from.min(time >> self.shift);
    }

    /// Puts an event into its bucket, which is in view.
    #[inline]
    fn file(&mut self, time: u64, event: E) {
        let head = self.bucket(time >> self.shift);
        let node = Node { time, event, next: self.buckets[head] };
        let index = match self.free {
            NONE => self.one_more(node),
            index => {
                let place = &mut self.nodes[index as usize];
                self.free = place.next;
                *place = node;
                index
            }
        };
        self.buckets[head] = index;
        self.used[head / WORD] |= 1 << (head % WORD);
        self.near += 1;
    }

    #[cold]
    fn one_more(&mut self, node: Node<E>) -> u32 {
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn bucket(&self, number: u64) -> usize {
        number as usize & (self.buckets.len() - 1)
    }

    /// The time of the next event.
    pub(in crate::lab) fn peek(&mut self) -> Option<u64> {
        if self.today.is_empty() {
            let next = self.turn_page()?;
            self.today.push(next);
        }
        self.today.last().map(|&(time, _)| time)
    }

    /// The next event and its time.
    #[inline]
    pub(in crate::lab) fn next(&mut self) -> Option<(u64, E)> {
        match self.today.pop() {
            None => self.turn_page(),
            next => next,
        }
    }

    /// Goes to the next bucket that has something in it. Gives the first of that, and leaves the
    /// others for today.
    fn turn_page(&mut self) -> Option<(u64, E)> {
        self.current = match self.near {
            0 if self.far_from == u64::MAX => return None,
            0 => self.far_from,
            _ => self.next_used(),
        };
        if self.far_from < self.current + self.buckets.len() as u64 {
            self.bring_into_view();
        }
        let head = self.bucket(self.current);
        self.used[head / WORD] &= !(1 << (head % WORD));
        let first = std::mem::replace(&mut self.buckets[head], NONE);
        let (only, next) = self.take(first);
        if next == NONE {
            return Some(only);
        }
        self.today.push(only);
        self.turn_to_list(next)
    }

    /// The first bucket after the current one that has something in it. There must be one.
    #[inline]
    fn next_used(&self) -> u64 {
        let mut number = self.current + 1;
        loop {
            let at = self.bucket(number);
            let rest = self.used[at / WORD] >> (at % WORD);
            if rest != 0 {
                return number + u64::from(rest.trailing_zeros());
            }
            number += (WORD - at % WORD) as u64;
        }
    }

    /// What was far away until now.
    #[inline(never)]
    fn bring_into_view(&mut self) {
        let end = self.current + self.buckets.len() as u64;
        while self.far_from < end {
            if let Some(Reverse(Far { time, event, .. })) = self.far.pop() {
                self.file(time, event);
            }
            let first = self.far.peek().map(|Reverse(first)| first.time >> self.shift);
            self.far_from = first.unwrap_or(u64::MAX);
        }
    }

    /// The rest of a bucket's list.
    #[inline(never)]
    fn turn_to_list(&mut self, mut next: u32) -> Option<(u64, E)> {
        while next != NONE {
            let (other, after) = self.take(next);
            self.today.push(other);
            next = after;
        }
        // A list has the latest comer first, and so has `today` of those at the same time.
        self.today.sort_by(|(one, _), (other, _)| other.cmp(one));
        self.today.pop()
    }

    /// Takes an event out of its list. Gives it, and what comes after it there.
    #[inline]
    fn take(&mut self, index: u32) -> ((u64, E), u32) {
        let node = &mut self.nodes[index as usize];
        let next = std::mem::replace(&mut node.next, self.free);
        self.free = index;
        self.near -= 1;
        ((node.time, node.event), next)
    }
}

impl<E> PartialEq for Far<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Far<E> {}

impl<E> PartialOrd for Far<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Far<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.serial).cmp(&(other.time, other.serial))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equals_come_in_the_order_in_which_they_were_added() {
        let mut agenda = Agenda::new(1.0, 4.0);
        for event in 0..5 {
            agenda.add(7, event);
        }
        agenda.add(3, 9);
        assert_eq!(agenda.next(), Some((3, 9)));
        agenda.add(7, 5);
        let rest: Vec<i32> = std::iter::from_fn(|| agenda.next()).map(|(_, event)| event).collect();
        assert_eq!(rest, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_far_away_comes_too() {
        let mut agenda = Agenda::new(1e-3, 10.0);
        for time in [1u64 << 60, 5, 1 << 40, (1 << 40) + 1, 0] {
            agenda.add(time, time);
        }
        let order: Vec<u64> = std::iter::from_fn(|| agenda.next()).map(|(time, _)| time).collect();
        assert_eq!(order, [0, 5, 1 << 40, (1 << 40) + 1, 1 << 60]);
        assert_eq!(agenda.peek(), None);
    }

    proptest! {
        /// Whatever is added, and whenever, it comes out as from a sorted list.
        #[test]
        fn the_order_is_that_of_a_heap(
            delays in proptest::collection::vec((0u64..1 << 22, 0usize..3), 1..400),
            shift in 0u32..20,
        ) {
            let mut agenda = Agenda::new(1.0 / (1u64 << shift) as f64, 1.0);
            let mut heap = BinaryHeap::new();
            let mut now = 0;
            for (number, &(delay, takes)) in delays.iter().enumerate() {
                agenda.add(now + delay, number);
                heap.push(Reverse((now + delay, number)));
                for _ in 0..takes {
                    prop_assert_eq!(agenda.peek(), heap.peek().map(|Reverse((time, _))| *time));
                    let next = agenda.next();
                    prop_assert_eq!(next.map(|(time, _)| time), heap.pop().map(|Reverse((time, _))| time));
                    now = next.map_or(now, |(time, _)| time);
                }
            }
            while let Some((time, _)) = agenda.next() {
                prop_assert_eq!(Some(time), heap.pop().map(|Reverse((time, _))| time));
            }
            prop_assert!(heap.is_empty());
        }
    }
}
