//! Peers: a backend that does as it is told, a client that says exactly what it is told, and the
//! proxy between them.

mod backend;
mod client;
mod proxy;

use std::time::Duration;

pub use backend::{Backend, Conversation, Request};
pub use client::{Client, Response, get};
pub use proxy::Proxy;

/// How long a peer waits for something that must come. Far more than it ever takes, so that a
/// busy machine fails no test, and a hang still does.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds, looking again every few milliseconds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = stickler::clock::Stopwatch::start();
    while !condition() {
        assert!(deadline.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
