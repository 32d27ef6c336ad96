//! Stickler: a sticky-session-aware HTTP reverse proxy and load balancer.
//!
//! A stickler for where sessions go. It keeps each user on the app server that holds the user's
//! session, says at any moment what that costs next to even distribution, and lets operators
//! deploy behind it without losing a request or a session.
//!
//! This page is the map, in reading order. What each part may import is checked by
//! `tests/architecture.rs`.
//!
//! | module | what it is | imports of ours |
//! | --- | --- | --- |
//! | [`balance`] | the pure core: where does a request go, and why? | none |
//! | [`routing`] | pure: which pool takes which request | none |
//! | [`http`] | pure: what RFC 9110 and 9112 say about single messages | none |
//! | [`config`] | from a TOML file to types that cannot be wrong | specs of `balance` and `routing` |
//! | `proxy` | the live request path: **the life of a request** | `balance`, `routing`, `http`, `config`, `observe`, `clock` |
//! | [`server`] | workers, listeners, start and shutdown | `balance`, `routing`, `config`, `proxy`, `control`, `clock` |
//! | `control` | health checks, and what time alone brings about | `balance`, `config`, `observe`, `clock` |
//! | [`lab`] | demo app servers, browsers that use them, the load test and its report | `balance`, `http`, `clock` |
//! | [`cli`] | one file per command | all of them |
//! | [`observe`] | log lines | `balance`, `config` |
//! | [`clock`] | the only reader of the real clock | `balance` |
//!
//! Not in here: TLS termination, HTTP/2 and caching.

pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
mod control;
pub mod http;
pub mod lab;
pub mod observe;
mod proxy;
pub mod routing;
pub mod server;
