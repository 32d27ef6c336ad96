//! `stickler bench`: what affinity costs next to stateless routing, measured on real processes.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::again;
use super::failure::Failure;
use super::report::Outputs;
use super::stop;
use super::terminal::Terminal;
use crate::lab::bench::contender::Contender;
use crate::lab::bench::scenario::Scenario;
use crate::lab::bench::settings::Settings;
use crate::lab::bench::suite::Suite;
use crate::lab::bench::{self, Progress};
use crate::lab::delay::Delay;

const EXAMPLES: &str = "\
Examples:
  stickler bench --quick                                       ends within a minute
  stickler bench --policy sticky,redis --scenario skewed,crash --html report.html
  stickler bench --policy random+hash,two_choices+cookie,redis:two_choices --scenario skewed
  stickler bench --suite stateful-vs-stateless --json suite.json --html suite.html

Policies: sticky (memory:two_choices+cookie), hash (memory:two_choices+hash), none
(memory:two_choices), redis, jwt, websocket, hybrid; or KIND:BALANCER[+AFFINITY...].
Each run starts its own app servers and proxy, and Redis if needed (Debian: redis-server). Load
goes to the loopback interface only.";

/// Measure what stickiness costs: real app servers, a real proxy, and open-loop load
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What is compared, separated by commas; default: sticky,redis,none
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "suite")]
    policy: Vec<Contender>,
    /// What happens meanwhile, separated by commas; default: steady,skewed,crash
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "suite")]
    scenario: Vec<Scene>,
    /// Runs that answer a question, instead of policies and scenarios
    #[arg(long)]
    suite: Option<SuiteName>,
    /// Small and short: ends within a minute
    #[arg(long)]
    quick: bool,
    /// How many app servers; default: 4, quick: 3
    #[arg(long, value_name = "N")]
    backends: Option<NonZeroU16>,
    /// How many requests an app server works on at once; default: 4, quick: 1
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroU32>,
    /// How long it works on each; default: lognormal:20ms,0.5, quick: lognormal:4ms,0.5
    #[arg(long, value_name = "TIMES")]
    service_time: Option<Delay>,
    /// How much of what the app servers can do is asked of them, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=150))]
    load: u8,
    /// Requests of a session on average; default: 12, quick: 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=1000))]
    requests: Option<u16>,
    /// Time between two requests of a session; default: exp:300ms, quick: exp:60ms
    #[arg(long, value_name = "TIMES")]
    think: Option<Delay>,
    /// Load before the measurement; default: 4s, quick: 500ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    warm_up: Option<Duration>,
    /// The measured time of each run; default: 15s, quick: what fits, 4 s at most
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    /// How often everything is measured; default: 3, quick: 1
    #[arg(long, value_name = "N")]
    repeat: Option<NonZeroU16>,
    /// Makes the load repeatable
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The program that is Redis
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: OsString,
    #[command(flatten)]
    outputs: Outputs,
}

/// A scenario by its name.
#[derive(Clone, Copy, Debug)]
struct Scene(Scenario);

impl ValueEnum for Scene {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Scene; Scenario::ALL.len()] = {
            let mut all = [Scene(Scenario::Steady); Scenario::ALL.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = Scene(Scenario::ALL[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.as_str()))
    }
}

/// The suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SuiteName {
    /// What is said about stateful and stateless servers, claim by claim
    StatefulVsStateless,
}

/// What is there by default, small or large.
struct Defaults {
    backends: u16,
    concurrency: u32,
    service_time: Delay,
    requests: u16,
    think: Delay,
    warm_up: Duration,
    repeat: u16,
}

