//! `stickler status`: how the pools and backends of a running proxy are.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::arm;
use super::cost;
use super::drain::in_words;
use super::failure::Failure;
use super::remote::Remote;
use super::table::{count, percent, rate, state, table};
use super::terminal::Terminal;
use crate::admin::view::{Backend, Difference, Group, Pool, Pools, Route, Unstick};

const EXAMPLES: &str = "\
Examples:
  stickler status
  stickler status shop
  stickler status --json | jq '.pools[].backends[] | select(.state != \"ready\")'
  stickler status --admin http://10.0.0.5:9900 --token-file admin.token

Shares and rates are those of the last ten seconds. Below the backends stands what stickiness costs:
the busiest backend's load over its fair share, really and under even distribution, and what follows.";

/// Show pools and backends of a running proxy
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this pool
    pool: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    super::runtime()?.block_on(async {
        let pools: Pools = match &args.pool {
            None => client.get("/v1/pools").await?,
            Some(name) => {
                let mut pools: Pools = client.get("/v1/pools").await?;
                let names: Vec<_> = pools.pools.iter().map(|pool| pool.name.clone()).collect();
                pools.pools.retain(|pool| pool.name == *name);
                pools.routes.retain(|route| route.pools.iter().any(|arm| arm.pool == *name));
                if pools.pools.is_empty() {
                    let names = names.join(", ");
                    return Err(Failure::Failed(format!(
                        "there is no pool {name:?}\n  the pools are {names}"
                    )));
                }
                pools
            }
        };
        if args.remote.json {
            return terminal.print(&format!("{}\n", super::json(&pools)?));
        }
        let shown = pools.pools.iter().map(|pool| show(pool, terminal));
        let routes = pools.routes.iter().map(|route| split(route, terminal));
        terminal.print(&shown.chain(routes).collect::<Vec<_>>().join("\n"))
    })
}

fn show(pool: &Pool, terminal: &Terminal) -> String {
    let mut text =
        format!("{}: affinity {}, balance {}\n", pool.name, pool.affinity.mode, pool.balance);
    let mut totals = vec![
        count(pool.sessions, "session"),
        format!("{} in flight", pool.in_flight),
        format!("{} requests/s", rate(pool.request_rate)),
    ];
    totals.extend((pool.waiting > 0).then(|| format!("{} waiting", pool.waiting)));
    totals.extend((pool.unavailable > 0).then(|| format!("{} not placed", pool.unavailable)));
    let _ = writeln!(text, "{}", totals.join(", "));
    if !pool.reasons.is_empty() {
        let reasons = pool.reasons.iter().map(|(reason, n)| format!("{reason} {n}"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "moved, detoured or not honoured: {reasons}");
    }
    let titles = [
        "backend",
        "state",
        "sessions",
        "in flight",
        "requests/s",
        "share",
        "fair share",
        "p50",
        "p99",
    ];
    let rows = pool.backends.iter().map(|backend| row(backend, terminal)).collect();
    let _ = write!(text, "\n{}", table(terminal, &titles, 2, rows));
    if let Some(unstick) = &pool.unstick {
        let _ = write!(text, "\n{}", experiment(unstick, terminal));
    }
    if let Some(cost) = cost::in_full(pool, terminal) {
        let _ = write!(text, "\n{cost}");
    }
    for backend in &pool.backends {
        let name = &backend.name;
        if let Some(drain) = backend.drain.as_ref().filter(|drain| drain.ended.is_none()) {
            let _ = writeln!(text, "{name} drains: {}", in_words(drain));
        }
        if let Some(error) = backend.last_error.as_ref().filter(|_| is_ill(backend)) {
            let _ = writeln!(text, "{name}, {}: {}", error.at, error.what);
        }
    }
    text
}

/// A route over several pools: what each should have, and has.
fn split(route: &Route, terminal: &Terminal) -> String {
    let rows = route.pools.iter().map(|arm| arm::texts(arm).map(Cell::new).into()).collect();
    let table = table(terminal, &arm::TITLES, arm::NUMBERS, rows);
    format!("route {}: its requests by pool\n{table}", route.name)
}

/// The unstick experiment: the verdict, and both arms.
fn experiment(unstick: &Unstick, terminal: &Terminal) -> String {
    let Unstick { percent, since, in_words, bound, free, differences, .. } = unstick;
    let titles = ["arm", "requests", "unknown", "failed", "4xx", "3xx", "p50", "p99"];
    let share = |kind: &str, of: fn(&Difference) -> f64| {
        differences.get(kind).map_or("-".into(), |found| self::percent(of(found)))
    };
    let arm = |name: &str, arm: &Group, of: fn(&Difference) -> f64| {
        let mut row = vec![Cell::new(name), Cell::new(arm.requests)];
        let kinds = ["unknown", "failed", "refused", "redirected"];
        row.extend(kinds.map(|kind| Cell::new(share(kind, of))));
        row.push(Cell::new(millis(arm.duration.map(|duration| duration.p50_ms))));
        row.push(Cell::new(millis(arm.duration.map(|duration| duration.p99_ms))));
        row
    };
    let rows =
        vec![arm("bound", bound, |found| found.bound), arm("free", free, |found| found.free)];
    let table = table(terminal, &titles, 1, rows);
    format!("{percent} % of the sessions are routed freely since {since}\n{in_words}\n{table}")
}

/// `4.2 ms`
fn millis(ms: Option<f64>) -> String {
    ms.map_or("-".into(), |ms| format!("{} ms", rate(ms)))
}

fn is_ill(backend: &Backend) -> bool {
    matches!(backend.state.as_str(), "down" | "ejected")
}

fn row(backend: &Backend, terminal: &Terminal) -> Vec<Cell> {
    let fair_share = match backend.fair_share {
        0.0 => "-".into(),
        share => percent(share),
    };
    vec![
        Cell::new(&backend.name),
        state(terminal, &backend.state),
        Cell::new(backend.sessions),
        Cell::new(backend.in_flight),
        Cell::new(rate(backend.request_rate)),
        Cell::new(percent(backend.request_share)),
        Cell::new(fair_share),
        Cell::new(millis(backend.latency.map(|latency| latency.p50_ms))),
        Cell::new(millis(backend.latency.map(|latency| latency.p99_ms))),
    ]
}
