//! A fleet that grows and shrinks with what it has to do, as orchestrators make it.
//!
//! The rule is the one that Kubernetes' horizontal autoscaler has: of `n` backends that are busy for
//! a share `u` of their time, `n * u / target` would be busy just as much as they should. More come
//! at once, as soon as they have started; fewer stay only when that has been enough for a while,
//! and those that leave drain first.

use super::happening::{Step, Then};
use super::plan::Autoscale;
use super::server::Server;
use super::site::Site;

/// A deviation from the target that is not worth a change.
const TOLERANCE: f64 = 0.1;

/// No more backends ever come: each listens on a port of its own.
const MOST_EVER: usize = 60_000;

/// What is known between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    rule: Autoscale,
    /// Nanoseconds that all servers together had been busy.
    busy: u64,
    /// Fewer would have been enough since then.
    calm_since: Option<u64>,
}

impl Memory {
    /// Nothing yet, at a fleet that has been busy for so many nanoseconds.
    pub(super) fn new(rule: Autoscale, site: &Site) -> Self {
        Memory { rule, busy: busy(site), calm_since: None }
    }
}

fn busy(site: &Site) -> u64 {
    site.servers.iter().map(|server| server.load.busy).sum()
}

impl Site {
    /// Looks at how busy the fleet was, does what follows, and looks again later.
    pub(super) fn autoscale(&mut self, memory: Memory) {
        let Memory { rule, busy: before, calm_since } = memory;
        let serving = self.serving();
        let now_busy = busy(self);
        let capacity = rule.every.as_nanos() as f64
            * f64::from(self.plan.fleet.concurrency)
            * serving.len().max(1) as f64;
        let over = (now_busy - before) as f64 / capacity / rule.target;
        let have = serving.len() as u32;
        let wanted = match over {
            near if (near - 1.0).abs() <= TOLERANCE => have,
            over => (f64::from(have) * over).ceil() as u32,
        };
        let wanted = wanted.clamp(rule.least, rule.most);
        let mut calm_since = calm_since.filter(|_| wanted < have).or(Some(self.now));
        if wanted > have + self.coming {
            let more = wanted - have - self.coming;
            self.coming += more;
            self.after(rule.start, Step::Join(more));
        } else if wanted < have && calm_since.is_some_and(|t| self.now - t >= nanos(rule.calm)) {
            for &server in serving.iter().rev().take((have - wanted) as usize) {
                self.dismiss(server, rule.drain);
            }
            calm_since = None;
        }
        self.after(rule.every, Step::Autoscale(Memory { rule, busy: now_busy, calm_since }));
    }

    /// Servers that take new sessions, the oldest first.
    fn serving(&self) -> Vec<u32> {
        let drains = |number: u32| {
            self.drains.iter().any(|drain| drain.server == number && drain.ended.is_none())
        };
        let servers = self.servers.iter().enumerate();
        let serving = servers.filter(|(i, s)| s.is_member && s.is_alive && !drains(*i as u32));
        serving.map(|(i, _)| i as u32).collect()
    }

    /// So many servers join that were asked for.
    pub(super) fn join(&mut self, count: u32) {
        self.coming -= count;
        let room = MOST_EVER.saturating_sub(self.servers.len());
        self.add_servers(room.min(count as usize));
    }

    /// New servers, which are ready at once.
    pub(super) fn add_servers(&mut self, count: usize) {
        let (concurrency, backlog) = (self.plan.fleet.concurrency, self.plan.fleet.backlog);
        let server = || Server::new(concurrency, backlog, 1.0);
        self.servers.extend(std::iter::repeat_with(server).take(count));
        self.renew_members();
    }

    /// A server leaves, drained if there is time for that.
    pub(super) fn dismiss(&mut self, server: u32, drain: Option<std::time::Duration>) {
        match drain {
            Some(drain) => self.drain(server, drain, Then::Leave),
            None => self.leave(server),
        }
    }
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use crate::lab::simulator::figures::Figures;
    use crate::lab::simulator::scenario::Scenario;
    use crate::lab::simulator::simulate;

    /// Ten minutes of usual load, ten of twice as much, and ten of the usual one again.
    fn run(policy: &str) -> Figures {
        let text = "warm_up = \"1m\"\nduration = \"30m\"\n[fleet]\nbackends = 6\nconcurrency = 4\n\
                    [load]\nutilization = \"50%\"\n[sessions]\nthink = \"1s\"\n\
                    [proxy]\nidle_timeout = \"10s\"\n\
                    [[events]]\nat = \"0s\"\nautoscale = { target = \"50%\", to = 30 }\n\
                    [[events]]\nat = \"10m\"\nload = 2\n[[events]]\nat = \"20m\"\nload = 1\n";
        let (scenario, warnings) = Scenario::parse("a", text.as_bytes()).unwrap();
        assert!(warnings.is_empty());
        simulate(&scenario.plan, &policy.parse().unwrap(), 1, &AtomicU64::new(0))
    }

    #[test]
    fn the_fleet_follows_the_load() {
        for policy in ["two_choices", "two_choices+cookie"] {
            let figures = run(policy);
            let at = |minute: f64| {
                let slot = figures.timeline.iter().rfind(|slot| slot.at <= minute * 60.0).unwrap();
                slot.backends
            };
            let sizes = [9.5, 19.5, 29.5].map(at);
            assert!((5.0..=7.0).contains(&sizes[0]), "{policy}: {sizes:?}");
            assert!((11.0..=14.0).contains(&sizes[1]), "{policy}: {sizes:?}");
            assert!((5.0..=8.0).contains(&sizes[2]), "{policy}: {sizes:?}");
            assert!(figures.drains.len() >= 4, "those that leave drain");
            assert_eq!(figures.requests.failures(), 0, "{policy}");
            assert!((6.0..11.0).contains(&figures.mean_backends), "{}", figures.mean_backends);
        }
    }
}
