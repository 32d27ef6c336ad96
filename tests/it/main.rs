//! The proxy, over real sockets, in front of backends that do as they are told.
//!
//! One binary, one file per behaviour. Every test starts its own backends and its own proxy on
//! port 0, waits for signals instead of sleeping, and can run next to all the others.

#![allow(missing_docs, reason = "tests are read, not called")]
#![allow(unreachable_pub, reason = "support is public to every file of this binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

mod addresses;
mod affinity_cookie;
mod affinity_hash;
mod app_is_told;
mod bad_responses;
mod bench;
mod bodies;
mod browsers;
mod clients_leave;
mod commands;
mod connections;
mod cookies;
mod crowds;
mod demo;
mod dozing;
mod drain;
mod early_responses;
mod ejection;
mod errors;
mod forwarded;
mod forwarding;
mod health;
mod interim;
mod keys;
mod lifetimes;
mod limits;
mod logging;
mod mutations;
mod old_clients;
mod pipelining;
mod queues;
mod real_peers;
mod restarts;
mod retry;
mod sessions;
mod shortage;
mod shutdown;
mod signals;
mod streaming;
mod strictness;
mod targets;
mod timeouts;
mod tokens;
mod transitions;
mod truncation;
mod upgrade;
mod websocket;
mod when_unavailable;
