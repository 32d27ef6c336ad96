//! `stickler replay`: what would your own traffic look like, sticky and not?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::table::count;
use super::terminal::Terminal;
use super::{again, output, progress};
use crate::lab::policy::Policy;
use crate::lab::replay::entry::SessionKey;
use crate::lab::replay::format::Format;
use crate::lab::replay::source::{Lines, in_order};
use crate::lab::replay::{
    BadLine, Broken, LogFacts, Replay, Settings, USUAL_SERVICE_TIME, first_time,
};
use crate::lab::report::Fact;
use crate::lab::simulator::distribution::Times;
use crate::lab::simulator::report;
use crate::lab::simulator::sweep::Run;
use crate::lab::simulator::table;

const EXAMPLES: &str = "\
Examples:
  stickler replay access.log --backends 4,8 --concurrency 16
  stickler replay /var/log/nginx/access.log*        rotated logs, gzip or zstd too, in any order
  zcat old.gz | stickler replay - --session cookie:JSESSIONID --format '$msec $remote_addr $http_cookie'
  stickler replay access.log --policy two_choices,two_choices+cookie+overload:1.25:detour

Formats that are recognized: stickler (its JSON), caddy (JSON), haproxy (option httplog), combined,
common. Any other by its nginx log_format. How long a request takes is what the log says; logs that
do not say it need --service-time.";

/// Replay access logs on virtual time, and compare policies
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The logs, plain, gzip or zstd; - is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// What makes requests one session: session, user, address, user-agent, cookie:NAME, header:NAME, or several with +
    #[arg(long, value_name = "KEY")]
    session: Option<SessionKey>,
    /// How the logs are written, if that is not to be recognized
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The policies to compare
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "two_choices,two_choices+cookie,two_choices+hash"
    )]
    policy: Vec<Policy>,
    /// The numbers of backends to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "4",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    backends: Vec<u32>,
    /// Requests that a backend works on at once
    #[arg(long, value_name = "N", default_value = "64",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    concurrency: u32,
    /// How long requests take, whatever the logs say, as in exp:20ms or lognormal:20ms,0.8
    #[arg(long, value_name = "TIMES")]
    service_time: Option<Times>,
    /// A session that has not been seen for so long is over
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    idle_timeout: Duration,
    /// How far lines may be out of order
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    reorder: Duration,
    /// For what is drawn by chance
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Write all figures to a file, as JSON; - for standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with charts to a file, as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Sessions at a time that are followed at most.
const MAX_SESSIONS: u32 = 2_000_000;

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let read = Arc::new(AtomicU64::new(0));
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let total: u64 = args.logs.iter().map(size).sum();
    let share = || read.load(Ordering::Relaxed) as f64 / (total as f64).max(1.0);
    let (facts, runs) = progress::show(terminal, "replaying", share, || play(args, &read))?;
    if let Some(file) = &args.html {
        output::write(file, &page(args, &facts, &runs))?;
    }
    let value = json!({ "log": facts, "seed": args.seed, "runs": runs });
    output::json_or(args.json.as_deref(), &value, terminal, || {
        shown(args, &facts, &runs, terminal)
    })?;
    match facts.requests {
        0 => Err(Failure::Failed("there is no request in the log".into())),
        _ => Ok(()),
    }
}

fn play(args: &Args, read: &Arc<AtomicU64>) -> Result<(LogFacts, Vec<Run>), Failure> {
    let threads = std::thread::available_parallelism();
    let mut replay = Replay::new(Settings {
        policies: args.policy.clone(),
        fleets: args.backends.clone(),
        concurrency: args.concurrency,
        format: args.format.clone(),
        session: args.session.clone(),
        service_time: args.service_time,
        idle_timeout: args.idle_timeout,
        window: args.reorder,
        max_sessions: MAX_SESSIONS,
        seed: args.seed,
        threads: threads.map_or(1, std::num::NonZeroUsize::get),
    });
    let first = |lines: &mut Lines| first_time(lines, args.format.as_ref());
    let logs = in_order(&args.logs, first).map_err(Failure::failed)?;
    for log in logs {
        let about = |error| Failure::Failed(format!("{}: {error}", log.display()));
        let mut lines = Lines::open(&log, read).map_err(about)?;
        replay.play(&log.display().to_string(), &mut lines).map_err(about)?;
    }
    Ok(replay.finish())
}

