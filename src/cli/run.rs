//! `stickler run`: be a proxy.

use std::path::PathBuf;

use super::failure::Failure;
use super::terminal::Terminal;
use crate::config::{Config, Loaded};
use crate::observe;
use crate::server::{self, Shutdown, signals};

const EXAMPLES: &str = "\
Examples:
  stickler run stickler.toml
  stickler run /etc/stickler/stickler.toml 2> stickler.log

Logs go to standard error. SIGTERM or Ctrl-C lets requests in flight finish, for at most
`server.shutdown_timeout`; a second one ends the process at once. SIGHUP changes nothing yet.";

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
    let _logging = logging.map_err(Failure::failed)?;
    for warning in &warnings {
        let (line, column) = warning.position().unzip();
        tracing::warn!(file = %args.file.display(), line, column, "{}", warning.title());
    }
    signals::on_hang_up(|| {
        tracing::warn!("SIGHUP: there is no reloading yet; restart for another configuration");
    })
    .map_err(Failure::failed)?;
    // Before there is anybody who could take the last descriptors.
    let signals = signals::catch().map_err(Failure::failed)?;
    let running = server::start(config).map_err(Failure::failed)?;
    for address in running.addresses() {
        tracing::info!("listening on {address}");
    }
    if let Some(address) = running.admin() {
        tracing::info!("admin API and dashboard for operators at http://{address}/");
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
