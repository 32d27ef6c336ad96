//! The lab: app servers to put behind the proxy, browsers to put in front of it, and what they
//! find out about each other.
//!
//! What no machine can hold is simulated, by the same core on virtual time: [`simulator`], and
//! [`replay`] for the arrivals of a log.
//!
//! Servers and browsers speak real HTTP over real sockets and know nothing of the proxy between
//! them. What a [`Browser`](browser::Browser) sees is therefore what a user would see: in
//! particular, a session that is *lost* is one whose app server says that it does not know it.
//!
//! Reading order: [`app`] (a shop, with its sessions in one of several places) and [`process`] (the
//! shop as a child process); [`browser`], [`shopper`] (one session) and [`crowd`] (many of them);
//! [`journal`] and [`latency`] (what they saw); [`board`] and [`summary`] (how it is shown);
//! [`mod@bench`] (the load test) and [`report`] (what it comes to).
//!
//! Nothing here reads the environment or writes to the terminal: that is for `cli`.

pub mod app;
pub mod bench;
pub mod board;
pub mod browser;
mod buckets;
pub mod crowd;
pub mod delay;
pub mod journal;
pub mod latency;
pub mod policy;
pub mod process;
pub mod replay;
pub mod report;
pub mod shopper;
pub mod simulator;
pub mod summary;
