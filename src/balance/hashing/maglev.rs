//! Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4).
//!
//! Each member has its own permutation of the places of a lookup table. In turns, every member
//! takes the next place of its permutation that is still free, until the table is full: shares
//! differ by hardly more than one place, and a lookup is one read. The bargain: when the
//! membership changes, some keys of members that stay move too. A weight gives a member turns in
//! proportion, as in Envoy.
//!
//! A member that is only out of service does not change the table. Its keys are hashed again,
//! which spreads them over all others and moves nobody else's.

use super::{Hashing, Member, mix};

/// Places in the table: primes, the smaller one if it has a hundred for each member. The paper
/// has these two, and less than 1 % imbalance from a hundred on.
const SIZES: [usize; 2] = [65_537, 655_373];

/// Places for each member at least.
const PLACES_EACH: usize = 100;

/// Times that a key is hashed again before all members are asked in turn.
const PATIENCE: u64 = 32;

#[derive(Debug)]
pub(super) struct Maglev {
    /// Owners by place; empty if nobody can own anything.
    table: Box<[u16]>,
    members: usize,
}

impl Maglev {
    pub(super) fn new(members: &[Member]) -> Self {
        let size = SIZES[usize::from(members.len() * PLACES_EACH > SIZES[0])];
        Maglev { table: fill(members, size), members: members.len() }
    }
}

/// A member on its way through its permutation.
struct Turn {
    index: u16,
    offset: usize,
    skip: usize,
    weight: f64,
    /// Places that it should have by now.
    target: f64,
    taken: f64,
}

fn fill(members: &[Member], size: usize) -> Box<[u16]> {
    const FREE: u16 = u16::MAX;

    let heaviest = members.iter().map(|member| member.weight).max().unwrap_or(0);
    if heaviest == 0 {
        return Box::default();
    }
    let turn = |(index, member): (usize, &Member)| Turn {
        index: index as u16,
        offset: (mix(1, member.name) % size as u64) as usize,
        skip: (mix(2, member.name) % (size as u64 - 1)) as usize + 1,
        weight: f64::from(member.weight) / f64::from(heaviest),
        target: 0.0,
        taken: 0.0,
    };
    let mut turns: Vec<Turn> = members.iter().enumerate().map(turn).collect();
    turns.retain(|turn| turn.weight > 0.0);
    // The configured order must not matter.
    turns.sort_by_key(|turn| members[usize::from(turn.index)].name);
    let mut table = vec![FREE; size];
    let mut free = size;
    while free > 0 {
        for turn in &mut turns {
            turn.target += turn.weight;
            if turn.taken >= turn.target || free == 0 {
                continue;
            }
            while table[turn.offset] != FREE {
                turn.offset = (turn.offset + turn.skip) % size;
            }
            table[turn.offset] = turn.index;
            turn.taken += 1.0;
            free -= 1;
        }
    }
    table.into()
}

impl Hashing for Maglev {
    fn owner(&self, key: u64, accepts: &dyn Fn(usize) -> bool) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        let at = |hash: u64| {
            // The upper half of a product instead of a remainder.
            let place = (u128::from(hash) * self.table.len() as u128) >> 64;
            usize::from(self.table[place as usize])
        };
        let first = at(key);
        if accepts(first) {
            return Some(first);
        }
        let again = (1..=PATIENCE).map(|i| at(mix(i, key))).find(|&index| accepts(index));
        // Nearly everybody is out of service: from the table's place on, whoever comes first.
        again.or_else(|| {
            let start = ((u128::from(key) * self.table.len() as u128) >> 64) as usize;
            let (before, after) = self.table.split_at(start);
            let mut refused = vec![false; self.members];
            let mut owners = after.iter().chain(before).map(|&index| usize::from(index));
            owners.find(|&index| {
                let is_new = !std::mem::replace(&mut refused[index], true);
                is_new && accepts(index)
            })
        })
    }
}
