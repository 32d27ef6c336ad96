//! Consistent hashing on a ring (Karger et al. 1997, "Consistent Hashing and Random Trees").
//!
//! Every member has points on a ring of hashes, [`POINTS`] for a weight of 1, and a key belongs to
//! the first point at or after its own place. A member's points depend on nothing but its name
//! and weight, so that when one leaves only its keys move, and when one joins only the keys that
//! it gets. nginx, HAProxy and Envoy have such rings, with 160, 16 and about 100 points.

use std::cmp::Reverse;

use super::{Hashing, Member, mix};
use crate::balance::ready::WEIGHT_ONE;

/// Points for a weight of 1. The busiest member's share is above the mean by some `1/sqrt(POINTS)`.
const POINTS: u64 = 256;

/// Points of all members together at most, two megabytes. Beyond it everybody has half as many, or
/// a quarter, and so on: halves, since every change of the scale moves keys.
const MAX_POINTS: u64 = 1 << 18;

#[derive(Debug)]
pub(super) struct Ring {
    /// Places and their owners, in order of place.
    points: Box<[(u32, u32)]>,
    /// For each value of a place's upper bits, the first point at or after its beginning.
    starts: Box<[u32]>,
    /// Bits of a place that `starts` leaves out.
    shift: u32,
    members: usize,
}

impl Ring {
    pub(super) fn new(members: &[Member]) -> Self {
        let counts = counts(members);
        let mut points: Vec<(u32, u32)> = Vec::with_capacity(counts.iter().sum::<u64>() as usize);
        for (index, (member, &count)) in members.iter().zip(&counts).enumerate() {
            points.extend((0..count).map(|i| (place(mix(i, member.name)), index as u32)));
        }
        // Two points in one place: the name decides, so that the configured order cannot.
        points
            .sort_unstable_by_key(|&(place, index)| (place, Reverse(members[index as usize].name)));
        // About one point for each value.
        let bits = points.len().max(1).next_power_of_two().ilog2();
        let shift = u32::BITS - bits;
        let starts = (0..1u64 << bits).map(|value| {
            let beginning = (value << shift) as u32;
            points.partition_point(|&(place, _)| place < beginning) as u32
        });
        Ring { starts: starts.collect(), points: points.into(), shift, members: members.len() }
    }
}

impl Hashing for Ring {
    fn owner(&self, key: u64, accepts: &dyn Fn(usize) -> bool) -> Option<usize> {
        let place = place(key);
        let start = self.starts[place.checked_shr(self.shift).unwrap_or(0) as usize] as usize;
        let skipped = self.points[start..].iter().take_while(|&&(other, _)| other < place).count();
        let (before, after) = self.points.split_at(start + skipped);
        let mut refused = Vec::new();
        for &(_, index) in after.iter().chain(before) {
            let index = index as usize;
            if refused.contains(&index) {
                continue;
            }
            if accepts(index) {
                return Some(index);
            }
            refused.push(index);
            if refused.len() == self.members {
                break;
            }
        }
        None
    }
}

/// How many points each member has.
fn counts(members: &[Member]) -> Vec<u64> {
    let points =
        |member: &Member| (u64::from(member.weight) * POINTS).div_ceil(u64::from(WEIGHT_ONE));
    let total: u64 = members.iter().map(points).sum();
    let halvings = total.div_ceil(MAX_POINTS).max(1).next_power_of_two().ilog2();
    let scaled = |member: &Member| match member.weight {
        0 => 0,
        _ => (points(member) >> halvings).max(1),
    };
    members.iter().map(scaled).collect()
}

fn place(hash: u64) -> u32 {
    (hash >> 32) as u32
}