const FULL: Defaults = Defaults {
    backends: 4,
    concurrency: 4,
    service_time: Delay::log_normal(Duration::from_millis(20), 0.5),
    requests: 12,
    think: Delay::exponential(Duration::from_millis(300)),
    warm_up: Duration::from_secs(4),
    repeat: 3,
};
const QUICK: Defaults = Defaults {
    backends: 3,
    concurrency: 1,
    service_time: Delay::log_normal(Duration::from_millis(4), 0.5),
    requests: 8,
    think: Delay::exponential(Duration::from_millis(60)),
    warm_up: Duration::from_millis(500),
    repeat: 1,
};
/// The measured time of a run that is not quick.
const FULL_LENGTH: Duration = Duration::from_secs(15);
/// All quick runs together take no longer, so that the whole command ends within a minute.
const QUICK_TOTAL: Duration = Duration::from_secs(45);
/// Starting and ending the processes of a run.
const SET_UP: Duration = Duration::from_millis(500);
/// A quick run is no longer, and no shorter.
const QUICK_LENGTH: (Duration, Duration) = (Duration::from_millis(1000), Duration::from_secs(4));

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let settings = settings(args)?;
    args.outputs.check()?;
    let signal = stop::signal()?;
    let bar = Bar::new(&settings, terminal);
    let measured = super::runtime()?.block_on(async {
        tokio::select! {
            measured = bench::bench(&settings, &bar) => measured.map_err(Failure::failed),
            received = signal => Err(received.err().unwrap_or_else(|| Failure::failed("stopped"))),
        }
    });
    bar.bar.finish_and_clear();
    let mut report = measured?;
    report.title = "stickler bench".into();
    report.command = command(args);
    report.judges_claims = args.suite.is_some();
    args.outputs.write(&report, terminal)
}

fn settings(args: &Args) -> Result<Settings, Failure> {
    let mistake = |error: &dyn std::fmt::Display| Failure::Mistake(error.to_string());
    let bouts = match args.suite {
        Some(SuiteName::StatefulVsStateless) => {
            Suite::StatefulVsStateless.bouts().map_err(|error| mistake(&error))?
        }
        None => bouts(args).map_err(|error| mistake(&error))?,
    };
    let Defaults { backends, concurrency, service_time, requests, think, warm_up, repeat } =
        if args.quick { QUICK } else { FULL };
    let stickler = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("where is this program? {error}")))?;
    let mut settings = Settings {
        stickler,
        bouts,
        backends: args.backends.or(NonZeroU16::new(backends)).unwrap_or(NonZeroU16::MIN),
        concurrency: args.concurrency.or(NonZeroU32::new(concurrency)).unwrap_or(NonZeroU32::MIN),
        service_time: args.service_time.unwrap_or(service_time),
        load: f64::from(args.load) / 100.0,
        requests: f64::from(args.requests.unwrap_or(requests)),
        think: args.think.unwrap_or(think),
        warm_up: args.warm_up.unwrap_or(warm_up),
        length: args.length.unwrap_or(FULL_LENGTH),
        repeat: args.repeat.or(NonZeroU16::new(repeat)).unwrap_or(NonZeroU16::MIN),
        seed: args.seed,
        redis_server: args.redis_server.clone(),
    };
    if args.quick && args.length.is_none() {
        settings.length = Duration::ZERO;
        let runs = settings.bouts.len() as u32 * u32::from(settings.repeat.get());
        let fixed = bench::estimate(&settings) + SET_UP * runs;
        let fits = QUICK_TOTAL.saturating_sub(fixed) / runs.max(1);
        settings.length = fits.clamp(QUICK_LENGTH.0, QUICK_LENGTH.1);
    }
    Ok(settings)
}

/// Every policy in every scenario.
fn bouts(args: &Args) -> Result<Vec<(Contender, Scenario)>, bench::contender::NotAContender> {
    let contenders = match args.policy.as_slice() {
        [] => ["sticky", "redis", "none"].into_iter().map(str::parse).collect::<Result<_, _>>()?,
        chosen => chosen.to_vec(),
    };
    let scenarios: Vec<Scenario> = match args.scenario.as_slice() {
        [] => vec![Scenario::Steady, Scenario::Skewed, Scenario::Crash],
        chosen => chosen.iter().map(|scene| scene.0).collect(),
    };
    let all = scenarios.iter();
    Ok(all.flat_map(|s| contenders.iter().map(move |contender| (contender.clone(), *s))).collect())
}

