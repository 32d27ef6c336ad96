//! `stickler top`: pools and backends, live, and keys to drain and restore them.
//!
//! A thread reads keys, the main one asks the proxy every second and draws. What is shown is in
//! [`state`], how in [`draw`].

mod draw;
mod state;

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use self::state::{State, Wish};
use super::failure::Failure;
use super::remote::{Client, Remote, Unanswered, in_words};
use super::terminal::Terminal;
use crate::admin::view::{Backend, DrainOrder, Pools};

const EXAMPLES: &str = "\
Examples:
  stickler top
  stickler top --admin http://10.0.0.5:9900 --token-file admin.token
  stickler top --json                    a line of JSON every second, until Ctrl-C

Keys: up and down choose a backend, d drains it, r makes it ready, m takes it out of service at
once; each asks before it does so. w turns the time that the cost of stickiness is about: 10 seconds,
a minute, 5 minutes. q ends.";

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Watch pools and backends, drain and restore them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let runtime = super::runtime()?;
    // A proxy that cannot be reached is said before the screen is taken.
    let first: Pools = runtime.block_on(client.get("/v1/pools"))?;
    if args.remote.json {
        return runtime.block_on(lines(&client, first, terminal));
    }
    if !terminal.is_live() {
        return Err(Failure::failed(
            "this needs a terminal; `stickler status` shows the same once, --json every second",
        ));
    }
    let keys = keys().map_err(Failure::failed)?;
    let mut screen = ratatui::try_init().map_err(Failure::failed)?;
    let done = runtime.block_on(watch(&client, first, keys, &mut screen, terminal.color()));
    ratatui::restore();
    done
}

async fn lines(client: &Client, first: Pools, terminal: &Terminal) -> Result<(), Failure> {
    let mut pools = first;
    loop {
        let line = serde_json::to_string(&pools).map_err(Failure::failed)?;
        terminal.print(&format!("{line}\n"))?;
        tokio::time::sleep(PERIOD).await;
        pools = client.get("/v1/pools").await?;
    }
}

/// Key presses, as they come. The thread ends with the process.
fn keys() -> io::Result<mpsc::UnboundedReceiver<KeyEvent>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let read = move || {
        while let Ok(event) = event::read() {
            let is_over = match event {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                    sender.send(key).is_err()
                }
                _ => false,
            };
            if is_over {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".into()).spawn(read)?;
    Ok(receiver)
}

async fn watch(
    client: &Client,
    first: Pools,
    mut keys: mpsc::UnboundedReceiver<KeyEvent>,
    screen: &mut DefaultTerminal,
    color: bool,
) -> Result<(), Failure> {
    let mut state = State::default();
    state.show(first);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        screen.draw(|frame| draw::draw(frame, &mut state, color)).map_err(Failure::failed)?;
        tokio::select! {
            key = keys.recv() => {
                let Some(key) = key else { return Ok(()) };
                match state.press(key) {
                    None => {}
                    Some(Wish::End) => return Ok(()),
                    Some(wish) => {
                        let said = act(client, &wish).await;
                        state.say(said);
                        look(client, &mut state).await;
                    }
                }
            }
            _ = ticks.tick() => look(client, &mut state).await,
        }
    }
}

async fn look(client: &Client, state: &mut State) {
    match client.get::<Pools>("/v1/pools").await {
        Ok(pools) => state.show(pools),
        Err(error) => state.lose(text(error)),
    }
}

/// Does what was wished, and gives what is to be said about it.
async fn act(client: &Client, wish: &Wish) -> String {
    let (target, what) = match wish {
        Wish::End => return String::new(),
        Wish::Drain(target) => (target, "/drain"),
        Wish::Ready(target) => (target, "/ready"),
        Wish::Maintenance(target) => (target, "/maintenance"),
    };
    let done: Result<Backend, _> = match wish {
        Wish::Drain(_) => client.post(&target.path(what), &DrainOrder::default()).await,
        _ => client.post(&target.path(what), &serde_json::json!({})).await,
    };
    match done {
        Ok(backend) => format!("{target} is {}", backend.state),
        Err(error) => text(error),
    }
}

/// In one line.
fn text(error: Unanswered) -> String {
    let text = match error {
        Unanswered::Unreachable(why) => why,
        Unanswered::Refused(problem) => in_words(&problem),
    };
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
