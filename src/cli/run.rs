//! `stickler run`: be a proxy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use super::terminal::Terminal;
use crate::config::{Config, Loaded};
use crate::observe::{self, Logging, Trigger};
use crate::server::{self, Options, Shutdown, Source, signals};

const EXAMPLES: &str = "\
Examples:
  stickler run stickler.toml
  stickler run /etc/stickler/stickler.toml 2> stickler.log
  kill -HUP $(pidof stickler)          read the configuration again, without losing anybody

Logs go to standard error. SIGTERM or Ctrl-C lets requests in flight finish, for at most
`server.shutdown_timeout`; a second one ends the process at once. SIGHUP reloads the
configuration; a file with mistakes changes nothing, and the log says why.";

/// Run the proxy
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration, a TOML file
    file: PathBuf,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let loaded = Config::load(&args.file, &super::environment);
    let Loaded { config, warnings } =
        loaded.map_err(|error| Failure::Mistake(error.render(terminal.error_color())))?;
    let logging = observe::init(&config.server.log, terminal.error_color());
    let logging = logging.map_err(Failure::failed)?;
    for warning in &warnings {
        let (line, column) = warning.position().unzip();
        tracing::warn!(file = %args.file.display(), line, column, "{}", warning.title());
    }
    // Before there is anybody who could take the last descriptors.
    let signals = signals::catch().map_err(Failure::failed)?;
    let hung_up = signals::catch_hang_up().map_err(Failure::failed)?;
    let options = Options { source: Some(source(&args.file)), ..followed_by(&logging) };
    let running = server::start_with(config, options).map_err(Failure::failed)?;
    let controller = running.controller().clone();
    let reload = move || controller.request_reload(Trigger::Signal);
    hung_up.each(reload).map_err(Failure::failed)?;
    for address in running.addresses() {
        tracing::info!("listening on {address}");
    }
    let signal = signals.wait();
    tracing::info!(?signal, "shutting down");
    match running.shut_down() {
        Shutdown::Complete => Ok(()),
        Shutdown::Forced { connections: 1 } => Err(Failure::failed("1 connection was cut off")),
        Shutdown::Forced { connections } => {
            Err(Failure::failed(format!("{connections} connections were cut off")))
        }
    }
}

/// Where the configuration comes from, again and again.
fn source(file: &Path) -> Source {
    let from = file.to_owned();
    let read = move || Config::load(&from, &super::environment);
    Source { read: Arc::new(read), file: file.to_owned() }
}

/// What else another configuration changes.
fn followed_by(logging: &Logging) -> Options {
    let (filter, json) = (logging.filter(), logging.is_json());
    let log = move |config: &Config| {
        filter.set(&config.server.log);
        match config.server.log.json == json {
            true => Vec::new(),
            false => vec!["server.log.format: another one needs a restart".to_owned()],
        }
    };
    Options { followers: vec![Box::new(log)], ..Options::default() }
}
