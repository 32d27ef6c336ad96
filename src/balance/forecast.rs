//! What a change would do, before anybody does it: who would have to move where, and how even the
//! pool would be after that.
//!
//! * Sessions of tokens stay where they are while their home is there. Those of a backend that
//!   leaves are spread as the weights say; nobody knows better, since the balancer looks at load
//!   that is not there yet. If the pool evens out (`rebalance`), what is above the margin moves.
//! * Keys belong to whom hashing says: each known key is hashed anew, or of very many an even
//!   sample.
//!
//! Requests in flight are taken to go with their backend's sessions.

use std::collections::BTreeMap;

use super::hashing::{self, Hashing};
use super::identity::name_hash;
use super::ready::WEIGHT_ONE;
use super::{Backend, Pool};

/// Keys that are hashed anew at most.
const SAMPLE: usize = 50_000;

/// What is to be done to a backend, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is emptied.
    Drain(String),
    /// It is no longer a member.
    Remove(String),
    /// It becomes one.
    Add {
        /// Its name.
        name: String,
        /// Its weight.
        weight: u32,
    },
    /// It gets another weight.
    Weight {
        /// Its name.
        name: String,
        /// The new weight.
        weight: u32,
    },
}

/// What that would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Sessions that would move.
    pub sessions: u64,
    /// Requests in flight that go with them.
    pub in_flight: u64,
    /// From where to where, in order of the names.
    pub flows: Vec<Flow>,
    /// How even the pool is.
    pub before: Evenness,
    /// How even it would be.
    pub after: Evenness,
}

/// Sessions that would go from one backend to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Their home.
    pub from: String,
    /// Their new home.
    pub to: String,
    /// How many.
    pub sessions: u64,
    /// Requests in flight that go with them.
    pub in_flight: u64,
}

/// The busiest backend's share over its fair share, by weight; 1 is even. Of the backends that take
/// new sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evenness {
    /// Of sessions.
    pub sessions: f64,
    /// Of requests in flight.
    pub in_flight: f64,
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    /// The pool has no such backend.
    UnknownBackend,
    /// The pool has one of that name already.
    NameTaken,
    /// Nobody would be there to take what has to move.
    NobodyLeft,
}

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Impossible::UnknownBackend => "the pool has no such backend",
            Impossible::NameTaken => "the pool has a backend of that name already",
            Impossible::NobodyLeft => "no ready backend would be left",
        })
    }
}

impl std::error::Error for Impossible {}

/// A member, as it is or would be.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    weight: u32,
    priority: u32,
    /// Does it take new sessions?
    is_open: bool,
    sessions: u64,
    in_flight: u64,
}

impl From<&Backend> for Part {
    fn from(backend: &Backend) -> Self {
        Part {
            name: backend.name().to_owned(),
            weight: backend.weight(),
            priority: backend.priority(),
            is_open: backend.state().accepts_new() && backend.weight() > 0,
            sessions: u64::from(backend.sessions()),
            in_flight: u64::from(backend.in_flight()),
        }
    }
}

/// Members of a pool, as they are or would be.
#[derive(Clone, Debug)]
struct Parts(Vec<Part>);

impl Pool {
    /// What a change would do.
    pub fn forecast(&self, change: &Change) -> Result<Forecast, Impossible> {
        let backends = self.backends();
        let before = Parts(backends.iter().map(|backend| Part::from(&**backend)).collect());
        let mut after = before.clone();
        let leaves = after.apply(change)?;
        if after.takers().is_empty() {
            return Err(Impossible::NobodyLeft);
        }
        let moves = match self.algorithm() {
            Some(algorithm) => {
                let hashing = algorithm.prepare(&after.hashed(self.name()));
                self.rehashed(&after, &*hashing)
            }
            None => match leaves {
                Some(leaver) => after.spread(leaver),
                None => self.affinity().rebalance.map_or_else(BTreeMap::new, |rebalance| {
                    after.evened_out(f64::from(rebalance.margin))
                }),
            },
        };
        Ok(before.forecast(after, moves))
    }

    fn algorithm(&self) -> Option<hashing::Algorithm> {
        match self.affinity().mode {
            super::affinity::Mode::Hash(algorithm) => Some(algorithm),
            _ => None,
        }
    }

