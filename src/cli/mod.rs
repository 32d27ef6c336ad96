//! The command line: one file per command, and what they have in common.
//!
//! Only this module writes to the terminal ([`terminal`]), reads the environment and decides on
//! exit codes ([`failure`]).

mod add;
mod again;
mod app;
mod arm;
mod bench;
mod check;
mod completions;
mod cost;
mod demo;
mod drain;
mod failure;
mod leash;
mod maintenance;
mod output;
mod plan;
mod progress;
mod ready;
mod reload;
mod remote;
mod remove;
mod replay;
mod report;
mod run;
mod schema;
mod service;
mod sessions;
mod simulate;
mod split;
mod status;
mod stop;
mod table;
mod terminal;
mod top;
mod weight;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use self::failure::Failure;
use self::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  stickler demo                       see it at work, without any set-up
  stickler check stickler.toml        look for mistakes in a configuration
  stickler run stickler.toml          be a proxy
  stickler status                     how a running proxy is
  stickler drain shop/shop-1 --wait   empty a backend before a deploy
  stickler bench --quick              measure what stickiness costs

Exit codes:
  0  all is well
  1  something failed
  2  a mistake in the command line or the configuration
`stickler drain --help` and `stickler reload --help` have more.

Environment:
  NO_COLOR             no colors, if set to anything
  STICKLER_ADMIN       the admin address of a running proxy, instead of http://127.0.0.1:9900
  STICKLER_TOKEN_FILE  a file with its token
  STICKLER_CA          a file with the authority of its certificate";

/// A reverse proxy and load balancer that is a stickler for where sessions go.
#[derive(Debug, Parser)]
#[command(name = "stickler", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Run(run::Args),
    /// Look for mistakes in configuration files
    Check(check::Args),
    /// Show pools and backends of a running proxy
    Status(status::Args),
    /// Let the sessions of a backend leave, and take no new ones
    Drain(drain::Args),
    /// Put a backend back into service
    Ready(ready::Args),
    /// Take a backend out of service at once
    Maintenance(maintenance::Args),
    /// Give a backend another weight
    Weight(weight::Args),
    /// Add a backend
    Add(add::Args),
    /// Remove a backend
    Remove(remove::Args),
    /// Give one pool of a route everything: a canary that is good
    #[command(after_help = split::PROMOTE)]
    Promote(split::Args),
    /// Take one pool of a route back: a canary that is not
    #[command(after_help = split::ABORT)]
    Abort(split::Args),
    /// Have a running proxy read its configuration again
    Reload(reload::Args),
    /// Show where sessions are bound, or let them go
    Sessions(sessions::Args),
    /// Say what a change would do, without doing it
    Plan(plan::Args),
    /// Watch pools and backends, drain and restore them
    Top(top::Args),
    /// Print the JSON Schema of the configuration file
    Schema(schema::Args),
    /// See Stickler at work: app servers, the proxy, sessions, and where each of them goes
    Demo(demo::Args),
    /// Run one demo app server
    App(app::Args),
    /// Simulate a fleet on virtual time, and compare policies
    Simulate(simulate::Args),
    /// Replay access logs on virtual time, and compare policies
    Replay(replay::Args),
    /// Measure what stickiness costs: real app servers, a real proxy, and open-loop load
    Bench(bench::Args),
    /// Show a saved report of `stickler bench`, or write it in another form
    Report(report::Args),
    /// Run a program until standard input ends
    #[command(hide = true)]
    Leash(leash::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

impl Cli {
    /// Does what the command line says, and gives the exit code for it.
    pub fn run(self) -> ExitCode {
        let terminal = Terminal::detect();
        let done = match self.command {
            Command::Run(args) => run::run(&args, &terminal),
            Command::Check(args) => check::run(&args, &terminal),
            Command::Status(args) => status::run(&args, &terminal),
            Command::Drain(args) => drain::run(&args, &terminal),
            Command::Ready(args) => ready::run(&args, &terminal),
            Command::Maintenance(args) => maintenance::run(&args, &terminal),
            Command::Weight(args) => weight::run(&args, &terminal),
            Command::Add(args) => add::run(&args, &terminal),
            Command::Remove(args) => remove::run(&args, &terminal),
            Command::Promote(args) => split::promote(&args, &terminal),
            Command::Abort(args) => split::abort(&args, &terminal),
            Command::Reload(args) => reload::run(&args, &terminal),
            Command::Sessions(args) => sessions::run(&args, &terminal),
            Command::Plan(args) => plan::run(&args, &terminal),
            Command::Top(args) => top::run(&args, &terminal),
            Command::Schema(args) => schema::run(&args, &terminal),
            Command::Demo(args) => demo::run(&args, &terminal),
            Command::App(args) => app::run(&args, &terminal),
            Command::Simulate(args) => simulate::run(&args, &terminal),
            Command::Replay(args) => replay::run(&args, &terminal),
            Command::Bench(args) => bench::run(&args, &terminal),
            Command::Report(args) => report::run(&args, &terminal),
            Command::Leash(args) => leash::run(&args),
            Command::Completions(args) => completions::run(&args, &terminal),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(&terminal),
        }
    }
}

/// A variable of the environment, for a configuration that refers to it.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A generator that nobody can predict.
fn entropy() -> Result<StdRng, Failure> {
    StdRng::try_from_rng(&mut SysRng).map_err(Failure::failed)
}

/// What the admin API said, for programs.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(Failure::failed)
}

/// A tokio runtime on this thread.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_examples() {
        let mut cli = Cli::command();
        cli.build();
        assert!(cli.render_long_help().to_string().contains("Examples:"));
        for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help().to_string();
            let example = format!("Examples:\n  stickler {}", command.get_name());
            assert!(help.contains(&example), "{help}");
        }
    }
}
