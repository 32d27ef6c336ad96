//! What the simulator says about a run: the same schedule, played on virtual time.
//!
//! Whoever trusts the simulator with fleets that no machine holds wants to see it right where it
//! can be measured. So each run in which nothing happens to the fleet is simulated, too: the same
//! sessions with the same requests, due at the same times, for the same servers under the same
//! policy, by the same core. What is left out is the proxy's own time, the network, and the
//! machine on which everything has to share two cores.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::contender::{Contender, Kind};
use super::scenario::Scenario;
use super::schedule::{Act, Session, Workload};
use super::settings::Settings;
use crate::balance::affinity::Mode;
use crate::balance::{Hint, hashing};
use crate::lab::delay::Delay;
use crate::lab::policy::Policy;
use crate::lab::report::Prediction;
use crate::lab::simulator::figures::Figures;
use crate::lab::simulator::plan::{Clients, Fleet, Plan, Proxy, Rate};
use crate::lab::simulator::site::{Ended, Event, Request, Site};

/// What a run should come to; `None` where the simulator has no such clients, or no such servers.
pub(super) fn predict(
    settings: &Settings,
    contender: &Contender,
    scenario: Scenario,
    repetition: u16,
) -> Option<Prediction> {
    let is_quiet = matches!(scenario, Scenario::Steady | Scenario::Skewed | Scenario::HotSession);
    // Who loses a session logs in again, and that is no part of the schedule.
    let keeps_sessions = match contender.kind {
        Kind::Memory => contender.policy.is_sticky(),
        Kind::Redis | Kind::Jwt => true,
        Kind::Websocket | Kind::Hybrid => false,
    };
    if !is_quiet || !keeps_sessions {
        return None;
    }
    let workload = settings.workload(scenario, repetition);
    let plan = plan(settings, &workload);
    let figures = play(&plan, &contender.policy, &workload, settings.service_time);
    Some(Prediction {
        peak_to_mean: figures.imbalance.requests,
        p50: figures.latency.p50 * 1e3,
        p99: figures.latency.p99 * 1e3,
    })
}

fn plan(settings: &Settings, workload: &Workload) -> Plan {
    Plan {
        fleet: Fleet {
            backends: settings.backends.get().into(),
            concurrency: settings.concurrency.get(),
            backlog: u32::MAX,
            service_time: settings.service_time.times(),
            slow: None,
        },
        proxy: Proxy::plain(settings.idle_timeout()),
        clients: Clients::Requests,
        rate: Rate::Requests(workload.rate),
        events: Vec::new(),
        warm_up: settings.warm_up,
        duration: settings.length,
    }
}

/// Plays a schedule to a simulated site.
fn play(plan: &Plan, policy: &Policy, workload: &Workload, service: Delay) -> Figures {
    let mut site = Site::new(plan, policy, workload.seed);
    let mut audience = Audience::new(workload, policy.affinity.mode, service);
    audience.come(&mut site);
    let end = site.meter.to();
    while let Some((time, event)) = site.agenda.next() {
        if time > end {
            break;
        }
        site.now = time;
        match event {
            Event::Client(window) => audience.ask(window, &mut site),
            event => {
                if let Some(ended) = site.happen(event) {
                    audience.hear(ended, &mut site);
                }
            }
        }
        while let Some(ended) = site.next_ended() {
            audience.hear(ended, &mut site);
        }
    }
    Figures::new(&site, policy, workload.seed, None)
}

/// All sessions of a schedule.
struct Audience {
    visitors: Vec<Visitor>,
    windows: Vec<Window>,
    service: Delay,
    /// What the work of requests is drawn with.
    dice: StdRng,
}

/// A session.
struct Visitor {
    hint: Hint,
    /// Its further windows, until the log-in is answered.
    to_open: Vec<u32>,
    /// Its further windows that are not done.
    open: usize,
    /// The first window, when it waits for the others before it checks out.
    waits: Option<u32>,
}

/// A window of a session's browser: it sends one request after the other.
struct Window {
    visitor: usize,
    /// When requests are due, and whether they wait for all other windows.
    left: VecDeque<(u64, bool)>,
    is_first: bool,
}

impl Audience {
    fn new(workload: &Workload, mode: Mode, service: Delay) -> Self {
        let dice = StdRng::seed_from_u64(workload.seed);
        let mut audience = Audience { visitors: Vec::new(), windows: Vec::new(), service, dice };
        for session in workload.sessions() {
            audience.add(session, mode);
        }
        audience
    }

