//! The proxy, over real sockets, in front of backends that do as they are told.
//!
//! One binary, one file per behaviour. Every test starts its own backends and its own proxy on
//! port 0, waits for signals instead of sleeping, and can run next to all the others.

#![allow(missing_docs, reason = "tests are read, not called")]
#![allow(unreachable_pub, reason = "support is public to every file of this binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

mod forwarding;
