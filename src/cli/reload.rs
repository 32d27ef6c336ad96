//! `stickler reload`: have a running proxy read its configuration again.

use super::failure::Failure;
use super::remote::Remote;
use super::terminal::Terminal;
use crate::admin::view::Reload;

const EXAMPLES: &str = "\
Examples:
  stickler reload                         the answer says what has changed
  stickler reload --last                  how the last one went, whoever asked for it

A file with mistakes changes nothing, and what is wrong is said here. SIGHUP does the same without
an answer.

Exit codes:
  0  the file is in force
  1  something failed: the proxy cannot be reached
  2  the file has mistakes; the old configuration goes on";

/// Have a running proxy read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only say how the last reload went
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let reload: Reload = match args.last {
            true => client.get("/v1/reload").await?,
            false => client.post("/v1/reload", &serde_json::json!({})).await?,
        };
        if args.remote.json {
            terminal.print(&format!("{}\n", super::json(&reload)?))?;
            return if reload.ok { Ok(()) } else { Err(Failure::Explained) };
        }
        for warning in &reload.warnings {
            terminal.complain(&format!("warning: {warning}\n"));
        }
        match &reload.error {
            Some(mistakes) => {
                terminal.complain(&format!("{}\n\n", mistakes.trim_end()));
                Err(Failure::Mistake("nothing has changed: the old configuration goes on".into()))
            }
            None if reload.changes.is_empty() => {
                terminal.print("the configuration was read again; nothing has changed\n")
            }
            None => {
                let changes: String =
                    reload.changes.iter().map(|change| format!("  {change}\n")).collect();
                terminal.print(&format!("the new configuration is in force:\n{changes}"))
            }
        }
    })
}