    fn add(&mut self, session: Session, mode: Mode) {
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let visitor = self.visitors.len();
        let steps = session.steps.iter();
        let left = steps.map(|step| (nanos(step.due), step.act == Act::CheckOut)).collect();
        self.windows.push(Window { visitor, left, is_first: true });
        let first_of_others = self.windows.len();
        for looks in session.windows.iter().filter(|looks| !looks.is_empty()) {
            let left = looks.iter().map(|due| (nanos(*due), false)).collect();
            self.windows.push(Window { visitor, left, is_first: false });
        }
        let to_open: Vec<u32> = (first_of_others..self.windows.len()).map(|i| i as u32).collect();
        let hint = match mode {
            Mode::None | Mode::Cookie => Hint::Free,
            Mode::Hash(_) => Hint::Key(hashing::key(super::user_name(session.user).as_bytes())),
        };
        self.visitors.push(Visitor { hint, open: to_open.len(), to_open, waits: None });
    }

    /// Everybody's first request is due some time.
    fn come(&mut self, site: &mut Site) {
        let first = self.windows.iter().enumerate().filter(|(_, window)| window.is_first);
        let first: Vec<u32> = first.map(|(i, _)| i as u32).collect();
        first.into_iter().for_each(|window| self.wait(window, site));
    }

    /// A window waits until its next request is due.
    fn wait(&self, window: u32, site: &mut Site) {
        if let Some(&(due, _)) = self.windows[window as usize].left.front() {
            site.agenda.add(due.max(site.now), Event::Client(window));
        }
    }

    /// A window's next request is due.
    fn ask(&mut self, number: u32, site: &mut Site) {
        let window = &mut self.windows[number as usize];
        let visitor = &mut self.visitors[window.visitor];
        let Some(&(due, waits)) = window.left.front() else { return };
        if waits && visitor.open > 0 {
            visitor.waits = Some(number);
            return;
        }
        window.left.pop_front();
        let work = self.service.sample(&mut self.dice).as_nanos() as u64;
        site.ask(Request { client: number, hint: visitor.hint, work, arrived: due });
    }

    /// A window's request has ended.
    fn hear(&mut self, ended: Ended, site: &mut Site) {
        let window = &self.windows[ended.client as usize];
        let (is_first, is_done) = (window.is_first, window.left.is_empty());
        let visitor = &mut self.visitors[window.visitor];
        if let Some(grant) = ended.answer.and_then(|answer| answer.grant) {
            visitor.hint = Hint::Bound(grant);
        }
        let opened = if is_first { std::mem::take(&mut visitor.to_open) } else { Vec::new() };
        let mut released = None;
        if is_done && !is_first {
            visitor.open -= 1;
            released = visitor.waits.take_if(|_| visitor.open == 0);
        }
        self.wait(ended.client, site);
        opened.into_iter().chain(released).for_each(|window| self.wait(window, site));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lab::bench::settings::tests::settings;

    fn predicted(policy: &str, scenario: Scenario) -> Prediction {
        let settings = Settings { length: Duration::from_secs(60), ..settings() };
        predict(&settings, &policy.parse().unwrap(), scenario, 0).unwrap()
    }

    #[test]
    fn stickiness_costs_what_it_is_known_to_cost() {
        let (sticky, even) =
            (predicted("sticky", Scenario::Skewed), predicted("redis", Scenario::Skewed));
        assert!(sticky.peak_to_mean > even.peak_to_mean, "{sticky:?}, {even:?}");
        assert!((1.0..1.1).contains(&even.peak_to_mean), "{even:?}");
        assert!(sticky.p99 > even.p99 && even.p50 > 15.0, "{sticky:?}, {even:?}");
        assert_eq!(even, predicted("redis", Scenario::Skewed), "the same every time");
    }

    #[test]
    fn a_hot_session_weighs_on_its_server() {
        let hot = predicted("sticky", Scenario::HotSession);
        assert!(hot.peak_to_mean > predicted("sticky", Scenario::Steady).peak_to_mean, "{hot:?}");
    }

    #[test]
    fn everybody_asks_for_everything() {
        let settings = settings();
        let workload = settings.workload(Scenario::Skewed, 0);
        let mut plan = plan(&settings, &workload);
        plan.warm_up = Duration::ZERO;
        plan.duration = Duration::from_secs(1_000);
        let policy = "two_choices+cookie".parse().unwrap();
        let figures = play(&plan, &policy, &workload, settings.service_time);
        let windows = |s: &Session| s.windows.iter().map(Vec::len).sum::<usize>();
        let all: usize = workload.sessions().iter().map(|s| s.steps.len() + windows(s)).sum();
        assert_eq!((figures.requests.offered, figures.requests.answered), (all as u64, all as u64));
    }

    #[test]
    fn what_it_knows_nothing_about_it_does_not_predict() {
        for (policy, scenario) in [
            ("sticky", Scenario::Crash),
            ("none", Scenario::Steady),
            ("websocket", Scenario::Steady),
            ("hybrid", Scenario::Steady),
        ] {
            let policy = policy.parse().unwrap();
            assert_eq!(predict(&settings(), &policy, scenario, 0), None);
        }
    }
}
