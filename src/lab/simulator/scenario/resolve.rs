//! From a scenario file's types to a [`Plan`].

use std::time::Duration;

use super::Scenario;
use super::file::{self, File};
use crate::balance::outlier::Ejection;
use crate::balance::queue::QueueSpec;
use crate::config::leaf::Parsed;
use crate::config::{At, Mistakes};
use crate::lab::simulator::plan::{
    Autoscale, Clients, Event, Fleet, Plan, Proxy, Rate, Sessions, Users, What,
};

/// The most backends that a run may ever have: each listens on a port of its own.
const MOST_BACKENDS: u32 = 60_000;

/// Utilization beyond which a queue would grow without end.
const TOO_MUCH: f64 = 1.0;

/// Makes a scenario of a file. `at` is the root of the tree that it was read from.
pub(super) fn resolve(name: &str, file: &File, at: At<'_>, mistakes: &mut Mistakes) -> Scenario {
    let mut resolver = Resolver { mistakes };
    if file.policies.is_empty() {
        let mistake = resolver.mistakes.error(at.key("policies"), "policies is empty");
        mistake.label("there is nothing to compare").help("write policies = [\"two_choices\"]");
    }
    let plan = Plan {
        fleet: fleet(&file.fleet),
        proxy: resolver.proxy(&file.proxy, at.key("proxy")),
        clients: file.sessions.as_ref().map_or(Clients::Requests, sessions),
        rate: resolver.rate(&file.load, at.key("load")),
        events: resolver.events(file, at),
        warm_up: file.warm_up.0,
        duration: resolver.positive(&file.duration, at.key("duration")),
    };
    let share = plan.requests_per_second() / plan.capacity();
    if share >= TOO_MUCH && plan.fleet.backlog == u32::MAX {
        let title = format!("the load is {:.0} % of what the fleet can serve", share * 100.0);
        let mistake = resolver.mistakes.warning(at.key("load"), title);
        mistake.label("the lines at the servers grow as long as it lasts");
    }
    Scenario {
        name: name.into(),
        description: file.description.clone().unwrap_or_default(),
        seed: file.seed,
        policies: file.policies.iter().map(|policy| policy.0).collect(),
        plan,
    }
}

struct Resolver<'a> {
    mistakes: &'a mut Mistakes,
}

