//! `[server]` and `[token]`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auto, seconds};
use crate::balance::affinity;
use crate::config::leaf::{LogFilter, Parsed, Size};

/// The process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads: a number, or `auto` for one per CPU that the process may use.
    pub workers: Workers,
    /// How long requests in flight may go on after a signal to stop. Zero cuts them off.
    pub shutdown_timeout: Parsed<Duration>,
    /// Where what must survive a restart is kept, relative to this file. Absent:
    /// `$STATE_DIRECTORY` (systemd sets it), else `$XDG_STATE_HOME/stickler`, else
    /// `$HOME/.local/state/stickler`, else `/var/lib/stickler`.
    pub state_dir: Option<Parsed<PathBuf>>,
    /// May the names of request fields have underscores? Many app servers cannot tell them from
    /// hyphens, so that a client could say what only a proxy may; by default such fields are
    /// removed.
    pub underscores_in_headers: bool,
    /// Log lines, on standard error.
    pub log: Log,
    /// How patient the proxy is with clients.
    pub timeouts: ClientTimeouts,
    /// How much a client may ask for.
    pub limits: Limits,
    /// What HTTP/2 clients are told.
    pub http2: Http2,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            workers: Workers::Auto(Auto::Auto),
            shutdown_timeout: seconds(30),
            state_dir: None,
            underscores_in_headers: false,
            log: Log::default(),
            timeouts: ClientTimeouts::default(),
            limits: Limits::default(),
            http2: Http2::default(),
        }
    }
}

/// What HTTP/2 clients are told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Requests at once on one connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_streams: u32,
    /// Bytes of a request body that may be on their way before any of it was taken, at most 16 MiB.
    pub stream_window: Parsed<Size>,
    /// The same for all requests of a connection together.
    pub connection_window: Parsed<Size>,
}

impl Default for Http2 {
    fn default() -> Self {
        Http2 {
            max_concurrent_streams: 128,
            stream_window: Parsed(Size::kib(256)),
            connection_window: Parsed(Size::kib(1024)),
        }
    }
}

/// How many worker threads.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Workers {
    /// One per CPU.
    Auto(Auto),
    /// So many.
    Count(#[schemars(range(min = 1, max = 1024))] u32),
}

/// Log lines, on standard error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Which lines: a level, or a list such as `stickler::proxy=debug,info`.
    pub filter: Parsed<LogFilter>,
    /// What they look like.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log { filter: Parsed(LogFilter("info".into())), format: LogFormat::Text }
    }
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How patient the proxy is with clients. None of these can be zero.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTimeouts {
    /// For the whole head of a request, from its first byte or the beginning of the connection.
    pub request_header: Parsed<Duration>,
    /// Without a byte of a request body that is awaited.
    pub request_body: Parsed<Duration>,
    /// Without a byte of a response that the client takes.
    pub response_write: Parsed<Duration>,
    /// Between two requests of a connection.
    pub idle: Parsed<Duration>,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        ClientTimeouts {
            request_header: seconds(15),
            request_body: seconds(30),
            response_write: seconds(60),
            idle: seconds(75),
        }
    }
}

/// How much a client may ask for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The head of a request, in bytes, from 8 KiB to 256 KiB. Beyond it: 431.
    pub header_bytes: Parsed<Size>,
    /// Fields in the head of a request. Beyond it: 431.
    #[schemars(range(min = 8, max = 1000))]
    pub header_count: u32,
    /// The target of a request, in bytes, from 256 to `header_bytes` or 65534. Beyond it: 414.
    pub uri_length: Parsed<Size>,
    /// A request body, in bytes, or `unlimited`. Beyond it: 413.
    pub body_bytes: Limit<Parsed<Size>>,
    /// A request body of a declared length up to this many bytes, at most 16 MiB, is read before a
    /// backend is chosen, so that a slow client occupies none. Zero turns it off.
    pub request_buffer: Parsed<Size>,
    /// Bytes a second that a request body must arrive at, after five seconds of grace. Zero turns
    /// it off.
    pub min_rate: Parsed<Size>,
    /// Requests on one connection, after which it is closed, or `unlimited`.
    pub requests_per_connection: Limit<NonZeroU64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: Parsed(Size::kib(32)),
            header_count: 100,
            uri_length: Parsed(Size::kib(8)),
            body_bytes: Limit::Unlimited(Unlimited::Unlimited),
            request_buffer: Parsed(Size::kib(64)),
            min_rate: Parsed(Size(240)),
            requests_per_connection: Limit::AtMost(NonZeroU64::MIN.saturating_add(99_999)),
        }
    }
}

/// A limit, or none.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Limit<T> {
    /// None.
    Unlimited(Unlimited),
    /// At most this.
    AtMost(T),
}

/// No limit.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unlimited {
    /// No limit.
    Unlimited,
}

/// The keys that seal affinity tokens: 32 bytes each, in base64, as `openssl rand -base64 32`
/// prints them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// The keys: the first seals, all open. To rotate, put a new one in front and take the old one
    /// out when `absolute_timeout` is over. Better from the environment: `${STICKLER_KEY}`.
    /// Absent: those of `keys_file`, or a key of this proxy's own.
    pub keys: Option<Vec<Parsed<affinity::Key>>>,
    /// A file with one key a line, relative to this file; lines that begin with `#` are skipped.
    /// Not together with `keys`. Absent: those of `keys`.
    #[schemars(extend("writeOnly" = false))]
    pub keys_file: Option<Parsed<PathBuf>>,
}
