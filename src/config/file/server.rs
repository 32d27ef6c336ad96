//! `[server]` and `[token]`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auto, OneOrMany, seconds};
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
    /// Is the configuration read again when this file changes, or the file of token keys? It is
    /// read again at a SIGHUP in any case.
    pub watch_config: bool,
    /// May the names of request fields have underscores? Many app servers cannot tell them from
    /// hyphens, so that a client could say what only a proxy may; by default such fields are
    /// removed.
    pub underscores_in_headers: bool,
    /// Log lines, on standard error.
    pub log: Log,
    /// A line for each request. Absent: none.
    pub access_log: Option<AccessLog>,
    /// The header field in which backends are told the id of a request, by which it is found in
    /// logs and on error pages; `off`: they are not told. A client's own is replaced, unless the
    /// client is a trusted proxy.
    pub request_id_header: RequestIdHeader,
    /// What becomes of requests without a W3C `traceparent`; those that have one keep it.
    pub trace: Trace,
    /// How patient the proxy is with clients.
    pub timeouts: ClientTimeouts,
    /// How much a client may ask for.
    pub limits: Limits,
    /// What HTTP/2 clients are told.
    pub http2: Http2,
    /// Pages instead of the proxy's own answers: for each status, or range of them such as
    /// `500-599`, a file, or one for people and one for programs (`.json`). Absent: pages that it
    /// makes itself.
    #[schemars(extend("propertyNames" = { "format": "status-range" }))]
    pub error_pages: BTreeMap<String, OneOrMany<Parsed<PathBuf>>>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            workers: Workers::Auto(Auto::Auto),
            shutdown_timeout: seconds(30),
            state_dir: None,
            watch_config: false,
            underscores_in_headers: false,
            log: Log::default(),
            access_log: None,
            request_id_header: RequestIdHeader::Named(Parsed(HeaderName::from_static(
                "x-request-id",
            ))),
            trace: Trace::Pass,
            timeouts: ClientTimeouts::default(),
            limits: Limits::default(),
            http2: Http2::default(),
            error_pages: BTreeMap::new(),
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

/// A line for each request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// `stdout`, `stderr`, or a file, relative to this one. A file that was given another name is
    /// opened anew at SIGUSR1, and at a reload.
    pub path: LogOutput,
    /// What the lines look like.
    pub format: AccessLogFormat,
    /// Are the queries of targets and referers written down? They may hold what is not meant for
    /// logs.
    pub query: bool,
    /// Which requests get a line.
    pub lines: LinesKept,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog {
            path: LogOutput::Standard(StandardOutput::Stdout),
            format: AccessLogFormat::Json,
            query: true,
            lines: LinesKept::All,
        }
    }
}

/// Where lines go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum LogOutput {
    /// What the process was started with.
    Standard(StandardOutput),
    /// A file.
    File(Parsed<PathBuf>),
}

/// An output that the process was started with.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StandardOutput {
    /// Standard output.
    Stdout,
    /// Standard error, where other log lines go as well.
    Stderr,
}

/// What the lines of the access log look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// One JSON object a line, with everything.
    Json,
    /// As Apache and nginx write them.
    Combined,
    /// The same, and behind it what became of the request, as `name=value`.
    Extended,
}

/// Which requests get a line in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinesKept {
    /// All of them.
    All,
    /// Those that did not go as they should: answered with 5xx or by the proxy itself, moved,
    /// detoured, tried more than once, or broken off.
    Notable,
}

/// Where backends find the id of a request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum RequestIdHeader {
    /// Nowhere.
    Off(Off),
    /// In this field.
    Named(Parsed<HeaderName>),
}

/// The word `off`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Off {
    /// Turned off.
    Off,
}

/// What becomes of requests without a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// They go on without one.
    Pass,
    /// A trace is started for each, and what is no valid `traceparent` is replaced.
    Start,
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
