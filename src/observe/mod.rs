//! What can be seen of a proxy from outside: log lines, an access log, and metrics.
//!
//! [`Observer`] is what one proxy has of each; every worker thread has a [`Witness`] of it, which
//! writes down what happens there without waiting for anybody.

pub mod access_log;
mod costs;
mod end;
mod events;
mod experiments;
mod history;
mod lines;
pub mod metrics;
mod problem;
mod reload;

use std::fmt;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, OnceLock};

use tracing_subscriber::EnvFilter;

pub use self::costs::{Compared, Costs, PoolCost, Spread};
pub use self::end::End;
pub use self::events::{Change, Event, Events};
pub use self::experiments::Experiment;
pub use self::history::{Check, History};
pub use self::problem::ProblemKind;
pub use self::reload::{ReloadOutcome, Reloaded, Trigger};

use self::access_log::{AccessLog, Pen};
use self::lines::Lines;
use self::metrics::{Meters, Metrics};
use crate::config::{self, Log};

/// Where log lines wait; there is one log in a process.
static LOG: OnceLock<Arc<Lines>> = OnceLock::new();

/// What one proxy counts and writes down.
#[derive(Clone, Debug)]
pub struct Observer {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// A line for each request, if that is wanted.
    pub access_log: Arc<AccessLog>,
}

impl Observer {
    /// Nothing has happened yet. Fails if the access log cannot be opened.
    pub fn new(log: Option<&config::AccessLog>) -> io::Result<Self> {
        let access_log = Arc::new(AccessLog::default());
        access_log.configure(log)?;
        Ok(Observer { metrics: Metrics::new(access_log.clone()), access_log })
    }

    /// What one more worker writes to.
    pub(crate) fn witness(&self) -> Witness {
        Witness { meters: self.metrics.worker(), pen: Pen::new(self.access_log.clone()) }
    }
}

/// What one worker writes to.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    pub(crate) meters: Arc<Meters>,
    pub(crate) pen: Pen,
}

/// Log lines are written while this lives; its end waits until they are, for a moment at most.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    lines: Arc<Lines>,
    set_filter: SetFilter,
    is_json: bool,
}

/// Lets other lines through from now on.
#[derive(Clone)]
pub struct SetFilter(Arc<dyn Fn(&str) + Send + Sync>);

impl SetFilter {
    /// As the configuration says, which has checked the filter.
    pub fn set(&self, log: &Log) {
        (self.0)(&log.filter);
    }
}

impl fmt::Debug for SetFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetFilter")
    }
}

impl Logging {
    /// Are they JSON?
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Who may set another filter.
    pub fn filter(&self) -> SetFilter {
        self.set_filter.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.finish();
    }
}

/// Sends log lines to standard error, as configured, and panics with them. `colors`: the text may
/// have some.
pub fn init(log: &Log, colors: bool) -> io::Result<Logging> {
    let written = Lines::written_to("log", io::stderr(), |lost| {
        tracing::warn!(lost, "log lines were lost: standard error does not take them");
    })?;
    let written = LOG.get_or_init(|| written).clone();
    // The filter was checked when the configuration was read.
    let filter = EnvFilter::new(&log.filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(written.clone())
        .with_target(false)
        // It would say on standard error that standard error has failed, and panic.
        .log_internal_errors(false);
    // A second call changes nothing.
    let set_filter: Arc<dyn Fn(&str) + Send + Sync> = match log.json {
        true => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            let _ = lines.try_init();
            Arc::new(move |filter| drop(handle.reload(EnvFilter::new(filter))))
        }
        false => {
            let lines = lines.with_ansi(colors).with_filter_reloading();
            let handle = lines.reload_handle();
            let _ = lines.try_init();
            Arc::new(move |filter| drop(handle.reload(EnvFilter::new(filter))))
        }
    };
    panic::set_hook(Box::new(log_panic));
    Ok(Logging { lines: written, set_filter: SetFilter(set_filter), is_json: log.json })
}

/// Lines that were lost so far.
pub(crate) fn log_lines_lost() -> u64 {
    LOG.get().map_or(0, |lines| lines.lost())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let at = panic.location().map(tracing::field::display);
    tracing::error!(at, "panicked: {}", text.unwrap_or_default());
}
