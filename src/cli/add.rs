//! `stickler add`: another backend, at run time.

use std::num::NonZeroU32;

use super::failure::Failure;
use super::remote::{Remote, Target};
use super::terminal::Terminal;
use crate::admin::view::{BackendDetail, NewBackend};
use crate::balance::Address;

const EXAMPLES: &str = "\
Examples:
  stickler add shop/shop-4 10.0.0.14:3000
  stickler add shop/shop-4 10.0.0.14:3000 --weight 2 --max-connections 200
  stickler add shop/shop-4 unix:/run/shop-4.sock
  stickler plan --add shop/shop-4=2       what it would do, without doing it

It stays through reloads and restarts until it is removed. With health checks it counts as the
pool's `initial` says until the first one.";

/// Add a backend
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Its pool, and a name that no other backend of the pool has
    #[arg(value_name = "POOL/BACKEND")]
    target: Target,
    /// Where it listens: `host:port`, `[ipv6]:port` or `unix:/path`
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Its share of the load next to the others' weights
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=65_535))]
    weight: u32,
    /// Backends of a higher number take new sessions only while no lower one can
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=100))]
    priority: u32,
    /// Requests in flight at most
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroU32>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let Args { target, weight, priority, max_connections, .. } = args;
        let order = NewBackend {
            name: target.backend.clone(),
            address: args.address.to_string(),
            weight: *weight,
            priority: *priority,
            max_connections: *max_connections,
        };
        let path = format!("/v1/pools/{}/backends", target.pool);
        let added: BackendDetail = client.post(&path, &order).await?;
        args.remote.print(terminal, &added, || {
            let state = &added.backend.state;
            format!("{target} is a member now, at {}: it is {state}\n", added.backend.address)
        })
    })
}
