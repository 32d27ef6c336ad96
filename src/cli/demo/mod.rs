//! `stickler demo`: app servers, the proxy and many sessions on this machine, without any set-up.
//!
//! The app servers are child processes of this binary, the proxy is started as `stickler run`
//! starts it, and what the browsers say is what real clients would see.

mod apps;
mod certificate;
mod policy;
mod screen;
mod verdict;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use self::apps::{Apps, app_name};
use self::certificate::Certificate;
use self::policy::{Affinity, Policy};
use self::screen::Screen;
use super::cost;
use super::failure::Failure;
use super::stop;
use super::terminal::Terminal;
use crate::admin::show_cost;
use crate::balance::affinity::Key;
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::lab::board::Board;
use crate::lab::browser::Browser;
use crate::lab::crowd::{Crowd, Plan};
use crate::lab::delay::Delay;
use crate::lab::shopper::Habits;
use crate::lab::summary::Summary;
use crate::server::{self, Running};

const EXAMPLES: &str = "\
Examples:
  stickler demo
  stickler demo --for 20s --affinity none      what would be lost without stickiness
  stickler demo --tls                          the same over HTTPS
  stickler demo --backends 5 --sessions 200 --think exp:100ms
  stickler demo --print-config > stickler.toml

While it runs, try http://127.0.0.1:8080/ and the dashboard at http://127.0.0.1:9900/ in a browser,
`stickler top` in another terminal, or kill one of the app servers. Exits with 1 if a session was
lost or a request failed although affinity was on and no app server ended.";

/// How long a user waits for an answer, longer than the app server works on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session that has ended shows for so long at least.
const SHORTEST_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// See Stickler at work: app servers, the proxy, sessions, and where each of them goes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How many app servers
    #[arg(long, value_name = "N", default_value = "3")]
    backends: NonZeroU8,
    /// How many sessions at a time
    #[arg(long, value_name = "N", default_value = "30")]
    sessions: NonZeroUsize,
    /// How long; until Ctrl-C if absent
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    /// How new sessions are balanced
    #[arg(long, default_value = "least_connections", value_parser = policy::BALANCERS)]
    balance: String,
    /// How sessions stick
    #[arg(long, value_enum, default_value_t = Affinity::Cookie)]
    affinity: Affinity,
    /// Where the proxy listens; 127.0.0.1:8080 or the next free port if absent
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where its dashboard is; 127.0.0.1:9900 or the next free port if absent
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// How long users think between requests: 0, 5ms, uniform:2ms-8ms, exp:5ms, lognormal:5ms,0.5
    #[arg(long, value_name = "TIMES", default_value = "exp:250ms")]
    think: Delay,
    /// How long app servers work on a request; forms as above
    #[arg(long, value_name = "TIMES", default_value = "lognormal:5ms,0.5")]
    service_time: Delay,
    /// How many requests an app server works on at once
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroU32,
    /// Makes what the users do repeatable
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Speak HTTPS, with a certificate made for this run
    #[arg(long)]
    tls: bool,
    /// Print only the summary
    #[arg(long, short)]
    quiet: bool,
    /// Print the proxy's configuration and exit
    #[arg(long)]
    print_config: bool,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let mut policy = policy(args);
    if args.print_config {
        policy.certificate = args.tls.then(PathBuf::new);
        return terminal.print(&example_config(args, &policy));
    }
    let mut entropy = super::entropy()?;
    // 32 bits of a new seed are enough, and shorter to type.
    let seed = args.seed.unwrap_or_else(|| entropy.next_u32().into());
    let token_key = Key::random(&mut entropy);
    let state = StateDir::new();
    let runtime = super::runtime()?;
    let mut apps = runtime.block_on(Apps::start(args, seed))?;
    let listen = args.listen.unwrap_or_else(|| free_address(8080));
    let certificate = args.tls.then(|| Certificate::make(listen, &mut entropy)).transpose()?;
    policy.certificate = certificate.as_ref().map(|made| made.directory().to_owned());
    let admin = args.admin.unwrap_or_else(|| free_address(9900));
    let proxy = start_proxy([listen, admin], &policy, &apps, &token_key, &state, terminal)?;
    let mut screen = Screen::new(*terminal, args.quiet);
    screen.note(&introduction(args, seed, &apps, &proxy))?;

    let plan = plan(args, seed, &proxy, certificate.as_ref())?;
    let summary = runtime.block_on(play(args, plan, &mut apps, &proxy, &mut screen));
    let sent_away = proxy.pools().iter().map(|pool| verdict::sent_away(pool)).sum();
    let cost = what_it_cost(&proxy);
    let shutdown = proxy.shut_down();
    let ended_early = apps.ended_early();
    runtime.block_on(apps.stop());

    let summary = summary?;
    terminal.print(&format!("{}{}{cost}", screen.separator(), summary.render()))?;
    verdict::verdict(args.affinity, &summary, ended_early, sent_away, &shutdown)
}

/// What stickiness cost over the run, or the last five minutes of it.
fn what_it_cost(proxy: &Running) -> String {
    let mut text = String::new();
    for pool in proxy.pools().iter() {
        let measured = proxy.observer().metrics.costs().of(pool.name());
        let costs: Vec<_> = measured.iter().map(|measured| show_cost(measured, pool)).collect();
        if let Some(longest) = costs.last() {
            let mut lines = cost::in_short(longest);
            lines.extend(cost::over_time(&costs));
            let _ = writeln!(text, "\nWhat stickiness costs\n\n {}", lines.join("\n "));
        }
    }
    text
}

