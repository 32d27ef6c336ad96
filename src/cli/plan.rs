//! `stickler plan`: what a change would do, before anybody does it.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::failure::Failure;
use super::remote::{Remote, Target};
use super::table::{count, table};
use super::terminal::Terminal;
use crate::admin::view::Plan;

const EXAMPLES: &str = "\
Examples:
  stickler plan --drain shop/shop-1            who would have to move where
  stickler plan --add shop/shop-4              the same for a new backend of weight 1
  stickler plan --add shop/shop-4=3            ... of weight 3
  stickler plan --weight shop/shop-1=5
  stickler plan --remove shop/shop-1 --json

Nothing is done. Peak-to-mean is the busiest backend's share over its fair share: 1 is even.";

/// Say what a change would do, without doing it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Change {
    /// Empty this backend
    #[arg(long, value_name = "POOL/BACKEND")]
    drain: Option<Target>,
    /// Add a backend of that name
    #[arg(long, value_name = "POOL/BACKEND[=WEIGHT]", value_parser = weighted)]
    add: Option<(Target, u32)>,
    /// Take this backend out of the pool
    #[arg(long, value_name = "POOL/BACKEND")]
    remove: Option<Target>,
    /// Give this backend another weight
    #[arg(long, value_name = "POOL/BACKEND=WEIGHT", value_parser = weighted)]
    weight: Option<(Target, u32)>,
}

/// `shop/shop-1=3`; a weight of 1 may be left out.
fn weighted(text: &str) -> Result<(Target, u32), String> {
    let (target, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().map_err(|_| format!("{weight:?} is no weight"))?;
    Ok((target.parse()?, weight))
}

impl Change {
    fn path(&self) -> String {
        let (name, target, weight) = match self {
            Change { drain: Some(target), .. } => ("drain", target, None),
            Change { remove: Some(target), .. } => ("remove", target, None),
            Change { add: Some((target, weight)), .. } => ("add", target, Some(weight)),
            Change { weight: Some((target, weight)), .. } => ("weight", target, Some(weight)),
            // clap demands one of them.
            _ => return "/v1/plan".into(),
        };
        let Target { pool, backend } = target;
        let weight = weight.map_or(String::new(), |weight| format!("&weight={weight}"));
        format!("/v1/plan?pool={pool}&backend={backend}&change={name}{weight}")
    }
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let plan: Plan = client.get(&args.change.path()).await?;
        args.remote.print(terminal, &plan, || shown(&plan, terminal))
    })
}

fn shown(plan: &Plan, terminal: &Terminal) -> String {
    let mut text = format!(
        "{} of pool {} would move, and {} with them\n",
        count(plan.sessions, "session"),
        plan.pool,
        count(plan.in_flight, "request"),
    );
    if !plan.flows.is_empty() {
        let row = |flow: &crate::admin::view::Flow| {
            vec![
                Cell::new(&flow.from),
                Cell::new(&flow.to),
                Cell::new(flow.sessions),
                Cell::new(flow.in_flight),
            ]
        };
        let rows = plan.flows.iter().map(row).collect();
        let _ = write!(
            text,
            "\n{}",
            table(terminal, &["from", "to", "sessions", "in flight"], 2, rows)
        );
    }
    let (before, after) = (plan.before, plan.after);
    let _ = writeln!(
        text,
        "\npeak-to-mean of sessions {:.2} now, {:.2} then; of requests in flight {:.2} now, {:.2} then",
        before.sessions, after.sessions, before.in_flight, after.in_flight
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_may_be_left_out() {
        let target: Target = "shop/shop-1".parse().unwrap();
        assert_eq!(weighted("shop/shop-1=3"), Ok((target.clone(), 3)));
        assert_eq!(weighted("shop/shop-1"), Ok((target, 1)));
        for bad in ["shop", "shop/shop-1=", "shop/shop-1=-1", "=3"] {
            assert!(weighted(bad).is_err(), "{bad}");
        }
    }
}