fn page(args: &Args, facts: &LogFacts, runs: &[Run]) -> String {
    let logs: Vec<_> = args.logs.iter().map(|log| log.display().to_string()).collect();
    let setup = vec![
        Fact::new("log", logs.join(", ")),
        Fact::new("format", &facts.format),
        Fact::new("session key", &facts.session),
        Fact::new("requests", facts.requests),
        Fact::new("requests without that key", facts.without_session),
        Fact::new("lines that could not be read", facts.bad),
        Fact::new("logs that break off", facts.broken.len()),
        Fact::new("requests that a backend works on at once", args.concurrency),
    ];
    report::report("stickler replay", command(args), setup, "replay", runs).to_html()
}

/// The command line that replays the same again.
fn command(args: &Args) -> String {
    let logs = args.logs.iter().map(|log| log.display().to_string());
    let options = [
        ("--session", again::given(args.session.as_ref())),
        ("--format", again::given(args.format.as_ref())),
        ("--policy", again::list(&args.policy)),
        ("--backends", again::list(&args.backends)),
        ("--concurrency", args.concurrency.to_string()),
        ("--service-time", again::given(args.service_time.as_ref())),
        ("--idle-timeout", again::time(args.idle_timeout)),
        ("--reorder", again::time(args.reorder)),
        ("--seed", args.seed.to_string()),
    ];
    again::command("stickler replay", logs, options)
}

fn shown(args: &Args, facts: &LogFacts, runs: &[Run], terminal: &Terminal) -> String {
    let mut text = format!(
        "{} of {} in {}, from {} ({}, session key {})\n",
        count(facts.requests, "request"),
        count(facts.sessions, "session"),
        humantime::format_duration(Duration::from_secs(facts.seconds as u64)),
        count(facts.lines, "line"),
        facts.format,
        facts.session,
    );
    for (number, of, what) in [
        (facts.without_session, "request", "without a session key, free to go anywhere"),
        (facts.untracked, "request", "of sessions for which there was no room"),
        (facts.late, "line", "further out of order than --reorder"),
    ] {
        if number > 0 {
            let _ = writeln!(text, "{} {what}", count(number, of));
        }
    }
    if facts.without_duration > 0 && args.service_time.is_none() {
        let requests = count(facts.without_duration, "request");
        let _ = writeln!(
            text,
            "{requests} of unknown length: {USUAL_SERVICE_TIME} is assumed, --service-time says better"
        );
    }
    for Broken { log, why } in &facts.broken {
        let _ = writeln!(text, "{log} breaks off ({why}): what comes before that counts");
    }
    if facts.bad > 0 {
        let _ = writeln!(text, "{} could not be read, the first:", count(facts.bad, "line"));
        for BadLine { log, line, why, text: found } in &facts.examples {
            let _ = match &args.logs[..] {
                [_] => writeln!(text, "  line {line}: {why}: {found}"),
                _ => writeln!(text, "  {log}, line {line}: {why}: {found}"),
            };
        }
    }
    let width = terminal.size().map(|(columns, _)| columns);
    let table = table::table(runs, width);
    let verdict = match facts.sessions {
        0 if facts.requests > 0 => no_session(facts),
        _ => table::verdict(runs),
    };
    let _ = write!(text, "\n{table}\n\n{}\n\n{verdict}", table::LEGEND);
    text
}

/// Instead of a verdict.
fn no_session(facts: &LogFacts) -> String {
    let LogFacts { session, format, possible_keys, .. } = facts;
    format!(
        "No verdict on stickiness: no line has the session key {session}. In such logs ({format}) it \
         can be made of {possible_keys}: see --session.\n"
    )
}