    /// The keys whose home changes, by former and new home.
    fn rehashed(&self, after: &Parts, hashing: &dyn Hashing) -> BTreeMap<(usize, usize), u64> {
        let backends = self.backends();
        let mut keys = self.ledger().homes();
        keys.sort_unstable_by_key(|(key, _)| key.to_bits());
        let known = keys.len();
        // Keys are hashes: those that come first are an even sample.
        keys.truncate(SAMPLE);
        let tier = after.takers().first().map(|&taker| after.0[taker].priority);
        let is_taker = |i: usize| after.0[i].is_open && Some(after.0[i].priority) == tier;
        let mut moves: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (key, home) in &keys {
            let from = backends.iter().position(|backend| backend.id() == *home);
            let to = hashing.owner(key.to_bits(), &is_taker);
            if let (Some(from), Some(to)) = (from, to)
                && from != to
            {
                *moves.entry((from, to)).or_default() += 1;
            }
        }
        let whole = |count: u64| (count as u128 * known as u128 / keys.len().max(1) as u128) as u64;
        moves.into_iter().map(|(flow, count)| (flow, whole(count))).collect()
    }
}

impl Parts {
    fn position(&self, name: &str) -> Result<usize, Impossible> {
        self.0.iter().position(|part| part.name == name).ok_or(Impossible::UnknownBackend)
    }

    /// Gives who leaves, if anybody does. Who leaves keeps its place, so that places stay the same.
    fn apply(&mut self, change: &Change) -> Result<Option<usize>, Impossible> {
        match change {
            Change::Drain(name) | Change::Remove(name) => {
                let leaver = self.position(name)?;
                self.0[leaver].is_open = false;
                if matches!(change, Change::Remove(_)) {
                    self.0[leaver].weight = 0; // hashing no longer knows it
                }
                Ok(Some(leaver))
            }
            Change::Add { name, weight } => {
                if self.position(name).is_ok() {
                    return Err(Impossible::NameTaken);
                }
                let first = self.takers().first().map_or(0, |&taker| self.0[taker].priority);
                self.0.push(Part {
                    name: name.clone(),
                    weight: *weight,
                    priority: first,
                    is_open: *weight > 0,
                    sessions: 0,
                    in_flight: 0,
                });
                Ok(None)
            }
            Change::Weight { name, weight } => {
                let at = self.position(name)?;
                self.0[at].is_open = *weight > 0 && (self.0[at].is_open || self.0[at].weight == 0);
                self.0[at].weight = *weight;
                Ok(None)
            }
        }
    }

    /// Those that take new sessions: the open ones of the first priority.
    fn takers(&self) -> Vec<usize> {
        let open = || self.0.iter().enumerate().filter(|(_, part)| part.is_open);
        let first = open().map(|(_, part)| part.priority).min();
        open().filter(|(_, part)| Some(part.priority) == first).map(|(i, _)| i).collect()
    }

    fn hashed(&self, pool: &str) -> Vec<hashing::Member> {
        let member = |part: &Part| hashing::Member {
            name: name_hash(pool, &part.name),
            weight: part.weight.saturating_mul(WEIGHT_ONE),
        };
        self.0.iter().map(member).collect()
    }

    /// What a leaver has, spread over the others by weight, to the last session.
    fn spread(&self, leaver: usize) -> BTreeMap<(usize, usize), u64> {
        let takers = self.takers();
        let mut weight: u64 = takers.iter().map(|&i| u64::from(self.0[i].weight)).sum();
        let mut left = self.0[leaver].sessions;
        let mut moves = BTreeMap::new();
        for taker in takers {
            let own = u64::from(self.0[taker].weight);
            let part = (u128::from(left) * u128::from(own) / u128::from(weight.max(1))) as u64;
            moves.insert((leaver, taker), part);
            (left, weight) = (left - part, weight - own);
        }
        moves
    }

