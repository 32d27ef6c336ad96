//! An immutable view of a pool's backends: what a placement reads.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::FixedState;

use super::balancer::{Balancer, Candidates, Ready};
use super::drain::Refused;
use super::hashing::{self, Algorithm, Hashing};
use super::load::World;
use super::pool::Policy;
use super::{Backend, BackendId, Rng, Timestamp};

/// Everything about the members that can be worked out before a request comes. Renewed as a whole
/// when a backend changes, so that a reader never sees half a change.
pub(super) struct Members {
    policy: Policy,
    /// In configured order.
    all: Vec<Arc<Backend>>,
    by_id: HashMap<BackendId, usize, FixedState>,
    /// Those that take new sessions, by priority; no tier is empty.
    tiers: Vec<Tier>,
    /// The priorities of all members, first to last.
    priorities: Vec<u32>,
    hashing: Option<Arc<dyn Hashing>>,
    /// What `hashing` was made of: making it is the expensive part.
    hashed: Vec<hashing::Member>,
}

/// The backends of one priority.
struct Tier {
    priority: u32,
    ready: Ready,
    balancer: Box<dyn Balancer>,
    /// The same for the even world.
    even: Option<(Ready, Box<dyn Balancer>)>,
    /// Who serves a session that is away from home: always the same, as long as it can.
    stand_ins: Option<Arc<dyn Hashing>>,
}

/// How members are made.
pub(super) struct Recipe<'a> {
    pub(super) policy: Policy,
    /// Whose turn it is, by [`World`].
    pub(super) positions: &'a [Arc<AtomicUsize>; 2],
    /// Effective weights in thousandths, by backend.
    pub(super) weight: &'a dyn Fn(&Backend) -> u32,
}

impl Members {
    /// No members.
    pub(super) fn none(policy: Policy) -> Self {
        Members {
            policy,
            all: Vec::new(),
            by_id: HashMap::default(),
            tiers: Vec::new(),
            priorities: Vec::new(),
            hashing: None,
            hashed: Vec::new(),
        }
    }

    /// `former` are the members until now, for what can be taken over.
    pub(super) fn new(
        all: Vec<Arc<Backend>>,
        recipe: &Recipe<'_>,
        former: Option<&Members>,
    ) -> Self {
        let policy = recipe.policy;
        let weights: Vec<u32> = all.iter().map(|backend| (recipe.weight)(backend)).collect();
        let mut by_priority: BTreeMap<u32, Vec<(Arc<Backend>, u32)>> = BTreeMap::new();
        for (backend, &weight) in all.iter().zip(&weights) {
            if backend.state().accepts_new() && weight > 0 {
                let tier = by_priority.entry(backend.priority()).or_default();
                tier.push((backend.clone(), weight));
            }
        }
        let member = |(backend, &weight): (&Arc<Backend>, &u32)| hashing::Member {
            name: backend.name_hash(),
            weight,
        };
        let world = |backends, world: World| {
            let ready = Ready::new(backends, world);
            let balancer = policy.balance.prepare(&ready, &recipe.positions[world as usize]);
            (ready, balancer)
        };
        let tier = |(priority, backends): (u32, Vec<(Arc<Backend>, u32)>)| {
            let even = policy.measures_cost.then(|| world(backends.clone(), World::Even));
            let (ready, balancer) = world(backends, World::Real);
            let stand_ins = policy.has_detours().then(|| {
                let members = ready.backends().iter().zip(ready.weights()).map(member);
                Algorithm::Rendezvous.prepare(&members.collect::<Vec<_>>())
            });
            Tier { priority, ready, balancer, even, stand_ins }
        };
        let tiers: Vec<Tier> = by_priority.into_iter().map(tier).collect();
        share_out(&all, &weights, tiers.first());
        let hashed: Vec<_> = all.iter().zip(&weights).map(member).collect();
        let is_same =
            |m: &&Members| m.hashed == hashed && m.policy.algorithm() == policy.algorithm();
        let known = former.filter(is_same).and_then(|members| members.hashing.clone());
        let hashing =
            policy.algorithm().map(|algorithm| known.unwrap_or_else(|| algorithm.prepare(&hashed)));
        let mut priorities: Vec<_> = all.iter().map(|backend| backend.priority()).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let by_id = all.iter().enumerate().map(|(i, backend)| (backend.id(), i)).collect();
        Members { policy, all, by_id, tiers, priorities, hashing, hashed }
    }

