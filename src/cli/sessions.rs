//! `stickler sessions`: where sessions are bound, and letting them go.

use comfy_table::Cell;

use super::failure::Failure;
use super::remote::{Client, Remote, Target};
use super::table::{count, percent, state, table};
use super::terminal::Terminal;
use crate::admin::view::{Released, Session, SessionCounts};

const EXAMPLES: &str = "\
Examples:
  stickler sessions                                counts by backend
  stickler sessions show 9a0c1f2e3d4b5a69          where a session is bound, and why
  stickler sessions release 9a0c1f2e3d4b5a69       its next request may go elsewhere
  stickler sessions release --all shop/shop-1      the same for everybody who is bound there

A session's id is in the access log.";

/// Show where sessions are bound, or let them go
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show where a session is bound, and why
    Show {
        /// 16 hexadecimal digits, as logs have them
        session: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a session go, or all sessions of a backend
    Release {
        /// 16 hexadecimal digits, as logs have them
        #[arg(required_unless_present = "all")]
        session: Option<String>,
        /// All sessions of this backend
        #[arg(long, value_name = "POOL/BACKEND", conflicts_with = "session")]
        all: Option<Target>,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let remote = match &args.what {
        None => &args.remote,
        Some(What::Show { remote, .. } | What::Release { remote, .. }) => remote,
    };
    let client = remote.client()?;
    super::runtime()?.block_on(async {
        match &args.what {
            None => counts(&client, remote, terminal).await,
            Some(What::Show { session, .. }) => {
                let session: Session = client.get(&path(session)?).await?;
                remote.print(terminal, &session, || shown(&session))
            }
            Some(What::Release { session, all: None, .. }) => {
                let id = session.as_deref().unwrap_or_default();
                let session: Session = client.delete(&path(id)?).await?;
                remote.print(terminal, &session, || {
                    format!(
                        "session {} is released: its next request goes wherever a new session would\n",
                        session.id
                    )
                })
            }
            Some(What::Release { all: Some(target), .. }) => {
                let order = serde_json::json!({});
                let released: Released = client.post(&target.path("/release"), &order).await?;
                remote.print(terminal, &released, || {
                    format!("{} of {target} released\n", count(released.sessions, "session"))
                })
            }
        }
    })
}

fn path(session: &str) -> Result<String, Failure> {
    match session.len() == 16 && session.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(format!("/v1/sessions/{session}")),
        false => Err(Failure::Mistake(format!(
            "error: {session:?} is no session id: expected 16 hexadecimal digits, as logs have them"
        ))),
    }
}

async fn counts(client: &Client, remote: &Remote, terminal: &Terminal) -> Result<(), Failure> {
    let counts: SessionCounts = client.get("/v1/sessions").await?;
    remote.print(terminal, &counts, || {
        let pools = counts.pools.iter().map(|pool| {
            let rows = pool.backends.iter().map(|backend| {
                vec![
                    Cell::new(&backend.backend),
                    state(terminal, &backend.state),
                    Cell::new(backend.sessions),
                    Cell::new(percent(backend.share)),
                    Cell::new(if backend.fair_share == 0.0 {
                        "-".into()
                    } else {
                        percent(backend.fair_share)
                    }),
                ]
            });
            let titles = ["backend", "state", "sessions", "share", "fair share"];
            let table = table(terminal, &titles, 2, rows.collect());
            let more = match pool.untracked {
                0 => String::new(),
                n => format!(", and more: the ledger was full {}", count(n, "time")),
            };
            format!("{}: {}{more}\n\n{table}", pool.pool, count(pool.sessions, "session"))
        });
        pools.collect::<Vec<_>>().join("\n")
    })
}

fn shown(session: &Session) -> String {
    let home = match &session.backend {
        Some(backend) => format!("{}/{backend}, which is {}", session.pool, session.state),
        None => format!("a former backend of pool {}", session.pool),
    };
    let Session { id, since, last_seen, why, .. } = session;
    format!("session {id} is bound to {home}, since {since}, last seen {last_seen}\n{why}\n")
}
