//! `stickler app`: one demo app server.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;
use rand::Rng;
use tokio::net::TcpListener;

use super::failure::Failure;
use super::stop;
use super::terminal::Terminal;
use crate::lab::app::{self, Settings};
use crate::lab::delay::Delay;
use crate::lab::process::LISTENING;

const EXAMPLES: &str = "\
Examples:
  stickler app --name app-1 --listen 127.0.0.1:3001
  stickler app --service-time lognormal:20ms,0.7 --concurrency 8
  stickler app --kind redis --redis redis://127.0.0.1:6379
  stickler app --drain-for 30s        asks to be drained when it is told to stop

A shop with sessions: POST /login?user=NAME, POST /cart?item=NAME, GET /cart, POST /checkout,
POST /logout. A session that this server does not know gets 401 \"unknown_session\".
GET /whoami says who answers, GET /healthz says ok, GET /stats counts requests and sessions.
Kinds websocket and hybrid have GET /live?room=NAME, too, a WebSocket. Kind websocket does what cart,
add ITEM and checkout say; both say TEXT to the room on \"say TEXT\", and send anything else back.";

/// Run one demo app server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where it keeps its sessions
    #[arg(long, value_enum, default_value_t = Kind::Memory)]
    kind: Kind,
    /// Where it listens; port 0 for any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Its name, which every answer carries
    #[arg(long, default_value = "app", value_parser = name)]
    name: String,
    /// How long it works on a request: 0, 5ms, uniform:2ms-8ms, exp:5ms or lognormal:5ms,0.5
    #[arg(long, value_name = "TIMES", default_value = "0")]
    service_time: Delay,
    /// How many requests it works on at once; further ones queue
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroU32,
    /// How many sessions it remembers; a further one pushes out the one that was idle longest
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_sessions: usize,
    /// How long it remembers an idle session
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    session_timeout: Duration,
    /// Where Redis is, with --kind redis
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    redis: String,
    /// What tokens are signed with; servers with the same secret know each other's sessions.
    /// Random if absent
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,
    /// How long it asks to be drained (x-drain in the health check's answer) when it is to stop,
    /// unless its last session has ended before
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    drain_for: Duration,
    /// Makes session ids and service times repeatable
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End when standard input ends, as it does when the parent process dies
    #[arg(long)]
    exit_with_parent: bool,
}

/// Where a demo app server keeps its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// In its own memory: no other server knows them, and they die with it
    Memory,
    /// In Redis, see --redis: every server knows them
    Redis,
    /// In the client's cookie, signed, see --secret: every server can read them
    Jwt,
    /// In its own memory, with live channels in rooms: GET /live?room=NAME is a WebSocket
    Websocket,
    /// As jwt, with live channels in rooms that are in its own memory
    Hybrid,
}

/// The kind with what belongs to it.
fn kind(args: &Args, random: u64) -> app::Kind {
    let secret = || args.secret.clone().unwrap_or_else(|| format!("{random:016x}"));
    match args.kind {
        Kind::Memory => app::Kind::Memory,
        Kind::Redis => app::Kind::Redis { url: args.redis.clone() },
        Kind::Jwt => app::Kind::Jwt { secret: secret() },
        Kind::Websocket => app::Kind::Websocket,
        Kind::Hybrid => app::Kind::Hybrid { secret: secret() },
    }
}

/// A name that needs no quoting in JSON, HTML and TOML.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits, dots, hyphens and underscores".into())
    }
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let mut entropy = super::entropy()?;
    let settings = Settings {
        name: args.name.clone(),
        kind: kind(args, entropy.next_u64()),
        service_time: args.service_time,
        concurrency: args.concurrency,
        max_sessions: args.max_sessions,
        session_timeout: args.session_timeout,
        drain_for: args.drain_for,
        seed: args.seed.unwrap_or_else(|| entropy.next_u64()),
    };
    let shutdown = shutdown(args.exit_with_parent)?;
    super::runtime()?.block_on(async {
        let cannot = |error| Failure::failed(format!("cannot listen on {}: {error}", args.listen));
        let listener = TcpListener::bind(args.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        terminal.print(&format!("{LISTENING}{address}\n"))?;
        app::serve(listener, settings, shutdown).await.map_err(Failure::failed)
    })
}

/// Completes when the server should stop.
fn shutdown(exit_with_parent: bool) -> Result<impl Future<Output = ()>, Failure> {
    let signal = stop::signal()?;
    let parent = exit_with_parent.then(stop::end_of_input).transpose()?;
    let parent_left = async {
        match parent {
            Some(parent) => parent.await,
            None => std::future::pending().await,
        }
    };
    Ok(async {
        tokio::select! {
            _ = signal => {}
            () = parent_left => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting() {
        assert_eq!(name("app-1.eu_west").as_deref(), Ok("app-1.eu_west"));
        for bad in ["", "a b", "<b>", "a\"", "ä", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