    /// What those above the margin give to those below their share.
    fn evened_out(&self, margin: f64) -> BTreeMap<(usize, usize), u64> {
        let takers = self.takers();
        let sessions: u64 = takers.iter().map(|&i| self.0[i].sessions).sum();
        let weight: u64 = takers.iter().map(|&i| u64::from(self.0[i].weight)).sum();
        let share = |i: usize| sessions as f64 * f64::from(self.0[i].weight) / weight.max(1) as f64;
        let mut room: BTreeMap<usize, u64> = takers
            .iter()
            .map(|&i| (i, (share(i).floor() as u64).saturating_sub(self.0[i].sessions)))
            .collect();
        let mut moves = BTreeMap::new();
        for &giver in &takers {
            let most = ((1.0 + margin) * share(giver)).floor() as u64;
            let mut excess = self.0[giver].sessions.saturating_sub(most);
            for (&taker, room) in room.iter_mut().filter(|(taker, _)| **taker != giver) {
                let part = excess.min(*room);
                if part > 0 {
                    moves.insert((giver, taker), part);
                }
                (excess, *room) = (excess - part, *room - part);
            }
        }
        moves
    }

    fn forecast(self, mut after: Parts, moves: BTreeMap<(usize, usize), u64>) -> Forecast {
        let before = self.evenness();
        let mut flows = Vec::new();
        for ((from, to), sessions) in moves {
            let source = &self.0[from];
            let part = sessions as f64 / source.sessions.max(1) as f64;
            let in_flight = (source.in_flight as f64 * part).round() as u64;
            if sessions == 0 {
                continue;
            }
            let flow = |part: &mut u64, count: u64| *part = part.saturating_sub(count);
            flow(&mut after.0[from].sessions, sessions);
            flow(&mut after.0[from].in_flight, in_flight);
            after.0[to].sessions += sessions;
            after.0[to].in_flight += in_flight;
            let (from, to) = (source.name.clone(), after.0[to].name.clone());
            flows.push(Flow { from, to, sessions, in_flight });
        }
        flows.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        Forecast {
            sessions: flows.iter().map(|flow| flow.sessions).sum(),
            in_flight: flows.iter().map(|flow| flow.in_flight).sum(),
            flows,
            before,
            after: after.evenness(),
        }
    }

