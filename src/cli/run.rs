//! `stickler run`: be a proxy.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;

use super::failure::Failure;
use super::service;
use super::terminal::Terminal;
use crate::config::{Config, Loaded};
use crate::observe::access_log::AccessLog;
use crate::observe::{self, Logging, Trigger};
use crate::server::{
    self, Inherited, Moment, Options, Predecessor, Shutdown, Source, Tell, signals,
};

const EXAMPLES: &str = "\
Examples:
  stickler run stickler.toml
  stickler run /etc/stickler/stickler.toml 2> stickler.log
  stickler run stickler.toml --takeover    replace the process that runs, without losing anybody
  kill -HUP $(pidof stickler)          read the configuration again, without losing anybody

Logs go to standard error. SIGTERM or Ctrl-C lets requests in flight finish, for at most
`server.shutdown_timeout`; a second one ends the process at once. SIGHUP reloads the
configuration; a file with mistakes changes nothing, and the log says why. SIGUSR1 opens the
access log anew, for logrotate.";

/// Run the proxy
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration, a TOML file
    file: PathBuf,
    /// Take the listening sockets over from the process that runs with the same state_dir, which
    /// ends then when its clients have
    #[arg(long)]
    takeover: bool,
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
    let access_log = Arc::new(OnceLock::<Arc<AccessLog>>::new());
    let reopened = access_log.clone();
    signals::on_user_signal(move || reopened.get().into_iter().for_each(|log| log.reopen()))
        .map_err(Failure::failed)?;
    // Before there is anybody who could take the last descriptors.
    let signals = signals::catch().map_err(Failure::failed)?;
    let hung_up = signals::catch_hang_up().map_err(Failure::failed)?;
    let (inherited, predecessor) = inherit(args, &config)?;
    let (ends, end) = mpsc::channel();
    let options = Options {
        source: Some(source(&args.file)),
        inherited,
        tell: Some(tell(ends.clone())),
        hands_over: true,
        alive_every: service::alive_every(),
        ..followed_by(&logging)
    };
    let running = server::start_with(config, options).map_err(Failure::failed)?;
    let _ = access_log.set(running.observer().access_log.clone());
    let controller = running.controller().clone();
    hung_up.each(move || controller.request_reload(Trigger::Signal)).map_err(Failure::failed)?;
    for address in running.addresses() {
        tracing::info!("listening on {address}");
    }
    if let Some(url) = running.admin_url() {
        tracing::info!("admin API and dashboard for operators at {url}");
    }
    service::ready();
    if let Some(predecessor) = predecessor {
        predecessor.release().map_err(Failure::failed)?;
        tracing::info!("has taken over; the process from before ends when its clients have");
    }
    let wait = move || ends.send(End::Signal(signals.wait()));
    thread::Builder::new().name("signals".into()).spawn(wait).map_err(Failure::failed)?;
    let shutdown = match end.recv().map_err(Failure::failed)? {
        End::Signal(signal) => {
            tracing::info!(?signal, "shutting down");
            service::stopping();
            running.shut_down()
        }
        End::TakenOver => {
            tracing::info!("another process has taken over; shutting down");
            running.make_way()
        }
    };
    match shutdown {
        Shutdown::Complete => Ok(()),
        Shutdown::Forced { connections: 1 } => Err(Failure::failed("1 connection was cut off")),
        Shutdown::Forced { connections } => {
            Err(Failure::failed(format!("{connections} connections were cut off")))
        }
    }
}

/// Why it ends.
enum End {
    Signal(signals::Signal),
    TakenOver,
}

fn tell(ends: mpsc::Sender<End>) -> Tell {
    let ends = Mutex::new(ends);
    Arc::new(move |moment| {
        service::tell(moment);
        if moment == Moment::TakenOver
            && let Ok(ends) = ends.lock()
        {
            let _ = ends.send(End::TakenOver); // it may be ending anyway
        }
    })
}

/// Sockets that are bound already: by the process that runs, or by the service manager.
fn inherit(args: &Args, config: &Config) -> Result<(Inherited, Option<Predecessor>), Failure> {
    if !args.takeover {
        return Ok((Inherited::new(service::sockets().map_err(Failure::failed)?), None));
    }
    let state_dir = &config.server.state_dir;
    let cannot = |error| {
        let state_dir = state_dir.display();
        Failure::failed(format!(
            "cannot take over from the process that runs with state_dir {state_dir}: {error}"
        ))
    };
    let (sockets, predecessor) = server::take_over(state_dir).map_err(cannot)?;
    Ok((sockets, Some(predecessor)))
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
