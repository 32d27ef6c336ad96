//! What a service manager has for us, and what it wants to hear. Without one nothing happens.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::server::Moment;

/// Sockets that were bound for us (systemd's socket activation).
pub(super) fn sockets() -> io::Result<Vec<TcpListener>> {
    let mut handed = ListenFd::from_env();
    let all = (0..handed.len()).map(|i| handed.take_tcp_listener(i));
    all.filter_map(Result::transpose).collect()
}

/// How often it wants to hear that all is well: twice as often as it needs to, so that one late
/// message does no harm.
pub(super) fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

/// We serve. We may not be the process that was started first.
pub(super) fn ready() {
    notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

pub(super) fn tell(moment: Moment) {
    match moment {
        Moment::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        },
        Moment::Reloaded => notify(&[NotifyState::Ready]),
        Moment::Alive => notify(&[NotifyState::Watchdog]),
        Moment::TakenOver => {} // the other process has said so
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