    fn evenness(&self) -> Evenness {
        let takers = self.takers();
        let weight: u64 = takers.iter().map(|&i| u64::from(self.0[i].weight)).sum();
        let peak_to_mean = |count: fn(&Part) -> u64| {
            let all: u64 = takers.iter().map(|&i| count(&self.0[i])).sum();
            let mean = all as f64 / weight.max(1) as f64;
            let relative = |&i: &usize| count(&self.0[i]) as f64 / f64::from(self.0[i].weight);
            let peak = takers.iter().map(relative).fold(0.0, f64::max);
            if all == 0 { 1.0 } else { peak / mean }
        };
        Evenness {
            sessions: peak_to_mean(|part| part.sessions),
            in_flight: peak_to_mean(|part| part.in_flight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::affinity::{AffinitySpec, Mode, Rebalance};
    use crate::balance::balancer::tests::rng;
    use crate::balance::hashing::Algorithm;
    use crate::balance::{
        Ask, BackendSpec, Condition, Decision, Hint, InFlight, PoolSpec, Timestamp,
    };

    fn pool(affinity: AffinitySpec, weights: &[u32]) -> Pool {
        let backend = |(i, &weight): (usize, &u32)| {
            let spec = BackendSpec::new(format!("b{i}"), "127.0.0.1:1".parse().unwrap());
            BackendSpec { weight, ..spec }
        };
        let backends = weights.iter().enumerate().map(backend).collect();
        let spec = PoolSpec { affinity, ..PoolSpec::new("shop", backends) };
        Pool::new(&spec, 0)
    }

    fn mode(mode: Mode) -> AffinitySpec {
        AffinitySpec { mode, ..AffinitySpec::default() }
    }

    /// So many sessions; their requests stay in flight.
    fn fill(pool: &Pool, sessions: u64) -> Vec<InFlight> {
        let mut rng = rng(1);
        let now = Timestamp::from_millis(1_790_000_000_000);
        let open = |n: u64| {
            let hint = match pool.affinity().mode {
                Mode::Hash(_) => Hint::Key(hashing::key(&n.to_le_bytes())),
                _ => Hint::Free,
            };
            let ask = Ask { hint, tried: &[], since: now, let_go: None };
            match pool.place(&ask, now, &mut rng).unwrap() {
                Decision::Place(placement, in_flight) => {
                    pool.bind(&hint, &placement, None, now, &mut rng);
                    in_flight
                }
                Decision::Wait(_) => panic!("nobody is full"),
            }
        };
        (0..sessions).map(open).collect()
    }

    fn drain(name: &str) -> Change {
        Change::Drain(name.into())
    }

    #[test]
    fn the_sessions_of_a_leaver_go_to_the_others_by_weight_to_the_last_one() {
        let pool = pool(mode(Mode::Cookie), &[2, 1, 1]);
        let _requests = fill(&pool, 400);
        let home = pool.backends()[0].clone();
        let forecast = pool.forecast(&drain("b0")).unwrap();
        assert_eq!(forecast.sessions, u64::from(home.sessions()));
        assert_eq!(forecast.in_flight, u64::from(home.in_flight()));
        let flows: Vec<_> = forecast.flows.iter().map(|f| (&*f.from, &*f.to)).collect();
        assert_eq!(flows, [("b0", "b1"), ("b0", "b2")]);
        assert!(forecast.flows[0].sessions.abs_diff(forecast.flows[1].sessions) <= 1);
        assert!(forecast.before.sessions < 1.05 && forecast.after.sessions < 1.05, "{forecast:?}");
        assert_eq!(pool.forecast(&Change::Remove("b0".into())).unwrap().flows, forecast.flows);
    }

    #[test]
    fn new_backends_and_weights_move_nobody_but_say_how_uneven_it_is_then() {
        let affinity = mode(Mode::Cookie);
        let pool = pool(affinity, &[1, 1]);
        let _requests = fill(&pool, 100);
        let add = Change::Add { name: "b2".into(), weight: 2 };
        let forecast = pool.forecast(&add).unwrap();
        assert_eq!((forecast.sessions, forecast.flows.len()), (0, 0));
        assert_eq!(forecast.after.sessions, 2.0, "half of the pool has nothing");
        let weight = Change::Weight { name: "b1".into(), weight: 3 };
        assert_eq!(pool.forecast(&weight).unwrap().after.sessions, 2.0);
    }

    #[test]
    fn a_pool_that_evens_out_says_how_far() {
        let per_second = std::num::NonZeroU32::MIN;
        let rebalance = Rebalance {
            moves_per_second: per_second,
            margin: 0.1,
            idle_for: std::time::Duration::ZERO,
        };
        let affinity = AffinitySpec { rebalance: Some(rebalance), ..mode(Mode::Cookie) };
        let pool = pool(affinity, &[1, 1]);
        let _requests = fill(&pool, 200);
        let add = Change::Add { name: "b2".into(), weight: 2 };
        let forecast = pool.forecast(&add).unwrap();
        assert!((88..=92).contains(&forecast.sessions), "{forecast:?}");
        assert!((forecast.after.sessions - 1.1).abs() < 0.01, "{forecast:?}");
    }

    #[test]
    fn keys_go_where_hashing_really_takes_them() {
        for algorithm in Algorithm::ALL {
            let pool = pool(mode(Mode::Hash(algorithm)), &[1, 1, 2]);
            drop(fill(&pool, 2_000));
            let sessions = || -> Vec<u64> {
                pool.backends().iter().map(|backend| u64::from(backend.sessions())).collect()
            };
            let before = sessions();
            let forecast = pool.forecast(&drain("b1")).unwrap();
            let gain = |name: &str| -> u64 {
                forecast.flows.iter().filter(|f| f.to == name).map(|f| f.sessions).sum()
            };
            assert_eq!(forecast.sessions, before[1], "{algorithm:?}");
            let expected = [before[0] + gain("b0"), 0, before[2] + gain("b2")];
            let id = pool.backends()[1].id();
            pool.set(id, Condition::Down, true, Timestamp::ZERO);
            drop(fill(&pool, 2_000));
            assert_eq!(sessions(), expected, "{algorithm:?}: it came as predicted");
        }
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let pool = pool(mode(Mode::None), &[1]);
        assert_eq!(pool.forecast(&drain("b7")), Err(Impossible::UnknownBackend));
        assert_eq!(pool.forecast(&drain("b0")), Err(Impossible::NobodyLeft));
        let taken = Change::Add { name: "b0".into(), weight: 1 };
        assert_eq!(pool.forecast(&taken), Err(Impossible::NameTaken));
        let new = Change::Add { name: "b1".into(), weight: 1 };
        let even = Evenness { sessions: 1.0, in_flight: 1.0 };
        assert_eq!(pool.forecast(&new).unwrap().after, even);
    }
}
