//! What befalls the fleet: crashes, deploys, backends that join, leave, or are slow for a while.

use std::time::Duration;

use super::autoscaler::Memory;
use super::plan::{Event as Planned, What};
use super::site::{Event, Site, backend_spec};
use crate::balance::{Condition, DrainPolicy};

/// A step of something that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It begins.
    Begin(What),
    /// Health checks see that a server is away.
    NoticeGone(u32),
    /// A server is there again, with nothing in its memory.
    Return { server: u32, noticed_after: Duration },
    /// Health checks see that it is.
    NoticeBack(u32),
    /// The time for draining is over.
    DrainEnds { server: u32 },
    /// The next servers of a deploy.
    DeployFrom {
        next: u32,
        batch: u32,
        drain: Option<Duration>,
        restart: Duration,
        noticed: Duration,
    },
    /// A server is as fast as it was.
    Quick { server: u32, slowness: f64 },
    /// The autoscaler looks.
    Autoscale(Memory),
    /// Servers that it has asked for have started.
    Join(u32),
}

/// What happens to a server that has drained.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// It starts anew.
    Restart { restart: Duration, noticed_after: Duration },
    /// It leaves for good.
    Leave,
}

/// A drain, under way or over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) server: u32,
    pub(super) since: u64,
    pub(super) ended: Option<u64>,
    pub(super) sessions_at_start: u32,
    /// Sessions that were still there at the deadline.
    pub(super) cut: u32,
    then: Then,
}

impl Site {
    /// Puts everything that is planned into the agenda.
    pub(super) fn schedule_happenings(&mut self) {
        let begin = self.meter.from();
        for Planned { at, what } in self.plan.events.clone() {
            let at = begin.saturating_add(nanos(at));
            self.later(at, Step::Begin(what));
        }
    }

    fn later(&mut self, at: u64, step: Step) {
        self.steps.push(step);
        self.agenda.add(at, Event::Step(self.steps.len() as u32 - 1));
    }

    pub(super) fn after(&mut self, delay: Duration, step: Step) {
        self.later(self.now.saturating_add(nanos(delay)), step);
    }

    pub(super) fn step(&mut self, step: u32) {
        match self.steps[step as usize] {
            Step::Begin(what) => self.begin_happening(what),
            Step::NoticeGone(server) => self.set(server, Condition::Down, true),
            Step::NoticeBack(server) => {
                self.set(server, Condition::Down, false);
                if let Some(backend) = self.backend(server) {
                    self.pool.make_ready(backend.id(), self.timestamp());
                    self.hear();
                }
            }
            Step::Return { server, noticed_after } => {
                self.servers[server as usize].is_alive = true;
                self.after(noticed_after, Step::NoticeBack(server));
            }
            Step::DrainEnds { server } => self.end_drain(server),
            Step::DeployFrom { next, batch, drain, restart, noticed } => {
                self.deploy(next, batch, drain, restart, noticed);
            }
            Step::Quick { server, slowness } => {
                self.servers[server as usize].slowness = slowness;
            }
            Step::Autoscale(memory) => self.autoscale(memory),
            Step::Join(count) => self.join(count),
        }
    }

    fn begin_happening(&mut self, what: What) {
        match what {
            What::Crash { backends, down_for, noticed_after } => {
                for server in self.fullest(backends) {
                    self.kill(server, down_for, noticed_after);
                }
            }
            What::Deploy { batch, drain, restart, noticed_after } => {
                self.deploy(0, batch, drain, restart, noticed_after);
            }
            What::ScaleOut { backends } => self.add_servers(backends as usize),
            What::ScaleIn { backends, drain } => {
                let members = self.servers.iter().enumerate().rev().filter(|(_, s)| s.is_member);
                let last: Vec<u32> =
                    members.map(|(i, _)| i as u32).take(backends as usize).collect();
                last.into_iter().for_each(|server| self.dismiss(server, drain));
            }
            What::Slow { backends, factor, lasts } => {
                for server in 0..backends.min(self.servers.len() as u32) {
                    let slowness = self.servers[server as usize].slowness;
                    self.servers[server as usize].slowness = slowness * factor;
                    self.after(lasts, Step::Quick { server, slowness });
                }
            }
            What::Load { factor } => self.load_factor = factor,
            What::Autoscale(rule) => {
                let memory = Memory::new(rule, self);
                self.after(rule.every, Step::Autoscale(memory));
            }
        }
    }

