//! `stickler leash`: runs a program that must not outlive whoever started it.
//!
//! The bench starts programs that do not look after their parent (Redis, the proxy). Each of them
//! is on a leash: when our standard input ends, as it does however the bench ends, so does it.

use std::ffi::OsString;
use std::process::Stdio;

use tokio::process::Command;

use super::failure::Failure;
use super::stop;

const EXAMPLES: &str = "\
Examples:
  stickler leash -- redis-server --port 7000      ends when standard input ends";

/// Run a program until standard input ends
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failure::Mistake("which program?".into()));
    };
    let signal = stop::signal()?;
    let parent_left = stop::end_of_input()?;
    super::runtime()?.block_on(async {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let cannot = |error| Failure::failed(format!("cannot run {}: {error}", program.display()));
        let mut child = command.spawn().map_err(cannot)?;
        tokio::select! {
            ended = child.wait() => {
                let status = ended.map_err(Failure::failed)?;
                let failed = || Failure::failed(format!("{} has ended: {status}", program.display()));
                return status.success().then_some(()).ok_or_else(failed);
            }
            received = signal => received?,
            () = parent_left => {}
        }
        // It has nothing that would be worth an orderly end.
        child.kill().await.map_err(Failure::failed)
    })
}
