//! One simulated site that a log is replayed to.

use rand::SeedableRng;
use rand_xoshiro::SplitMix64;

use super::reception::{Arrival, NOBODY, NUMBER_BITS};
use crate::balance::Hint;
use crate::balance::affinity::Mode;
use crate::lab::policy::Policy;
use crate::lab::simulator::crowd::Counts;
use crate::lab::simulator::distribution::Times;
use crate::lab::simulator::figures::Figures;
use crate::lab::simulator::plan::Plan;
use crate::lab::simulator::server::Life;
use crate::lab::simulator::site::{Ended, Request, Site};

/// A site and its visitors.
#[derive(Debug)]
pub(super) struct World {
    pub(super) policy: Policy,
    pub(super) backends: u32,
    seed: u64,
    site: Site,
    visitors: Vec<Visitor>,
    /// How long a request takes of which the log does not say it.
    service: Times,
    dice: SplitMix64,
    counts: Counts,
}

/// Who comes, as far as the site is concerned.
#[derive(Clone, Copy, Debug)]
struct Visitor {
    /// Whose number it is now.
    id: u32,
    hint: Hint,
    /// The server that has the session in memory.
    home: Option<Life>,
    /// It has met a server that did not know it.
    is_lost: bool,
}

impl Visitor {
    fn new(id: u32, hint: Hint) -> Self {
        Visitor { id, hint, home: None, is_lost: false }
    }
}

impl World {
    pub(super) fn new(plan: &Plan, policy: &Policy, seed: u64) -> Self {
        World {
            policy: *policy,
            backends: plan.fleet.backends,
            seed,
            site: Site::new(plan, policy, seed),
            visitors: Vec::new(),
            service: plan.fleet.service_time,
            // The same for every policy.
            dice: SplitMix64::seed_from_u64(seed),
            counts: Counts::default(),
        }
    }

    /// Time goes on, and they come.
    pub(super) fn advance(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.pass(arrival.at);
            let hint = self.hint(arrival);
            let work = arrival.work.unwrap_or_else(|| self.service.sample(&mut self.dice));
            let request = Request { client: arrival.visitor, hint, work, arrived: arrival.at };
            self.site.ask(request);
            self.hear_all();
        }
    }

    /// Everything that happens until then.
    fn pass(&mut self, until: u64) {
        while self.site.agenda.peek().is_some_and(|time| time <= until) {
            let Some((time, event)) = self.site.agenda.next() else { break };
            self.site.now = time;
            if let Some(ended) = self.site.happen(event) {
                self.hear(ended);
            }
            self.hear_all();
        }
        self.site.now = until;
    }

    fn hint(&mut self, arrival: &Arrival) -> Hint {
        if arrival.visitor == NOBODY {
            return Hint::Free; // no key, no home
        }
        let new = match self.policy.affinity.mode {
            Mode::None | Mode::Cookie => Hint::Free,
            Mode::Hash(_) => Hint::Key(arrival.key),
        };
        let number = number(arrival.visitor);
        if number >= self.visitors.len() {
            self.visitors.resize(number + 1, Visitor::new(NOBODY, Hint::Free));
        }
        if arrival.is_first {
            self.counts.begun += 1;
            self.visitors[number] = Visitor::new(arrival.visitor, new);
        }
        self.visitors[number].hint
    }

    fn hear_all(&mut self) {
        while let Some(ended) = self.site.next_ended() {
            self.hear(ended);
        }
    }

    fn hear(&mut self, ended: Ended) {
        if ended.client == NOBODY {
            return;
        }
        let Some(answer) = ended.answer else { return };
        let visitor = &mut self.visitors[number(ended.client)];
        if visitor.id != ended.client {
            return; // somebody else's by now
        }
        if let Some(grant) = answer.grant {
            visitor.hint = Hint::Bound(grant);
        }
        if visitor.home != Some(answer.by) {
            if visitor.home.is_some() {
                self.counts.unknown += 1;
                self.counts.lost += u64::from(!visitor.is_lost);
                visitor.is_lost = true;
            }
            if !answer.is_detour || visitor.home.is_none() {
                visitor.home = Some(answer.by);
            }
        }
    }

    /// What it came to by then.
    pub(super) fn finish(mut self, end: u64) -> Figures {
        self.pass(end);
        self.site.close();
        Figures::new(&self.site, &self.policy, self.seed, Some(self.counts))
    }

    /// Visitors that it remembers.
    #[cfg(test)]
    pub(super) fn visitors(&self) -> usize {
        self.visitors.len()
    }
}

fn number(visitor: u32) -> usize {
    (visitor & ((1 << NUMBER_BITS) - 1)) as usize
}
