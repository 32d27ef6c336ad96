//! Log lines, and what has happened.

mod events;
mod history;
mod lines;
mod reload;

use std::fmt;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

pub use self::events::{Change, Event, Events};
pub use self::history::{Check, History};
use self::lines::Lines;
pub use self::reload::{ReloadOutcome, Reloaded, Trigger};
use crate::config::Log;

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
    let written = Lines::written_to(io::stderr(), |lost| {
        tracing::warn!(lost, "log lines were lost: standard error does not take them");
    })?;
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

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let at = panic.location().map(tracing::field::display);
    tracing::error!(at, "panicked: {}", text.unwrap_or_default());
}