    /// The servers with the most sessions, or else the most requests in flight.
    fn fullest(&self, count: u32) -> Vec<u32> {
        let alive = self.servers.iter().enumerate().filter(|(_, s)| s.is_alive && s.is_member);
        let mut servers: Vec<_> = alive
            .filter_map(|(i, _)| {
                let backend = self.backend(i as u32)?;
                Some((backend.sessions(), backend.in_flight(), i as u32))
            })
            .collect();
        servers.sort_unstable_by(|one, other| other.cmp(one));
        servers.into_iter().map(|(.., server)| server).take(count as usize).collect()
    }

    /// A server ends without warning, and comes back.
    fn kill(&mut self, server: u32, down_for: Duration, noticed_after: Duration) {
        self.servers[server as usize].die();
        self.lose_flights(server);
        if noticed_after < down_for {
            self.after(noticed_after, Step::NoticeGone(server));
        }
        self.after(down_for, Step::Return { server, noticed_after });
    }

    /// The next servers of a deploy, and a reminder of those after them.
    fn deploy(
        &mut self,
        next: u32,
        batch: u32,
        drain: Option<Duration>,
        restart: Duration,
        noticed: Duration,
    ) {
        let end = (next + batch).min(self.servers.len() as u32);
        for server in next..end {
            match drain {
                _ if !self.servers[server as usize].is_member => {}
                Some(drain) => {
                    let then = Then::Restart { restart, noticed_after: noticed };
                    self.drain(server, drain, then);
                }
                None => self.kill(server, restart, noticed),
            }
        }
        if end < self.servers.len() as u32 {
            let pause = drain.unwrap_or_default() + restart + noticed + noticed;
            self.after(pause, Step::DeployFrom { next: end, batch, drain, restart, noticed });
        }
    }

    pub(super) fn drain(&mut self, server: u32, drain: Duration, then: Then) {
        let Some(backend) = self.backend(server) else { return };
        let sessions = backend.sessions();
        // Without a deadline of the pool's: who is there at the end of ours is lost, not moved.
        // Forced, since an operator of this scenario has said so; it cannot be refused then.
        let _ = self.pool.drain(backend.id(), DrainPolicy::default(), true, self.timestamp());
        self.hear();
        self.drains.push(Drain {
            server,
            since: self.now,
            ended: None,
            sessions_at_start: sessions,
            cut: 0,
            then,
        });
        self.after(drain, Step::DrainEnds { server });
    }

    /// Ends the drains of servers that nobody needs any more.
    pub(super) fn look_at_drains(&mut self) {
        for i in 0..self.drains.len() {
            let Drain { server, ended, .. } = self.drains[i];
            let is_empty = |site: &Site| {
                site.backend(server).is_none_or(|b| b.sessions() == 0 && b.in_flight() == 0)
            };
            if ended.is_none() && is_empty(self) {
                self.end_drain(server);
            }
        }
    }

    fn end_drain(&mut self, server: u32) {
        let now = self.now;
        let sessions = self.backend(server).map_or(0, |backend| backend.sessions());
        let under_way = |drain: &&mut Drain| drain.server == server && drain.ended.is_none();
        let Some(drain) = self.drains.iter_mut().find(under_way) else { return };
        (drain.ended, drain.cut) = (Some(now), sessions);
        match drain.then {
            Then::Leave => self.leave(server),
            Then::Restart { restart, noticed_after } => {
                // From now on nobody is sent here; what is in flight is lost all the same.
                self.set(server, Condition::Drained, true);
                self.servers[server as usize].die();
                self.lose_flights(server);
                self.after(restart, Step::Return { server, noticed_after });
            }
        }
    }

    /// A server leaves the pool; what it works on is lost.
    pub(super) fn leave(&mut self, server: u32) {
        self.servers[server as usize].is_member = false;
        self.renew_members();
        self.servers[server as usize].die();
        self.lose_flights(server);
    }

    pub(super) fn renew_members(&mut self) {
        let members = self.servers.iter().enumerate().filter(|(_, server)| server.is_member);
        let specs: Vec<_> =
            members.map(|(i, _)| backend_spec(i as u32, &self.plan.proxy)).collect();
        self.pool.set_backends(&specs, self.timestamp());
        self.hear();
    }

    fn set(&mut self, server: u32, condition: Condition, holds: bool) {
        if let Some(backend) = self.backend(server) {
            self.pool.set(backend.id(), condition, holds, self.timestamp());
            self.hear();
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
