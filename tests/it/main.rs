//! The proxy, over real sockets, in front of backends that do as they are told.
//!
//! One binary, one file per behaviour. Every test starts its own backends and its own proxy on
//! port 0, waits for signals instead of sleeping, and can run next to all the others.

#![allow(missing_docs, reason = "tests are read, not called")]
#![allow(unreachable_pub, reason = "support is public to every file of this binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures, for those who ask with --nocapture")]

mod support;

mod access_log;
mod acme;
mod addresses;
mod admin_access;
mod admin_api;
mod admin_events;
mod admin_tls;
mod affinity_cookie;
mod affinity_hash;
mod app_is_told;
mod backend_tls;
mod bad_responses;
mod bench;
mod bodies;
mod browsers;
mod canary;
mod clients_leave;
mod commands;
mod compression;
mod connections;
mod cookies;
mod cost;
mod crowds;
mod dashboard;
mod demo;
mod deploy;
mod discovery;
mod dozing;
mod drain;
mod early_responses;
mod ejection;
mod errors;
mod forwarded;
mod forwarding;
mod grpc;
mod handling;
mod health;
mod http2;
mod http2_backends;
mod http2_frames;
mod http2_interim;
mod http2_rules;
mod http2_tunnels;
mod interim;
mod kept_state;
mod keys;
mod lifetimes;
mod limits;
mod logging;
mod membership;
mod metrics;
mod mutations;
mod old_clients;
mod openapi;
mod operate;
mod pipelining;
mod proxy_protocol;
mod queues;
mod real_peers;
mod reload;
mod request_ids;
mod restarts;
mod retry;
mod service_manager;
mod sessions;
mod shortage;
mod shutdown;
mod signals;
mod simulate;
mod streaming;
mod strictness;
mod takeover;
mod targets;
mod timeouts;
mod tls;
mod tokens;
mod transitions;
mod truncation;
mod unstick;
mod upgrade;
mod websocket;
mod when_unavailable;
