//! `stickler ready`: put a backend back into service.

use super::failure::Failure;
use super::remote::{Remote, Target};
use super::terminal::Terminal;
use crate::admin::view::Backend;

const EXAMPLES: &str = "\
Examples:
  stickler ready shop/shop-1
  stickler drain shop/shop-1 --wait && deploy shop-1 && stickler ready shop/shop-1

Ends a drain, and maintenance. A backend whose health checks fail stays down until they pass.";

/// Put a backend back into service
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND")]
    target: Target,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let path = args.target.path("/ready");
        let backend: Backend = client.post(&path, &serde_json::json!({})).await?;
        let in_words = || format!("{} is {}\n", args.target, backend.state);
        args.remote.print(terminal, &backend, in_words)
    })
}
