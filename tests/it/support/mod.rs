//! Peers: a backend that does as it is told, a client that says exactly what it is told, and the
//! proxy between them.

mod address;
mod admin;
mod backend;
mod black_hole;
pub mod browser;
mod client;
mod examined;
mod files;
pub mod frames;
mod gate;
pub mod http2;
mod load;
mod name_server;
mod process;
mod proxy;
mod scrape;
mod tls;
mod visitor;

use std::net::TcpStream;
use std::time::Duration;

pub use address::Address;
pub use admin::{Admin, ON};
pub use backend::{Backend, Conversation, Request};
pub use black_hole::BlackHole;
pub use client::{Client, Response, get};
pub use examined::{CHECKS, Examined};
pub use files::Files;
pub use gate::Gate;
pub use load::{Load, Move};
pub use name_server::{NameServer, Zone};
pub use process::{Ended, Process, STICKLER, app_process, app_process_with, stickler};
pub use proxy::{Proxy, pool};
pub use scrape::Scrape;
pub use tls::{Authority, Pair, TlsBackend, TlsClient};
pub use visitor::{Visitor, app, app_at, apps};

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

/// Heads are text of one character a byte (ISO 8859-1), so that no byte is lost.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Makes the end of this connection a reset.
fn reset_at_end(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}
