//! `stickler drain`: empty a backend, and wait until it is.

mod watch;

use std::num::NonZeroU32;
use std::time::Duration;

use super::failure::Failure;
use super::remote::{Client, Remote, Target, Unanswered};
use super::table::count;
use super::terminal::Terminal;
use crate::admin::view::{Backend, BackendDetail, Drain, DrainOrder, Span};

const EXAMPLES: &str = "\
Examples:
  stickler drain shop/shop-1                             begin, and come back at once
  stickler drain shop/shop-1 --wait && deploy shop-1 && stickler ready shop/shop-1
  stickler drain shop/shop-1 --deadline 10m --move-idle-after 30s --wait
  stickler drain shop/shop-1 --deadline 0s --wait        move everybody with the next request

What is not given is as `[pools.NAME.drain]` says. To drain again changes the policy, and the
deadline counts from then; with --wait and nothing else, a drain that is under way is waited for.

Exit codes:
  0  it drains; with --wait: it is drained, and every session had left by the deadline
  1  something failed: the proxy cannot be reached, or there is no such backend
  2  a mistake in the command line
  3  refused: no other backend of the pool is ready; --force overrides that
  4  with --wait: it is drained, but only after the deadline, when what was left had to move
  5  with --wait: somebody made the backend ready, or took it out, before it was drained";

/// Refused.
const REFUSED: u8 = 3;
/// Drained after the deadline.
const LATE: u8 = 4;
/// Ended by somebody else.
const CANCELLED: u8 = 5;

/// Let the sessions of a backend leave, and take no new ones
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND")]
    target: Target,
    #[command(flatten)]
    policy: Policy,
    /// Even if no other backend of the pool is ready
    #[arg(long)]
    force: bool,
    /// Wait until it is drained, and say how it went
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    remote: Remote,
}

/// How sessions leave
#[derive(Debug, clap::Args)]
pub(super) struct Policy {
    /// From so long after the beginning on, move the sessions that are left
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Move a session that has paused for so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    move_idle_after: Option<Duration>,
    /// After the deadline, move so many a second
    #[arg(long, value_name = "N")]
    moves_per_second: Option<NonZeroU32>,
}

impl Policy {
    fn says_nothing(&self) -> bool {
        let Policy { deadline, move_idle_after, moves_per_second } = self;
        deadline.is_none() && move_idle_after.is_none() && moves_per_second.is_none()
    }

    pub(super) fn order(&self, force: bool) -> DrainOrder {
        DrainOrder {
            deadline: self.deadline.map(Span),
            move_idle_after: self.move_idle_after.map(Span),
            moves_per_second: self.moves_per_second,
            force,
        }
    }
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let order = args.policy.order(args.force);
    super::runtime()?.block_on(async {
        if args.wait && args.policy.says_nothing() && is_under_way(args, &client).await? {
            return watch::wait(args, &client, terminal).await;
        }
        let answer = client.post(&args.target.path("/drain"), &order).await;
        let backend: Backend = answer.map_err(refused)?;
        if args.wait {
            return watch::wait(args, &client, terminal).await;
        }
        if args.remote.json {
            return terminal.print(&format!("{}\n", super::json(&backend)?));
        }
        let how = match &backend.drain {
            Some(drain) if drain.ended.is_none() => in_words(drain),
            _ => format!("it is {}", backend.state),
        };
        terminal.print(&format!("{}: {how}\n", args.target))
    })
}

/// Does the backend drain already?
async fn is_under_way(args: &Args, client: &Client) -> Result<bool, Failure> {
    let backend: BackendDetail = client.get(&args.target.path("")).await?;
    Ok(backend.backend.drain.is_some_and(|drain| drain.ended.is_none()))
}

/// The refusal that `--force` overrides has a code of its own.
pub(super) fn refused(unanswered: Unanswered) -> Failure {
    match unanswered {
        Unanswered::Refused(problem) if problem.kind.ends_with(":last-ready") => {
            let text = format!(
                "{}\n  make another backend of the pool ready first, or say --force",
                problem.detail
            );
            Failure::Because(REFUSED, text)
        }
        other => other.into(),
    }
}

/// How far a drain is.
pub(super) fn in_words(drain: &Drain) -> String {
    let all = drain.sessions_at_start + drain.joined;
    let mut parts = vec![
        format!("{} of {} left", drain.sessions, count(all, "session")),
        format!("{} in flight", drain.in_flight),
    ];
    parts.extend((drain.tunnels > 0).then(|| count(drain.tunnels.into(), "tunnel")));
    parts.extend(drain.deadline.as_ref().map(|deadline| format!("deadline {deadline}")));
    parts.extend(drain.estimated_end.as_ref().map(|end| format!("done about {end}")));
    parts.join(", ")
}
