//! The live request path.
//!
//! One task serves one client connection and everything behind it: it parses requests, places
//! them, drives the backend's connection, and writes responses. Nothing is handed to another
//! task, thread or channel on the way, so a request costs two wake-ups: one when it arrives, one
//! when its answer does.
//!
//! In the order of a request's life:
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`connection`] | a connection is served, from its first byte to a gentle end |
//! | [`arrival`] | what comes before HTTP: the PROXY protocol, TLS |
//! | [`security`], [`frames`] | how it came, and whether it means to be served |
//! | [`client`] | what its parts know of each other |
//! | [`client_socket`] | its socket, with TLS on it or not |
//! | [`client_io`] | what the client sends is judged before it is parsed |
//! | [`multiplexed`], [`stream`], [`http2_head`] | the same for HTTP/2: connections, streams, their heads |
//! | [`websocket`], [`stream_io`] | streams that become tunnels |
//! | [`exchange`] | **the life of a request, top to bottom** |
//! | [`request`] | its head: may it come in, and as what does it go out? |
//! | [`handling`], [`rate_limit`] | what its route does to it: who may come, how often, and what is changed |
//! | [`split`] | which of several pools has it? |
//! | [`affinity`] | what does its cookie or key say? and later: what is the client to keep? |
//! | [`attempt`] | it is placed and sent, again elsewhere while nobody has seen it |
//! | [`upstream`] | the connection that it goes out on |
//! | [`shared_attempt`], [`shared_upstream`] | the same over HTTP/2 |
//! | [`upstream_socket`] | its socket, and what is said on it before HTTP |
//! | [`body`] | the bodies, both ways |
//! | [`interim`] | what comes before the answer |
//! | [`response`], [`compression`] | the answer's head; its body made shorter |
//! | [`tunnel`] | what follows an upgrade |
//! | [`error`] | the one table of our own answers |
//! | [`record`], [`request_id`] | what is counted, timed and logged about it, and what it is called |
//! | [`watch`], [`worker`], [`destination`] | deadlines; what a thread shares; the compiled configuration |

mod affinity;
mod arrival;
mod attempt;
mod body;
mod client;
mod client_io;
mod client_socket;
mod compression;
mod connection;
mod destination;
mod error;
mod exchange;
mod frames;
mod handling;
mod http2_head;
mod interim;
mod multiplexed;
mod rate_limit;
mod record;
mod request;
mod request_id;
mod response;
mod security;
mod shared_attempt;
mod shared_upstream;
mod split;
mod stream;
mod stream_io;
mod tunnel;
mod upstream;
mod upstream_socket;
mod watch;
mod websocket;
mod worker;

pub(crate) use connection::serve;
pub(crate) use destination::{ClientTicks, Destination, Entrance, Site, TlsEntrance};
pub(crate) use handling::{Action, Handling, Redirect, Route};
pub(crate) use rate_limit::Limiter;
pub(crate) use split::Split;
pub(crate) use upstream_socket::Transport;
pub(crate) use watch::{TICK, Tick};
pub(crate) use worker::Worker;
