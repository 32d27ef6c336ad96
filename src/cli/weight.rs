//! `stickler weight`: give a backend another share of the load.

use super::drain::refused;
use super::failure::Failure;
use super::remote::{Remote, Target};
use super::table::percent;
use super::terminal::Terminal;
use crate::admin::view::{Backend, WeightOrder};

const EXAMPLES: &str = "\
Examples:
  stickler weight shop/shop-1 3
  stickler weight shop/shop-1 0           take no new sessions, and keep those that are bound
  stickler plan --weight shop/shop-1=3    what it would do, without doing it

Sessions stay where they are: new ones go by the new weight. It stays through reloads and restarts
until the configuration file itself gives the backend another weight than it does now.

Exit codes:
  0  it has the weight
  1  something failed: the proxy cannot be reached, or there is no such backend
  2  a mistake in the command line
  3  refused: no other backend of the pool is ready; --force overrides that";

/// Give a backend another weight
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND")]
    target: Target,
    /// Its share of the load next to the others' weights
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(0..=65_535))]
    weight: u32,
    /// 0 even if no other backend of the pool is ready
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let order = WeightOrder { weight: args.weight, force: args.force };
        let answer = client.post(&args.target.path("/weight"), &order).await;
        let backend: Backend = answer.map_err(refused)?;
        args.remote.print(terminal, &backend, || {
            let Backend { weight, fair_share, .. } = backend;
            let share = percent(fair_share);
            format!("{} has weight {weight}: its fair share is {share}\n", args.target)
        })
    })
}
