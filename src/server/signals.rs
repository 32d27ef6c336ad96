//! Signals: to end, to reload, and to open log files anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// Exit code of a process that was told twice.
const IMPATIENT: i32 = 1;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: by a supervisor.
    Terminate,
    /// SIGINT: at a terminal.
    Interrupt,
}

/// Signals that are caught, whether or not anybody waits for them yet.
#[derive(Debug)]
pub struct Caught(Signals);

/// From now on SIGTERM and SIGINT are caught. A second one, of either kind, ends the process at
/// once.
pub fn catch() -> io::Result<Caught> {
    let was_asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag unset and sets it.
        flag::register_conditional_shutdown(signal, IMPATIENT, was_asked.clone())?;
        flag::register(signal, was_asked.clone())?;
    }
    Signals::new([SIGTERM, SIGINT]).map(Caught)
}

impl Caught {
    /// Waits for one of them.
    pub fn wait(mut self) -> Signal {
        match self.0.forever().next() {
            Some(SIGINT) => Signal::Interrupt,
            _ => Signal::Terminate,
        }
    }
}

/// SIGHUPs that are caught, whether or not anybody acts on them yet.
#[derive(Debug)]
pub struct HangUps(Signals);

/// From now on SIGHUP does not end the process.
pub fn catch_hang_up() -> io::Result<HangUps> {
    Signals::new([SIGHUP]).map(HangUps)
}

impl HangUps {
    /// Does this at each of them, on a thread of its own.
    pub fn each(mut self, mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
        let watch = move || self.0.forever().for_each(|_| act());
        thread::Builder::new().name("hang-up".into()).spawn(watch)?;
        Ok(())
    }
}

/// From now on SIGUSR1 does this, on a thread of its own, and does not end the process.
pub fn on_user_signal(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGUSR1])?;
    let watch = move || signals.forever().for_each(|_| act());
    thread::Builder::new().name("user-signal".into()).spawn(watch)?;
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
pub fn wait() -> io::Result<Signal> {
    Ok(catch()?.wait())
}
