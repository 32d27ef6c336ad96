//! Many runs: every policy under every setting, on as many threads as there are.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::figures::Figures;
use super::plan::{Clients, Plan, Rate, Sessions};
use super::simulate;
use crate::lab::policy::Policy;

/// A parameter that is varied, and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What is varied.
    pub key: Key,
    /// Its values, as they were written.
    pub values: Vec<String>,
}

/// What can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Backends at the beginning.
    Backends,
    /// Requests that a backend works on at once.
    Concurrency,
    /// How busy the fleet is kept.
    Utilization,
    /// How much comes.
    RequestsPerSecond,
    /// How long a server works on a request.
    ServiceTime,
    /// Requests in a session.
    Requests,
    /// Time between the requests of a session.
    Think,
    /// The part of a backend's fair share that one hot session asks for.
    Hot,
    /// How long it is measured.
    Duration,
}

impl Key {
    /// All of them.
    pub const ALL: [Key; 9] = [
        Key::Backends,
        Key::Concurrency,
        Key::Utilization,
        Key::RequestsPerSecond,
        Key::ServiceTime,
        Key::Requests,
        Key::Think,
        Key::Hot,
        Key::Duration,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Key::Backends => "backends",
            Key::Concurrency => "concurrency",
            Key::Utilization => "utilization",
            Key::RequestsPerSecond => "requests_per_second",
            Key::ServiceTime => "service_time",
            Key::Requests => "requests",
            Key::Think => "think",
            Key::Hot => "hot",
            Key::Duration => "duration",
        }
    }

    /// Sets it in a plan. The error says what is wrong with the value.
    fn set(self, value: &str, plan: &mut Plan) -> Result<(), String> {
        let number = |least: u32, most: u32| {
            let number = value.parse().ok().filter(|n| (least..=most).contains(n));
            number.ok_or_else(|| format!("expected a number from {least} to {most}"))
        };
        let positive = |most: f64| {
            let number = value.parse().ok().filter(|n: &f64| *n > 0.0 && *n <= most);
            number.ok_or_else(|| format!("expected a number above 0 and up to {most}"))
        };
        fn parse<T: std::str::FromStr<Err: ToString>>(value: &str) -> Result<T, String> {
            value.parse().map_err(|error: T::Err| error.to_string())
        }
        match self {
            Key::Backends => plan.fleet.backends = number(1, 60_000)?,
            Key::Concurrency => plan.fleet.concurrency = number(1, 1_000_000)?,
            Key::Utilization => plan.rate = Rate::Utilization(positive(1.0)?),
            Key::RequestsPerSecond => plan.rate = Rate::Requests(positive(1e9)?),
            Key::ServiceTime => plan.fleet.service_time = parse(value)?,
            Key::Duration => {
                let duration: Duration =
                    humantime::parse_duration(value).map_err(|error| error.to_string())?;
                if duration.is_zero() {
                    return Err("expected more than zero".into());
                }
                plan.duration = duration;
            }
            Key::Requests | Key::Think | Key::Hot => {
                let Clients::Sessions(sessions) = &mut plan.clients else {
                    return Err("the scenario has no sessions".into());
                };
                let Sessions { requests, think, hot, .. } = sessions;
                match self {
                    Key::Requests => *requests = parse(value)?,
                    Key::Think => *think = parse(value)?,
                    _ => *hot = Some(positive(1e6)?),
                }
            }
        }
        Ok(())
    }
}

/// A run with its settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// What was varied, and the value that it had.
    pub settings: Vec<(&'static str, String)>,
    /// What it came to.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Runs to be made.
#[derive(Debug)]
pub struct Sweep {
    variations: Vec<(Vec<(&'static str, String)>, Plan)>,
    policies: Vec<Policy>,
    seed: u64,
    /// Virtual nanoseconds that have passed, of all runs.
    progress: AtomicU64,
}

/// A run of a sweep: which variation, under which policy.
type Job = (usize, Policy);

impl Sweep {
    /// All combinations of all values. The error says which of them is wrong.
    pub fn new(plan: &Plan, axes: &[Axis], policies: &[Policy], seed: u64) -> Result<Self, String> {
        let mut variations = vec![(Vec::new(), plan.clone())];
        for Axis { key, values } in axes {
            let mut finer = Vec::with_capacity(variations.len() * values.len());
            for (settings, plan) in &variations {
                for value in values {
                    let (mut settings, mut plan) = (settings.clone(), plan.clone());
                    let about = |why| format!("{} = {value}: {why}", key.as_str());
                    key.set(value, &mut plan).map_err(about)?;
                    settings.push((key.as_str(), value.clone()));
                    finer.push((settings, plan));
                }
            }
            variations = finer;
        }
        Ok(Sweep { variations, policies: policies.to_vec(), seed, progress: AtomicU64::new(0) })
    }

    /// Every run that is needed: those that were asked for, and even distribution for each of
    /// those that stick, to compare with.
    fn jobs(&self) -> Vec<Job> {
        let mut policies = self.policies.clone();
        for policy in &self.policies {
            if !policies.contains(&policy.even()) {
                policies.push(policy.even());
            }
        }
        let variations = 0..self.variations.len();
        variations.flat_map(|i| policies.iter().map(move |policy| (i, *policy))).collect()
    }

    /// How much of all runs is done, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let nanos = |plan: &Plan| (plan.warm_up + plan.duration).as_nanos() as f64;
        let total: f64 = self.jobs().iter().map(|&(i, _)| nanos(&self.variations[i].1)).sum();
        (self.progress.load(Ordering::Relaxed) as f64 / total).min(1.0)
    }

    /// Requests that all runs together are likely to have.
    pub fn expected_requests(&self) -> f64 {
        self.jobs().iter().map(|&(i, _)| self.variations[i].1.expected_requests()).sum()
    }

    /// Makes the runs, on so many threads. The result does not depend on how many.
    pub fn run(&self, threads: usize) -> Vec<Run> {
        let jobs = self.jobs();
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Option<Figures>>> = Mutex::new(vec![None; jobs.len()]);
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, jobs.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((i, policy)) = jobs.get(at) else { return };
                        let plan = &self.variations[*i].1;
                        let figures = simulate(plan, policy, self.seed, &self.progress);
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done[at] = Some(figures);
                    }
                });
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let found = |job: Job| {
            let at = jobs.iter().position(|other| *other == job)?;
            done[at].clone()
        };
        let asked = (0..self.variations.len())
            .flat_map(|i| self.policies.iter().map(move |policy| (i, *policy)));
        asked
            .filter_map(|(i, policy)| {
                let mut figures = found((i, policy))?;
                if policy.is_sticky() {
                    figures.compare(&found((i, policy.even()))?);
                }
                Some(Run { settings: self.variations[i].0.clone(), figures })
            })
            .collect()
    }
}