fn policy(args: &Args) -> Policy {
    let (balance, affinity) = (args.balance.clone(), args.affinity);
    // Nobody may think for longer than the proxy waits.
    let idle_timeout = Duration::from_secs(args.think.upper_bound().as_secs() + 1);
    Policy {
        balance,
        affinity,
        idle_timeout: idle_timeout.max(SHORTEST_IDLE_TIMEOUT),
        certificate: None,
    }
}

/// The configuration as it would be if the app servers had well-known ports.
fn example_config(args: &Args, policy: &Policy) -> String {
    let ports = (3001u16..).take(args.backends.get().into());
    let backends = ports.enumerate().map(|(i, port)| (app_name(i), local(port)));
    let listen = args.listen.unwrap_or(local(8080));
    let admin = args.admin.unwrap_or(local(9900));
    policy.config([listen, admin], &backends.collect::<Vec<_>>())
}

fn start_proxy(
    at: [SocketAddr; 2],
    policy: &Policy,
    apps: &Apps,
    token_key: &Key,
    state: &StateDir,
    terminal: &Terminal,
) -> Result<Running, Failure> {
    let text = policy.config(at, &apps.addresses());
    let environment = |name: &str| (name == policy::KEY_VARIABLE).then(|| token_key.to_base64());
    let loaded = Config::parse("demo.toml", &text, Path::new("."), &environment);
    let loaded = loaded.map_err(|error| Failure::Mistake(error.render(terminal.error_color())))?;
    let mut config = loaded.config;
    config.server.state_dir = state.0.clone();
    server::start(config).map_err(Failure::failed)
}

/// Where the demo's proxy keeps what it is told: nothing of it is for the next demo.
struct StateDir(PathBuf);

impl StateDir {
    fn new() -> Self {
        let name = format!("stickler-demo-{}", std::process::id());
        StateDir(std::env::temp_dir().join(name))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // it may never have been made
    }
}

/// This port of this machine, or the next one that nobody uses.
fn free_address(first: u16) -> SocketAddr {
    let is_free = |port: &u16| TcpListener::bind(local(*port)).is_ok();
    local((first..first + 100).find(is_free).unwrap_or(0))
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What runs where, and what to try.
fn introduction(args: &Args, seed: u64, apps: &Apps, proxy: &Running) -> String {
    let Args { affinity, balance, sessions, .. } = args;
    let affinity = affinity.as_str();
    let mut text = format!(
        "Stickler demo: affinity {affinity}, balance {balance}, {sessions} sessions at a time, \
         seed {seed}\n\n{}",
        apps.introduction()
    );
    for address in proxy.addresses() {
        let (scheme, trust) = if args.tls { ("https", "-k ") } else { ("http", "") };
        let _ = writeln!(text, "  proxy   {scheme}://{address}");
        if let Some(admin) = proxy.admin() {
            let _ =
                writeln!(text, "  admin   http://{admin}/  dashboard; for stickler top and status");
        }
        let curl = args.affinity.curl();
        let _ = writeln!(text, "\nTry  curl {trust}{curl}{scheme}://{address}/whoami");
    }
    text.push_str("     kill PID    to see what the end of an app server costs\n");
    if args.affinity == Affinity::None {
        text.push_str("\nWithout affinity a request meets its session only by chance.\n");
    }
    if args.length.is_none() {
        text.push_str("Ctrl-C ends the demo.\n");
    }
    text
}

/// Lets the crowd in and watches it until the end.
async fn play(
    args: &Args,
    plan: Plan,
    apps: &mut Apps,
    proxy: &Running,
    screen: &mut Screen,
) -> Result<Summary, Failure> {
    let [pool] = &*proxy.pools() else { return Err(Failure::failed("the demo has one pool")) };
    let signal = stop::signal()?;
    let crowd = Crowd::start(plan);
    let stopwatch = Stopwatch::start();
    let mut board = Board::new(pool.clone());
    let end = async {
        match args.length {
            Some(length) => sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end, signal);
    loop {
        tokio::select! {
            () = &mut end => break,
            received = &mut signal => {
                received?;
                break;
            }
            () = sleep(screen.period()) => {
                for news in apps.news() {
                    screen.note(&news)?;
                }
                screen.show(&board.look(stopwatch.elapsed(), &crowd.journal()))?;
            }
        }
    }
    let journal = crowd.stop().await;
    Ok(Summary::new(pool, journal, stopwatch.elapsed()))
}

fn plan(
    args: &Args,
    seed: u64,
    proxy: &Running,
    certificate: Option<&Certificate>,
) -> Result<Plan, Failure> {
    let [address, ..] = *proxy.addresses() else {
        return Err(Failure::failed("the demo has one listener"));
    };
    let mut browser = Browser::new(address, &address.to_string()).map_err(Failure::failed)?;
    if let Some(certificate) = certificate {
        browser = browser.over_tls(certificate.trust()?).map_err(Failure::failed)?;
    }
    Ok(Plan {
        browser: browser.with_patience(PATIENCE + args.service_time.upper_bound()),
        sessions: args.sessions,
        habits: Habits { think: args.think, name_in: args.affinity.key() },
        seed,
    })
}
