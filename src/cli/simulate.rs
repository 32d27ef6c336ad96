//! `stickler simulate`: what would it cost us? On virtual time.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::terminal::Terminal;
use super::{again, output, progress};
use crate::lab::policy::Policy;
use crate::lab::report::Fact;
use crate::lab::simulator::report;
use crate::lab::simulator::scenario::{SHIPPED, Scenario};
use crate::lab::simulator::sweep::{Axis, Run, Sweep};
use crate::lab::simulator::table;

const EXAMPLES: &str = "\
Examples:
  stickler simulate steady                          what stickiness costs by itself
  stickler simulate rolling-deploy --json out.json
  stickler simulate steady --policy two_choices,random+cookie --sweep backends=10,100,1000
  stickler simulate my.toml --sweep utilization=0.5,0.7,0.9 --seed 7
  stickler simulate --list                          the scenarios that come with Stickler
  stickler simulate crash --print > my.toml         one of them, to change

The same seed gives the same result. Keys to vary: backends, concurrency, utilization,
requests_per_second, service_time, requests, think, hot, duration.";

/// Simulate a fleet on virtual time, and compare policies
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A scenario file, or the name of a scenario that comes with Stickler
    #[arg(required_unless_present = "list")]
    scenario: Option<String>,
    /// Another seed than the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Other policies than the scenario's, as in two_choices,two_choices+cookie
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    policy: Vec<Policy>,
    /// Vary a parameter; several times for all combinations
    #[arg(long, value_name = "KEY=VALUE,..")]
    sweep: Vec<Axis>,
    /// Write all figures to a file, as JSON; - for standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with charts to a file, as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Threads; one for each core if absent
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    /// List the scenarios that come with Stickler
    #[arg(long, conflicts_with_all = ["scenario", "print"])]
    list: bool,
    /// Print the file of a scenario that comes with Stickler
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let Some(name) = args.scenario.as_deref().filter(|_| !args.list) else {
        return list(terminal);
    };
    if args.print {
        return print(name, terminal);
    }
    let (scenario, warnings) = load(name, terminal)?;
    for warning in warnings {
        terminal.complain(&format!("{warning}\n\n"));
    }
    let policies = if args.policy.is_empty() { &scenario.policies } else { &args.policy };
    let seed = args.seed.unwrap_or(scenario.seed);
    let sweep = Sweep::new(&scenario.plan, &args.sweep, policies, seed)
        .map_err(|why| Failure::Mistake(format!("{}: {why}", terminal.error_label())))?;
    let threads = args.threads.or(std::thread::available_parallelism().ok());
    let runs = progress::show(
        terminal,
        "simulating",
        || sweep.progress(),
        || sweep.run(threads.map_or(1, std::num::NonZeroUsize::get)),
    );
    if let Some(file) = &args.html {
        let command = command(args, name, policies, seed);
        output::write(file, &page(&scenario, command, seed, &runs))?;
    }
    let value = json!({
        "scenario": scenario.name,
        "description": scenario.description,
        "seed": seed,
        "runs": runs,
    });
    output::json_or(args.json.as_deref(), &value, terminal, || {
        shown(&scenario, seed, &runs, terminal)
    })
}

/// The command line that simulates the same again.
fn command(args: &Args, scenario: &str, policies: &[Policy], seed: u64) -> String {
    let sweep = args.sweep.iter().map(|axis| ("--sweep", axis.to_string()));
    let options = [("--policy", again::list(policies)), ("--seed", seed.to_string())];
    again::command("stickler simulate", [scenario.to_owned()], options.into_iter().chain(sweep))
}

fn page(scenario: &Scenario, command: String, seed: u64, runs: &[Run]) -> String {
    let Scenario { name, description, plan, .. } = scenario;
    let setup = vec![
        Fact::new("scenario", description),
        Fact::new("seed", seed),
        Fact::new("backends", plan.fleet.backends),
        Fact::new("requests that a backend works on at once", plan.fleet.concurrency),
        Fact::new("service time", plan.fleet.service_time),
        Fact::new("virtual time measured", again::time(plan.duration)),
        Fact::new("after a warm-up of", again::time(plan.warm_up)),
    ];
    report::report("stickler simulate", command, setup, name, runs).to_html()
}

fn shown(scenario: &Scenario, seed: u64, runs: &[Run], terminal: &Terminal) -> String {
    let Scenario { name, description, plan, .. } = scenario;
    let requests: u64 = runs.iter().map(|run| run.figures.requests.offered).sum();
    let length = humantime::format_duration(Duration::from_secs(plan.duration.as_secs().max(1)));
    format!(
        "{name}: {description}\nseed {seed}, {length} of virtual time each, {requests} requests in \
         all\n\n{}\n\n{}\n\n{}",
        table::table(runs, terminal.size().map(|(columns, _)| columns)),
        table::LEGEND,
        table::verdict(runs),
    )
}

fn load(
    name: &str,
    terminal: &Terminal,
) -> Result<(Scenario, Vec<crate::config::Mistake>), Failure> {
    Scenario::load(name).map_err(|error| {
        let names: Vec<_> = SHIPPED.iter().map(|shipped| shipped.name).collect();
        let hint = match std::path::Path::new(name).exists() {
            true => String::new(),
            false => format!("\n\nThe scenarios that come with Stickler: {}", names.join(", ")),
        };
        Failure::Mistake(format!("{}{hint}", error.render(terminal.error_color())))
    })
}

fn list(terminal: &Terminal) -> Result<(), Failure> {
    let width = SHIPPED.iter().map(|shipped| shipped.name.len()).max().unwrap_or_default();
    let described = SHIPPED.iter().filter_map(|shipped| {
        let (scenario, _) = Scenario::load(shipped.name).ok()?;
        Some(format!("{:width$}  {}\n", shipped.name, scenario.description))
    });
    terminal.print(&described.collect::<String>())
}

fn print(name: &str, terminal: &Terminal) -> Result<(), Failure> {
    match SHIPPED.iter().find(|shipped| shipped.name == name) {
        Some(shipped) => terminal.print(shipped.text),
        None => Err(Failure::Mistake(format!(
            "{}: no scenario of this name comes with Stickler: {name}",
            terminal.error_label()
        ))),
    }
}
