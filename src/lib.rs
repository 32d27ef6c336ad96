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
//! | [`tls`] | certificates, and what rustls is to do with them | none |
//! | [`proxy_protocol`] | pure: who a connection is really from | none |
//! | [`config`] | from a TOML file to types that cannot be wrong | specs of `balance`, `routing`, `http`, `tls` and `proxy_protocol` |
//! | `proxy` | the live request path: **the life of a request** | `balance`, `routing`, `http`, `tls`, `proxy_protocol`, `config`, `observe`, `clock` |
//! | [`server`] | workers, listeners; start, reload, takeover and shutdown | `balance`, `routing`, `tls`, `config`, `proxy`, `control`, `admin`, `observe`, `clock` |
//! | [`control`] | what can be asked of a running proxy; health checks, discovery, and what time alone brings about | `balance`, `http`, `tls`, `proxy_protocol`, `config`, `observe`, `clock` |
//! | [`admin`] | the API, the dashboard and the metrics for operators | `balance`, `tls`, `config`, `control`, `observe`, `clock` |
//! | [`lab`] | demo app servers, browsers that use them, the load test, the simulator, and their report | `balance`, `config`, `http`, `clock` |
//! | [`cli`] | one file per command | all of them |
//! | [`observe`] | logs, the access log, metrics, and what has happened | `balance`, `config`, `clock` |
//! | [`clock`] | the only reader of the real clock | `balance` |
//!
//! Not in here: HTTP/3 and caching.

pub mod admin;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod http;
pub mod lab;
pub mod observe;
mod proxy;
pub mod proxy_protocol;
pub mod routing;
pub mod server;
pub mod tls;