/// The command line that measures the same again.
fn command(args: &Args) -> String {
    let policies: Vec<_> = args.policy.iter().map(|policy| policy.name.as_str()).collect();
    let scenarios: Vec<_> = args.scenario.iter().map(|scene| scene.0.as_str()).collect();
    let suite = args.suite.map(|SuiteName::StatefulVsStateless| "stateful-vs-stateless");
    let options = [
        ("--suite", again::given(suite.as_ref())),
        ("--policy", again::list(&policies)),
        ("--scenario", again::list(&scenarios)),
        ("--backends", again::given(args.backends.as_ref())),
        ("--concurrency", again::given(args.concurrency.as_ref())),
        ("--service-time", again::given(args.service_time.as_ref())),
        ("--requests", again::given(args.requests.as_ref())),
        ("--think", again::given(args.think.as_ref())),
        ("--warm-up", again::given(args.warm_up.map(again::time).as_ref())),
        ("--for", again::given(args.length.map(again::time).as_ref())),
        ("--repeat", again::given(args.repeat.as_ref())),
        ("--load", args.load.to_string()),
        ("--seed", args.seed.to_string()),
    ];
    let quick = args.quick.then(|| "--quick".to_owned());
    again::command("stickler bench", quick, options)
}

/// A progress bar on standard error, if that is a terminal.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(settings: &Settings, terminal: &Terminal) -> Self {
        let target = match terminal.is_live() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let millis = bench::estimate(settings).as_millis();
        let bar = ProgressBar::with_draw_target(u64::try_from(millis).ok(), target);
        // The template is right: the default style would be no less useful.
        if let Ok(style) = ProgressStyle::with_template("{msg:32} {wide_bar} {percent:>3} %  {eta}")
        {
            bar.set_style(style);
        }
        Bar { bar }
    }
}

impl Progress for Bar {
    fn begins(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }

    fn passed(&self, time: Duration) {
        self.bar.inc(u64::try_from(time.as_millis()).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn settings_of(arguments: &[&str]) -> Settings {
        let cli = Cli::try_parse_from([&["stickler", "bench"], arguments].concat()).unwrap();
        let Command::Bench(args) = cli.command else { panic!("it is a bench") };
        settings(&args).unwrap()
    }

    #[test]
    fn quick_means_a_minute_at_most() {
        for arguments in [
            &["--quick"][..],
            &["--quick", "--suite", "stateful-vs-stateless"],
            &["--quick", "--policy", "sticky,redis,jwt", "--scenario", "rolling-deploy-drain"],
        ] {
            let settings = settings_of(arguments);
            let runs = settings.bouts.len() as u32;
            let whole = bench::estimate(&settings) + SET_UP * runs;
            assert!(whole < Duration::from_secs(58), "{arguments:?} would take {whole:?}");
        }
    }

    #[test]
    fn every_policy_meets_every_scenario() {
        let settings = settings_of(&["--policy", "sticky,jwt", "--scenario", "steady,crash"]);
        let bouts = settings.bouts.iter().map(|(c, s)| format!("{} {}", c.name, s.as_str()));
        let expected = ["sticky steady", "jwt steady", "sticky crash", "jwt crash"];
        assert_eq!(bouts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn mistakes_are_explained() {
        for (arguments, expected) in [
            (["--policy", "stuck"], "is not a balancer"),
            (["--scenario", "flood"], "rolling-deploy-drain"),
            (["--load", "0"], "1..=150"),
        ] {
            let mistake = Cli::try_parse_from([&["stickler", "bench"], &arguments[..]].concat());
            let mistake = mistake.unwrap_err().to_string();
            assert!(mistake.contains(expected), "{mistake}");
        }
    }
}