impl Resolver<'_> {
    fn positive(&mut self, duration: &Parsed<Duration>, at: At<'_>) -> Duration {
        if duration.0.is_zero() {
            let mistake = self.mistakes.error(at, format!("{} cannot be zero", at.path()));
            mistake.label("expected more than zero");
        }
        duration.0
    }

    fn proxy(&mut self, file: &file::Proxy, at: At<'_>) -> Proxy {
        let duration = self.positive(&file.eject_for, at.key("eject_for"));
        let failures = file.eject_after;
        Proxy {
            max_connections: file.max_connections,
            queue: QueueSpec {
                length: file.queue_length,
                timeout: self.positive(&file.queue_timeout, at.key("queue_timeout")),
            },
            ejection: (failures > 0).then_some(Ejection { failures, duration }),
            slow_start: file
                .slow_start
                .as_ref()
                .map(|time| self.positive(time, at.key("slow_start"))),
            attempts: file.attempts as usize,
            idle_timeout: self.positive(&file.idle_timeout, at.key("idle_timeout")),
        }
    }

    fn rate(&mut self, file: &file::Load, at: At<'_>) -> Rate {
        match (&file.utilization, &file.requests_per_second) {
            (Some(_), Some(_)) => {
                let title = "utilization and requests_per_second exclude each other";
                let mistake = self.mistakes.error(at.key("requests_per_second").name(), title);
                mistake.with(at.key("utilization").name(), "see here");
                mistake.help("leave one of them out");
                Rate::Utilization(0.0)
            }
            (None, Some(rate)) => Rate::Requests(rate.0.0),
            (share, None) => {
                let share = share.as_ref().map_or(0.7, |share| share.0.0);
                if share <= 0.0 {
                    let title = "utilization cannot be zero";
                    let mistake = self.mistakes.error(at.key("utilization"), title);
                    mistake.label("nobody would come");
                }
                Rate::Utilization(share)
            }
        }
    }

    fn events(&mut self, file: &File, at: At<'_>) -> Vec<Event> {
        let mut backends = file.fleet.backends;
        let mut events = Vec::new();
        for (i, event) in file.events.iter().enumerate() {
            let at = at.key("events").index(i);
            if event.at.0 >= file.duration.0 && !file.duration.0.is_zero() {
                let mistake = self.mistakes.error(at.key("at"), "this is after the end");
                mistake.label("it would never happen").help("make `duration` longer");
            }
            let Some(what) = self.what(event, at) else { continue };
            match what {
                What::ScaleOut { backends: more } => backends += more,
                What::ScaleIn { backends: fewer, .. } => {
                    self.leaves_some(fewer, backends, at.key("scale_in"));
                    backends = backends.saturating_sub(fewer);
                }
                What::Deploy { batch, drain: Some(_), .. } => {
                    self.leaves_some(batch, backends, at.key("deploy"));
                }
                _ => {}
            }
            if backends > MOST_BACKENDS {
                let title = format!("there would be {backends} backends");
                self.mistakes.error(at, title).label(format!("at most {MOST_BACKENDS}"));
            }
            events.push(Event { at: event.at.0, what });
        }
        events
    }

    /// What happens: exactly one thing.
    fn what(&mut self, file: &file::Event, at: At<'_>) -> Option<What> {
        let crash = file.crash.as_ref().map(|crash| What::Crash {
            backends: crash.backends,
            down_for: crash.down_for.0,
            noticed_after: crash.noticed_after.0,
        });
        let deploy = file.deploy.as_ref().map(|deploy| What::Deploy {
            batch: deploy.batch,
            drain: deploy.drain.as_ref().map(|drain| drain.0),
            restart: deploy.restart.0,
            noticed_after: deploy.noticed_after.0,
        });
        let scale_out =
            file.scale_out.as_ref().map(|more| What::ScaleOut { backends: more.backends });
        let scale_in = file.scale_in.as_ref().map(|fewer| What::ScaleIn {
            backends: fewer.backends,
            drain: fewer.drain.as_ref().map(|drain| drain.0),
        });
        let slow = file.slow.as_ref().map(|slow| What::Slow {
            backends: slow.backends,
            factor: slow.factor.0.0,
            lasts: slow.lasts.0,
        });
        let load = file.load.as_ref().map(|load| What::Load { factor: load.0.0 });
        let autoscale = file.autoscale.as_ref();
        let autoscale = autoscale.map(|rule| self.autoscale(rule, at.key("autoscale")));
        let all = [crash, deploy, scale_out, scale_in, slow, load, autoscale];
        let mut found = all.into_iter().flatten();
        match (found.next(), found.next()) {
            (Some(what), None) => Some(what),
            (one, _) => {
                let title = match one {
                    None => "events: nothing happens here",
                    Some(_) => "events: two things happen here",
                };
                let mistake = self.mistakes.error(at, title);
                mistake.label("expected one thing").depends_on(at);
                mistake.help(
                    "besides `at`, write one of crash, deploy, scale_out, scale_in, slow, load \
                     and autoscale",
                );
                None
            }
        }
    }

    fn autoscale(&mut self, file: &file::Autoscale, at: At<'_>) -> What {
        if file.target.0.0 <= 0.0 {
            let mistake = self.mistakes.error(at.key("target"), "target cannot be zero");
            mistake.label("expected more than zero");
        }
        if file.from > file.to {
            let mistake = self.mistakes.error(at.key("from"), "from is above to");
            mistake.with(at.key("to"), "see here");
        }
        What::Autoscale(Autoscale {
            target: file.target.0.0,
            least: file.from,
            most: file.to.max(file.from),
            every: self.positive(&file.every, at.key("every")),
            start: file.start.0,
            calm: file.calm.0,
            drain: (!file.drain.0.is_zero()).then_some(file.drain.0),
        })
    }

    fn leaves_some(&mut self, fewer: u32, backends: u32, at: At<'_>) {
        if fewer >= backends {
            let title = format!("{}: nobody would be left", at.path());
            let mistake = self.mistakes.error(at, title);
            mistake.label(format!("there are {backends} backends then"));
        }
    }
}

fn fleet(file: &file::Fleet) -> Fleet {
    Fleet {
        backends: file.backends,
        concurrency: file.concurrency,
        backlog: file.backlog.unwrap_or(u32::MAX),
        service_time: file.service_time.0,
        slow: file.slow.as_ref().map(|slow| (slow.backends, slow.factor.0.0)),
    }
}

fn sessions(file: &file::Sessions) -> Clients {
    let users = file.users.as_ref();
    Clients::Sessions(Sessions {
        requests: file.requests.0,
        think: file.think.0,
        users: users.map(|users| Users { count: users.count.into(), zipf: users.zipf.0.0 }),
        hot: file.hot.as_ref().map(|hot| hot.0.0),
    })
}
