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
//! | [`config`] | from a TOML file to types that cannot be wrong | specs of `balance` and `routing` |

pub mod balance;
pub mod http;
pub mod routing;
