//! `stickler maintenance`: take a backend out of service at once.

use super::drain::refused;
use super::failure::Failure;
use super::remote::{Remote, Target};
use super::table::count;
use super::terminal::Terminal;
use crate::admin::view::{Backend, MaintenanceOrder};

const EXAMPLES: &str = "\
Examples:
  stickler maintenance shop/shop-1
  stickler ready shop/shop-1              put it back

Nobody is sent there any more, bound or not: its sessions are treated as `when_unavailable` says.
`stickler drain` is the gentle way.

Exit codes:
  0  it is out of service
  1  something failed: the proxy cannot be reached, or there is no such backend
  2  a mistake in the command line
  3  refused: no other backend of the pool is ready; --force overrides that";

/// Take a backend out of service at once
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
        let order = MaintenanceOrder { force: args.force };
        let answer = client.post(&args.target.path("/maintenance"), &order).await;
        let backend: Backend = answer.map_err(refused)?;
        args.remote.print(terminal, &backend, || {
            let sessions = count(backend.sessions.into(), "session");
            let Backend { state, in_flight, .. } = &backend;
            format!(
                "{} is in {state}: {sessions} bound to it, {in_flight} in flight\n",
                args.target
            )
        })
    })
}