    /// What is done with them.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn all(&self) -> &[Arc<Backend>] {
        &self.all
    }

    /// Effective weights in thousandths, in configured order.
    pub(super) fn weights(&self) -> impl Iterator<Item = u32> {
        self.hashed.iter().map(|member| member.weight)
    }

    pub(super) fn get(&self, id: BackendId) -> Option<&Arc<Backend>> {
        self.by_id.get(&id).map(|&index| &self.all[index])
    }

    /// The priority whose backends take new sessions now.
    pub(super) fn priority(&self) -> Option<u32> {
        self.tiers.first().map(|tier| tier.priority)
    }

    /// The balancer's choice, of the first priority that has one.
    pub(super) fn pick(
        &self,
        tried: &[BackendId],
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Option<&Arc<Backend>> {
        self.tiers.iter().find_map(|tier| {
            let picked = tier.balancer.pick(&Candidates { ready: &tier.ready, tried, now }, rng);
            picked.map(|index| &tier.ready.backends()[index])
        })
    }

    /// The balancer's choice in the even world. `None` if the cost is not measured, or nobody there
    /// has room.
    pub(super) fn pick_evenly(&self, now: Timestamp, rng: &mut dyn Rng) -> Option<&Arc<Backend>> {
        self.tiers.iter().find_map(|tier| {
            let (ready, balancer) = tier.even.as_ref()?;
            let picked = balancer.pick(&Candidates { ready, tried: &[], now }, rng);
            picked.map(|index| &ready.backends()[index])
        })
    }

    /// Does anybody take new sessions, apart from those that failed this request?
    pub(super) fn any_ready(&self, tried: &[BackendId]) -> bool {
        let mut ready = self.tiers.iter().flat_map(|tier| tier.ready.backends());
        ready.any(|backend| !tried.contains(&backend.id()))
    }

    /// May this one be taken from those who take new sessions? Not if it is the last, unless `force`d.
    pub(super) fn check_dispensable(&self, id: BackendId, force: bool) -> Result<(), Refused> {
        if force || self.any_ready(&[id]) { Ok(()) } else { Err(Refused::LastReady) }
    }

    /// Of the first priority whose backends take new sessions, the one that is furthest below its
    /// fair share of so many sessions.
    pub(super) fn fewest_sessions(
        &self,
        sessions: usize,
        accepts: impl Fn(&Backend) -> bool,
    ) -> Option<&Arc<Backend>> {
        let part = |backend: &Backend| {
            let share = backend.share() * sessions as f32;
            (backend.sessions() as f32 + 1.0) / share.max(f32::MIN_POSITIVE)
        };
        let ready = self.tiers.first()?.ready.backends().iter();
        let parts =
            ready.filter(|backend| accepts(backend)).map(|backend| (part(backend), backend));
        let (part, backend) = parts.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (part <= 1.0).then_some(backend)
    }

    /// Who serves a session that is away from home.
    pub(super) fn stand_in(
        &self,
        session: u64,
        accepts: impl Fn(&Backend) -> bool,
    ) -> Option<&Arc<Backend>> {
        self.tiers.iter().find_map(|tier| {
            let backends = tier.ready.backends();
            let owner = tier.stand_ins.as_ref()?.owner(session, &|index| accepts(&backends[index]));
            owner.map(|index| &backends[index])
        })
    }

    /// The first backend in the key's order of preference that `accepts`, of the first priority
    /// that has one; of `only` this priority, if it is given.
    pub(super) fn owner(
        &self,
        key: u64,
        only: Option<u32>,
        accepts: impl Fn(&Backend) -> bool,
    ) -> Option<&Arc<Backend>> {
        let hashing = self.hashing.as_ref()?;
        let owner_in = |&priority: &u32| {
            let is_it = |index: usize| {
                let backend = &self.all[index];
                backend.priority() == priority && accepts(backend)
            };
            hashing.owner(key, &is_it).map(|index| &self.all[index])
        };
        match &only {
            Some(priority) => owner_in(priority),
            None => self.priorities.iter().find_map(owner_in),
        }
    }
}

/// Tells each backend its fair share of the pool's load: its weight over that of all that take new
/// sessions, itself included.
fn share_out(all: &[Arc<Backend>], weights: &[u32], first: Option<&Tier>) {
    let total: u64 =
        first.map_or(0, |tier| tier.ready.weights().iter().map(|&w| u64::from(w)).sum());
    for (backend, &weight) in all.iter().zip(weights) {
        let takes_part = first.is_some_and(|tier| {
            backend.state().accepts_new() && backend.priority() == tier.priority
        });
        let total = if takes_part { total } else { total + u64::from(weight) };
        let share = if total == 0 { 1.0 } else { weight as f32 / total as f32 };
        backend.load().share.store(share.to_bits(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.tiers.iter().map(|tier| &tier.ready);
        f.debug_struct("Members")
            .field("all", &self.all.len())
            .field("ready", &ready.collect::<Vec<_>>())
            .finish()
    }
}