impl std::fmt::Display for Axis {
    /// As it is read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key.as_str(), self.values.join(","))
    }
}

impl std::str::FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) =
            text.split_once('=').ok_or("write KEY=VALUE,VALUE, as in backends=10,100")?;
        let key = Key::ALL.into_iter().find(|key| key.as_str() == name.trim());
        let names: Vec<_> = Key::ALL.iter().map(|key| key.as_str()).collect();
        let key = key
            .ok_or_else(|| format!("{name:?} cannot be varied; these can: {}", names.join(", ")))?;
        // Distributions have commas of their own, behind a colon.
        let mut list: Vec<String> = Vec::new();
        for part in values.split(',') {
            let continues = |last: &String| {
                last.starts_with("lognormal:") && !last.contains(',')
                    || last.starts_with("pareto:") && !last.contains(',')
            };
            match list.last_mut() {
                Some(last) if continues(last) => {
                    last.push(',');
                    last.push_str(part.trim());
                }
                _ => list.push(part.trim().to_owned()),
            }
        }
        if list.iter().any(String::is_empty) {
            return Err(format!("{text:?} has an empty value"));
        }
        Ok(Axis { key, values: list })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::simulator::scenario::Scenario;

    fn plan() -> Plan {
        let text = "duration = \"5s\"\nwarm_up = \"1s\"\n[sessions]\nthink = \"100ms\"\n";
        Scenario::parse("a", text.as_bytes()).unwrap().0.plan
    }

    fn policies(texts: &[&str]) -> Vec<Policy> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn axes_are_read() {
        let axis: Axis = "backends=10, 100".parse().unwrap();
        assert_eq!(axis, Axis { key: Key::Backends, values: vec!["10".into(), "100".into()] });
        let axis: Axis = "service_time=lognormal:5ms,0.5,exp:3ms".parse().unwrap();
        assert_eq!(axis.values, ["lognormal:5ms,0.5", "exp:3ms"]);
        assert_eq!(axis.to_string().parse(), Ok(axis));
        for wrong in ["backends", "bakends=3", "backends=", "backends=1,,2"] {
            assert!(wrong.parse::<Axis>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (axis, why) in [
            ("backends=0", "from 1"),
            ("utilization=2", "up to 1"),
            ("think=soon", "distribution"),
            ("duration=0s", "more than zero"),
        ] {
            let error = Sweep::new(&plan(), &[axis.parse().unwrap()], &[], 1).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn every_combination_is_run_and_threads_do_not_matter() {
        let axes = ["backends=3,5".parse().unwrap(), "utilization=0.3,0.6".parse().unwrap()];
        let sweep = |threads| {
            let policies = policies(&["two_choices+cookie", "random+hash"]);
            let sweep = Sweep::new(&plan(), &axes, &policies, 3).unwrap();
            assert!(sweep.expected_requests() > 10_000.0);
            let runs = sweep.run(threads);
            assert!((sweep.progress() - 1.0).abs() < 1e-9);
            runs
        };
        let runs = sweep(1);
        assert_eq!(runs.len(), 8);
        assert_eq!(runs[7].settings, [("backends", "5".into()), ("utilization", "0.6".into())]);
        assert!(runs.iter().all(|run| run.figures.cost.is_some()));
        let bytes = |runs: &[Run]| serde_json::to_string(runs).unwrap();
        assert_eq!(bytes(&runs), bytes(&sweep(3)), "byte for byte");
    }
}
