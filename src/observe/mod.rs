//! Log lines, and what has happened.

mod events;
mod history;
mod lines;
mod reload;

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
pub struct Logging(Arc<Lines>);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.finish();
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
    let _ = match log.json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.with_ansi(colors).try_init(),
    };
    panic::set_hook(Box::new(log_panic));
    Ok(Logging(written))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let at = panic.location().map(tracing::field::display);
    tracing::error!(at, "panicked: {}", text.unwrap_or_default());
}
