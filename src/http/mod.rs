//! Pure header algebra: what RFC 9110 and 9112 say about single messages. Bytes and header maps
//! in, answers out; no sockets, no bodies, nothing of ours.
//!
//! | module | question |
//! | --- | --- |
//! | [`framing`] | where does this message end, beyond any doubt? |
//! | [`authority`] | is this a host, and which one is meant? |
//! | [`fields`] | which fields of a head concern a proxy, and which may not be passed on? |
//! | [`forwarded`] | who is the client, and how do we tell the backend? |
//! | [`cookies`] | where in the `Cookie` lines is ours, and what are they without it? |
//! | [`accept`] | does this client want a page or JSON? |

pub mod accept;
pub mod authority;
pub mod cookies;
pub mod fields;
pub mod forwarded;
pub mod framing;
