//! `stickler promote` and `stickler abort`: which of a route's pools goes on.

use super::drain::Policy;
use super::failure::Failure;
use super::remote::Remote;
use super::table::{count, percent};
use super::terminal::Terminal;
use crate::admin::view::Route;

/// What both say of what follows.
macro_rules! more {
    () => {
        "
What drains takes no new sessions. Bound ones go over to the other pool as the policy says: what is
not given is as `[pools.NAME.drain]` says. `stickler status` shows how far it is, and
`stickler ready POOL/BACKEND` takes it back. Weights in the configuration stay as they are: change
them there when it is done.

Exit codes:
  0  it has begun
  1  something failed: the proxy cannot be reached, there is no such route, or no pool would be left
     to take new sessions
  2  a mistake in the command line"
    };
}

pub(super) const PROMOTE: &str = concat!(
    "\
Examples:
  stickler promote shop canary                       the canary gets everything, the others drain
  stickler promote shop canary --deadline 5m         who has not left by then moves
",
    more!()
);

pub(super) const ABORT: &str = concat!(
    "\
Examples:
  stickler abort shop canary                         the canary drains
  stickler abort shop canary --deadline 5m           who has not left by then moves
",
    more!()
);

/// Which pool of which route
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The route's name
    route: String,
    /// One of its pools
    pool: String,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    remote: Remote,
}

/// One pool of a route gets everything.
pub(super) fn promote(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    order(args, "promote", terminal)
}

/// One pool of a route gets nothing more.
pub(super) fn abort(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    order(args, "abort", terminal)
}

fn order(args: &Args, what: &str, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let encoded = |name: &str| name.replace('%', "%25").replace('/', "%2F");
        let path =
            format!("/v1/routes/{}/pools/{}/{what}", encoded(&args.route), encoded(&args.pool));
        let route: Route = client.post(&path, &args.policy.order(true)).await?;
        if args.remote.json {
            return terminal.print(&format!("{}\n", super::json(&route)?));
        }
        let lines = route.pools.iter().map(|arm| {
            let state = if arm.takes_new { "takes new sessions" } else { "takes no new sessions" };
            let share = arm.share.map_or(String::new(), |share| {
                format!(", {} of the last minute's requests", percent(share))
            });
            format!("{}: {state}, {}{share}\n", arm.pool, count(arm.sessions, "session"))
        });
        terminal.print(&lines.collect::<String>())
    })
}
