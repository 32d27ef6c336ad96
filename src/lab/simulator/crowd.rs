//! Who comes to a simulated site: sessions, or requests without any.
//!
//! Every session has dice of its own, seeded when it comes: how many requests it makes, how long
//! it thinks and how much work each request is do not depend on the policy. Two policies under the
//! same seed are asked the same questions, so that the difference of their figures is theirs.

use std::time::Duration;

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1, Zipf};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};
use slab::Slab;

use super::distribution::{Sampler, Times};
use super::plan::{Clients, Plan, Sessions};
use super::server::Life;
use super::site::{Ended, Event, Request, Site};
use crate::balance::affinity::Mode;
use crate::balance::{Hint, Rng, hashing};
use crate::lab::policy::Policy;

/// The reminder that somebody new comes.
const SOMEBODY: u32 = u32::MAX;
/// The reminder that the hot session asks.
const HOT: u32 = u32::MAX - 1;

/// Who comes.
#[derive(Debug)]
pub(super) struct Crowd {
    clients: Clients,
    mode: Mode,
    /// Mean nanoseconds between two that come.
    gap: f64,
    /// When who comes is drawn from here, and nothing else is.
    dice: Xoshiro256PlusPlus,
    users: Option<Zipf<f64>>,
    /// How long a request takes.
    service: Sampler,
    /// How long a session's user thinks.
    think: Sampler,
    sessions: Slab<Session>,
    /// Mean nanoseconds between two requests of the hot session, and which that is.
    hot: Option<(f64, u32)>,
    measured_from: u64,
    pub(super) counts: Counts,
}

/// What became of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::lab) struct Counts {
    /// Sessions that came while it was measured.
    pub(in crate::lab) begun: u64,
    /// Sessions that met a server which did not know them, although they had been served before.
    pub(in crate::lab) lost: u64,
    /// Times that this happened.
    pub(in crate::lab) unknown: u64,
}

#[derive(Debug)]
struct Session {
    hint: Hint,
    dice: SplitMix64,
    /// Requests to come.
    left: u32,
    /// The server that has it in memory.
    home: Option<Life>,
    is_hot: bool,
    /// It has met a server that did not know it.
    is_lost: bool,
}

impl Crowd {
    pub(super) fn new(plan: &Plan, policy: &Policy, seed: u64) -> Self {
        let rate = plan.requests_per_second();
        let per_client = match &plan.clients {
            Clients::Requests => 1.0,
            Clients::Sessions(sessions) => sessions.requests.mean(),
        };
        let think = match plan.clients {
            Clients::Requests => Times::Constant(Duration::ZERO),
            Clients::Sessions(Sessions { think, .. }) => think,
        };
        let users = match &plan.clients {
            Clients::Sessions(Sessions { users: Some(users), .. }) => {
                Zipf::new(users.count.max(1) as f64, users.zipf).ok()
            }
            _ => None,
        };
        Crowd {
            clients: plan.clients.clone(),
            mode: policy.affinity.mode,
            gap: per_client / rate * 1e9,
            dice: Xoshiro256PlusPlus::seed_from_u64(seed),
            users,
            service: plan.fleet.service_time.sampler(),
            think: think.sampler(),
            sessions: Slab::new(),
            hot: None,
            measured_from: u64::try_from(plan.warm_up.as_nanos()).unwrap_or(u64::MAX),
            counts: Counts::default(),
        }
    }

    /// The first ones come.
    pub(super) fn begin(&mut self, site: &mut Site) {
        self.remind(site, self.gap, SOMEBODY);
        if let Clients::Sessions(Sessions { hot: Some(times), .. }) = self.clients {
            let fair = site.plan.requests_per_second() / f64::from(site.plan.fleet.backends);
            let session = self.session(u32::MAX, true);
            self.hot = Some((1e9 / (times * fair), session));
            self.remind(site, 1e9 / (times * fair), HOT);
        }
    }

    /// After an exponential time of this mean.
    fn remind(&mut self, site: &mut Site, mean: f64, client: u32) {
        let factor: f64 = Exp1.sample(&mut self.dice);
        site.agenda.add(site.now + (mean * factor) as u64, Event::Client(client));
    }

    /// A client that wanted to be reminded acts.
    #[inline]
    pub(super) fn act(&mut self, client: u32, site: &mut Site) {
        match client {
            SOMEBODY => self.somebody(site),
            HOT => {
                if let Some((gap, session)) = self.hot {
                    self.remind(site, gap, HOT);
                    self.ask(session, site);
                }
            }
            session => self.ask(session, site),
        }
    }

    fn somebody(&mut self, site: &mut Site) {
        self.remind(site, self.gap / site.load_factor, SOMEBODY);
        match self.clients {
            Clients::Requests => {
                let hint = match self.mode {
                    Mode::None | Mode::Cookie => Hint::Free,
                    Mode::Hash(_) => Hint::Key(self.dice.next_u64()),
                };
                let work = self.service.sample(&mut self.dice);
                site.ask(Request { client: SOMEBODY, hint, work, arrived: site.now });
            }
            Clients::Sessions(Sessions { requests, .. }) => {
                self.counts.begun += u64::from(site.now >= self.measured_from);
                let session = self.session(0, false);
                let entry = &mut self.sessions[session as usize];
                entry.left = requests.sample(&mut entry.dice);
                self.ask(session, site);
            }
        }
    }

    /// Somebody new.
    fn session(&mut self, left: u32, is_hot: bool) -> u32 {
        let mut dice = SplitMix64::seed_from_u64(self.dice.next_u64());
        // The same draws whatever the mode.
        let user = match self.users {
            Some(users) => hashing::key(&(users.sample(&mut dice) as u64).to_le_bytes()),
            None => dice.next_u64(),
        };
        let hint = match self.mode {
            Mode::None | Mode::Cookie => Hint::Free,
            Mode::Hash(_) => Hint::Key(user),
        };
        self.sessions.insert(Session { hint, dice, left, home: None, is_hot, is_lost: false })
            as u32
    }

    #[inline]
    fn ask(&mut self, session: u32, site: &mut Site) {
        let Session { hint, dice, .. } = &mut self.sessions[session as usize];
        let work = self.service.sample(dice);
        site.ask(Request { client: session, hint: *hint, work, arrived: site.now });
    }

    /// A request has ended: its client thinks, and comes again if it has more to ask.
    #[inline]
    pub(super) fn hear(&mut self, ended: Ended, site: &mut Site) {
        let Some(session) = self.sessions.get_mut(ended.client as usize) else { return };
        if let Some(answer) = ended.answer {
            if let Some(grant) = answer.grant {
                session.hint = Hint::Bound(grant);
            }
            if self.mode != Mode::None && session.home != Some(answer.by) {
                if session.home.is_some() && site.now >= self.measured_from {
                    self.counts.unknown += 1;
                    self.counts.lost += u64::from(!session.is_lost);
                    session.is_lost = true;
                }
                if !answer.is_detour || session.home.is_none() {
                    session.home = Some(answer.by);
                }
            }
        }
        if session.is_hot {
            return;
        }
        session.left -= 1;
        if session.left == 0 {
            self.sessions.remove(ended.client as usize);
        } else {
            let pause = self.think.sample(&mut session.dice);
            site.agenda.add(site.now.saturating_add(pause), Event::Client(ended.client));
        }
    }
}

/// There are thousands of them, and which comes next is chance.
const _: () = assert!(size_of::<Session>() <= 64);
