//! The load test: what affinity costs next to stateless routing, on real app servers behind a real
//! proxy.
//!
//! App servers, Redis and the proxy are processes of their own; only the clients are in this one.
//! A run is one [`Contender`] in one [`Scenario`]: everything is started, the load of a fixed
//! [`Workload`](schedule::Workload) goes on while the scenario is played, and everything is ended.
//! The result is a [`Report`].
//!
//! Reading order: [`contender`] and [`settings`] (what is compared, and how); [`schedule`] (who
//! comes when); `client` and `record` (what they see); `fleet`, `proxy`, `store` and `child` (the
//! processes); `gauge` (load, as the app servers count it); [`scenario`] (what happens meanwhile);
//! `prediction` (what the simulator says about the same run).
//!
//! Load goes to the loopback interface only and ends by itself; no process outlives the bench.

mod child;
mod client;
pub mod contender;
mod fleet;
mod gauge;
mod prediction;
mod proxy;
mod record;
mod run;
pub mod scenario;
pub mod schedule;
pub mod settings;
mod store;
pub mod suite;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use self::contender::{Contender, Kind};
use self::run::run;
use self::scenario::Scenario;
use self::settings::Settings;
use self::store::RedisProcess;
use super::browser::BrowserError;
use super::process::StartError;
use super::report::words::several;
use super::report::{Fact, Report};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An app server did not start.
    #[error(transparent)]
    App(#[from] StartError),
    /// The proxy did not start.
    #[error("the proxy did not begin to listen\n{log}")]
    NoProxy {
        /// The last lines of its log.
        log: String,
    },
    /// The proxy does not do what it is told over its admin API.
    #[error("the proxy refuses to {order}: {answer}")]
    Refused {
        /// What it was told.
        order: &'static str,
        /// What it said.
        answer: String,
    },
    /// Redis did not start.
    #[error(
        "{} did not begin to answer; is Redis installed? On Debian: apt-get install redis-server",
        program.display()
    )]
    NoRedis {
        /// What should have been Redis.
        program: OsString,
    },
    /// The operating system refuses something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An address cannot be part of a URL.
    #[error(transparent)]
    Browser(#[from] BrowserError),
}

/// Is told how far it is.
pub trait Progress {
    /// A run begins.
    fn begins(&self, name: &str);
    /// So much of the time that the bench takes has passed.
    fn passed(&self, time: Duration);
}

/// How long all runs take together, without starting and stopping.
pub fn estimate(settings: &Settings) -> Duration {
    let runs = settings.bouts.iter().map(|(_, scenario)| settings.longest_run(*scenario));
    runs.sum::<Duration>() * u32::from(settings.repeat.get())
}

/// Runs every contender in every scenario, as often as the settings say. Repetitions are apart
/// from each other, so that a disturbance of the machine does not hit all runs of one contender.
pub async fn bench(settings: &Settings, progress: &dyn Progress) -> Result<Report, BenchError> {
    let directory = tempfile::tempdir()?;
    let needs_redis = settings.bouts.iter().any(|(contender, _)| contender.kind == Kind::Redis);
    let redis = if needs_redis {
        let (stickler, program) = (&settings.stickler, &settings.redis_server);
        Some(RedisProcess::start(stickler, program, directory.path()).await?)
    } else {
        None
    };
    let mut report = Report { setup: facts(settings), ..Report::default() };
    for repetition in 0..settings.repeat.get() {
        for (contender, scenario) in &settings.bouts {
            progress.begins(&format!("{} / {}", scenario.as_str(), contender.name));
            let redis = redis.as_ref().map(RedisProcess::url);
            let bout = run::Bout { settings, contender, scenario: *scenario, repetition };
            report.runs.push(run(&bout, redis, directory.path(), progress).await?);
        }
    }
    if let Some(redis) = redis {
        redis.stop().await;
    }
    let late = report.runs.iter().filter_map(|run| run.details.generator_late_ms);
    let worst = late.fold(0.0, f64::max);
    let late = format!("{worst:.1} ms late at the 99th percentile, in the worst run");
    report.setup.push(Fact::new("load generator", late));
    Ok(report)
}

/// The name by which a user logs in, and which hash affinity hashes.
fn user_name(user: usize) -> String {
    format!("user-{user}")
}

/// What a reader must know.
fn facts(settings: &Settings) -> Vec<Fact> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let mut named: Vec<&Contender> = Vec::new();
    for (contender, _) in &settings.bouts {
        if !named.contains(&contender) {
            named.push(contender);
        }
    }
    let contenders: Vec<_> = named.iter().map(|c| format!("{} = {c}", c.name)).collect();
    vec![
        Fact::new("policies", contenders.join(", ")),
        Fact::new(
            "app servers",
            format!(
                "{}, {} requests at once each, service time {}",
                settings.backends, settings.concurrency, settings.service_time
            ),
        ),
        Fact::new(
            "load",
            format!(
                "{:.0} requests/s, {:.0} % of what the app servers can do; in scale-out and \
                 scale-in {:.0} requests/s",
                settings.rate(Scenario::Steady),
                settings.load * 100.0,
                settings.rate(Scenario::ScaleOut),
            ),
        ),
        Fact::new(
            "sessions",
            format!(
                "Poisson arrivals, {} requests on average, {} between them: about {:.1} s each",
                settings.requests,
                settings.think,
                settings.session_length().as_secs_f64()
            ),
        ),
        Fact::new(
            "measured",
            format!(
                "{} after {} of warm-up, {}, seed {}",
                humantime::format_duration(settings.length),
                humantime::format_duration(settings.warm_up),
                several(u64::from(settings.repeat.get()), "repetition"),
                settings.seed
            ),
        ),
        Fact::new(
            "machine",
            format!(
                "{cores} cores for everything, load over loopback, {build} build, stickler {}",
                env!("CARGO_PKG_VERSION")
            ),
        ),
    ]
}
