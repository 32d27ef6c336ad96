//! Pure header algebra: what RFC 9110 and 9112 say about single messages. Bytes and header maps
//! in, answers out; no sockets, nothing of ours.
//!
//! | module | question |
//! | --- | --- |
//! | [`framing`] | where does a client's message end, beyond any doubt? |
//! | [`http2`] | do the frames that a client sends make sense? |
//! | [`authority`] | is this a host? |
//! | [`field_lines`] | what did a client write, field by field, and what of it passes? |
//! | [`fields`] | which fields of a head concern a proxy, and which end at this hop? |
//! | [`known_names`] | what is this name? asked for the thousandth time |
//! | [`forwarded`] | who is the client, and how do we tell the backend? |
//! | [`cookies`] | where in the `Cookie` lines is ours, and what are they without it? |
//! | [`request_head`] | what does a request look like when it leaves? |
//! | [`response_head`], [`body_decoder`] | what does a backend answer, beyond any doubt? |
//! | [`traceparent`] | which trace does a request belong to? |
//! | [`copies`] | where do the parts of it stay that are kept? |
//! | [`affinity`] | what does the app want done with the session? |
//! | [`websocket`] | where in an upgraded connection does a frame end? |
//! | [`grpc`] | is it a call of gRPC, how long may it take, and is the server well? |
//! | [`accept`] | does this client want a page or JSON? |
//! | [`compression`] | may this be compressed, for whom, and what does its head say then? |

pub mod accept;
pub mod affinity;
pub mod authority;
pub mod body_decoder;
pub mod compression;
pub mod cookies;
pub mod copies;
pub mod field_lines;
pub mod fields;
pub mod forwarded;
pub mod framing;
pub mod grpc;
pub mod http2;
pub mod known_names;
pub mod request_head;
pub mod response_head;
pub mod traceparent;
pub mod websocket;
