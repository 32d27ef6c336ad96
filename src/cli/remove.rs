//! `stickler remove`: one backend less, at run time.

use super::drain::refused;
use super::failure::Failure;
use super::remote::{Remote, Target};
use super::table::count;
use super::terminal::Terminal;
use crate::admin::view::{BackendDetail, Removal};

const EXAMPLES: &str = "\
Examples:
  stickler remove shop/shop-4
  stickler drain shop/shop-4 --wait && stickler remove shop/shop-4
  stickler plan --remove shop/shop-4      what it would do, without doing it

While sessions are bound to it, it stays, takes no new ones, and is gone when they have left. One in
maintenance goes at once: its sessions move when they come. If the configuration file or discovery
still lists it, it comes back with the next reload.

Exit codes:
  0  it is removed, or leaving
  1  something failed: the proxy cannot be reached, or there is no such backend
  2  a mistake in the command line
  3  refused: no other backend of the pool is ready; --force overrides that";

/// Remove a backend
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND")]
    target: Target,
    /// Even if no other backend of the pool is ready
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let target = &args.target;
        let before: BackendDetail = client.get(&target.path("")).await?;
        let query = if args.force { "?force=true" } else { "" };
        let removal = client.delete(&target.path(query)).await;
        let removal: Removal = removal.map_err(refused)?;
        args.remote.print(terminal, &removal, || {
            let mut text = match removal.is_leaving {
                true => {
                    let sessions = count(before.backend.sessions.into(), "session");
                    format!("{target} is leaving: {sessions} bound to it may stay until they end\n")
                }
                false => format!("{target} is removed\n"),
            };
            if removal.comes_back {
                text.push_str("it is still listed, and comes back with the next reload\n");
            }
            text
        })
    })
}
