//! From a TOML file to a [`Config`] that cannot be wrong.
//!
//! Two stages. [`mod@file`] mirrors the file exactly: plain types that serde fills, unknown keys
//! denied, and from which the JSON Schema is generated. [`resolve`] turns it into the types below,
//! which hold nothing that "must be there at run time": defaults are filled in, names are looked
//! up, and what contradicts itself is an error. Every mistake of both stages is collected with its
//! place in the file, and all of them are reported at once ([`ConfigError`]).
//!
//! ```text
//! text -> document (a tree with places) -> check (against the schema; mends the tree)
//!      -> file (serde) -> resolve -> Config
//! ```
//!
//! A mistake shows the text as it was written: never the value of an environment variable that it
//! refers to, and never a token key.

mod at;
mod check;
mod document;
pub mod file;
pub mod leaf;
mod load;
mod report;
mod resolve;
mod route;
mod schema;
mod source;
mod suggest;
mod summary;
#[cfg(test)]
mod tests;
mod variables;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;

use self::leaf::NameTemplate;
use crate::balance::PoolSpec;
use crate::balance::affinity::Key;
use crate::balance::health::Thresholds;
use crate::proxy_protocol;
use crate::routing::HostMatch;
use crate::tls::{IncomingSpec, OutgoingSpec};

pub(crate) use at::At;
pub use file::{AccessLogFormat, LinesKept};
pub use load::Loaded;
pub(crate) use load::{read, read_as, unreadable};
pub(crate) use report::Mistakes;
pub use report::{ConfigError, Mistake, Severity};
pub use route::{
    Action, Compression, ErrorPages, FieldRules, Handling, Page, RateLimit, Redirect, Route, Split,
};
pub use schema::schema;
pub use variables::Environment;

/// Everything that one process needs to know.
#[derive(Debug)]
pub struct Config {
    /// The process.
    pub server: Server,
    /// Where operators look and act.
    pub admin: Admin,
    /// Where clients connect. Never empty.
    pub listeners: Vec<Listener>,
    /// What becomes of which request, in the order of the file.
    pub routes: Vec<Route>,
    /// The pools, with unique names. Never empty.
    pub pools: Vec<Pool>,
}

/// The process.
#[derive(Clone, Debug)]
pub struct Server {
    /// Worker threads, at least one.
    pub workers: usize,
    /// How long requests in flight may go on after a signal to stop.
    pub shutdown_timeout: Duration,
    /// Where what must survive a restart is kept.
    pub state_dir: PathBuf,
    /// Token keys: the first seals, all open. Empty: a key of our own, kept in `state_dir`.
    pub token_keys: Vec<Key>,
    /// Is the configuration read again when its file changes?
    pub watch_config: bool,
    /// The file that the token keys come from, if they do.
    pub token_keys_file: Option<PathBuf>,
    /// May the names of request fields have underscores?
    pub underscores_in_headers: bool,
    /// How patient we are with clients.
    pub timeouts: ClientTimeouts,
    /// How much a client may ask for.
    pub limits: Limits,
    /// What HTTP/2 clients are told.
    pub http2: Http2,
    /// Log lines.
    pub log: Log,
    /// A line for each request, if that is wanted.
    pub access_log: Option<AccessLog>,
    /// Where backends find the id of a request, if they are told.
    pub request_id_header: Option<HeaderName>,
    /// Does a request without a trace get one?
    pub starts_traces: bool,
    /// Pages instead of answers of our own.
    pub error_pages: ErrorPages,
}

/// What HTTP/2 clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams at once on one connection.
    pub max_concurrent_streams: u32,
    /// Bytes of a body that may come before we have taken any of it, on a stream
    pub stream_window: u32,
    /// and on all of a connection together.
    pub connection_window: u32,
}

/// How patient we are with clients. `Duration::ZERO` stands for no limit in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the first byte of a request head, or from the connection's beginning, to its end.
    pub request_header: Duration,
    /// Without a byte of a request body that we wait for.
    pub request_body: Duration,
    /// Without a byte of a response that the client should take.
    pub response_write: Duration,
    /// Between requests of a kept-alive connection.
    pub idle: Duration,
}

/// How much a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Fields of a request head.
    pub header_count: usize,
    /// Bytes of a request target.
    pub uri_length: usize,
    /// Bytes of a request body; `u64::MAX` for no limit.
    pub body_bytes: u64,
    /// A request body of a declared length up to this is read before a backend is chosen.
    pub request_buffer: usize,
    /// Bytes a second that a request body must arrive at, after five seconds of grace; 0 for any.
    pub min_rate: u32,
    /// Requests on one connection, after which it is closed; `u64::MAX` for no limit.
    pub requests_per_connection: u64,
}

/// Log lines, on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter: a level, or `stickler::proxy=debug,info`.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// Where operators look and act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens, if anywhere. Other machines reach it only if there is a token.
    pub address: Option<SocketAddr>,
    /// The file says so: then the proxy does not start without it.
    pub is_given: bool,
    /// What every request must carry, if anything.
    pub token: Option<AdminToken>,
    /// What is said before HTTP, if anything.
    pub tls: Option<IncomingSpec>,
    /// Names in `Host` that are answered besides the obvious ones.
    pub allowed_hosts: Vec<HostMatch>,
}

/// What an operator must know. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(Box<str>);

impl AdminToken {
    /// To compare it with what somebody says.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(...)")
    }
}

/// A line for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it goes.
    pub path: AccessLogPath,
    /// What it looks like.
    pub format: AccessLogFormat,
    /// Are queries written down?
    pub query: bool,
    /// Which requests get one.
    pub lines: LinesKept,
}

/// Where the lines of the access log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file.
    File(PathBuf),
}

/// A bound address that accepts client connections.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Whose fields about their clients are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which fields those are.
    pub forwarded: Family,
    /// Whose connections begin with a PROXY protocol header, if any do.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// HTTPS; plain HTTP if absent.
    pub tls: Option<ListenerTls>,
    /// Is HTTP/2 spoken, too?
    pub http2: bool,
    /// The port of HTTPS that every client is sent to, if requests are not served here.
    pub redirect_to_https: Option<u16>,
}

/// Connections that begin with a PROXY protocol header.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Where they are from.
    pub from: Vec<IpNet>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// Whether a backend is spoken to in HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendHttp2 {
    /// In HTTP/1.1.
    #[default]
    No,
    /// In HTTP/2.
    Yes,
    /// In what it chooses of both, over TLS.
    Auto,
}

/// What is said to a backend before HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Is it HTTP/2 that is spoken then?
    pub http2: BackendHttp2,
    /// A PROXY protocol header.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// TLS. The files were readable when the configuration was.
    pub tls: Option<OutgoingSpec>,
}

/// HTTPS on a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// What is said to clients. The files were readable when the configuration was.
    pub incoming: IncomingSpec,
    /// The field that tells the app a client certificate's subject.
    pub subject_header: Option<HeaderName>,
    /// `Strict-Transport-Security`, if it is to be said.
    pub hsts: Option<HeaderValue>,
    /// How long a client may take to agree on keys.
    pub handshake_timeout: Duration,
    /// Clients that do so at the same time.
    pub max_handshakes: usize,
}

/// A pool: the core's part and the shell's.
#[derive(Debug)]
pub struct Pool {
    /// What decides.
    pub spec: PoolSpec,
    /// The key that hash affinity hashes; meaningless in other modes.
    pub key: KeySource,
    /// The affinity cookie; meaningless in other modes.
    pub cookie: Cookie,
    /// What we tell the backend about the client.
    pub forward: Forward,
    /// What is said before HTTP.
    pub transport: Transport,
    /// How patient we are with the backends.
    pub timeouts: BackendTimeouts,
    /// Idle connections kept to one backend by one worker.
    pub max_idle_connections: usize,
    /// Backends, or connections, that are tried for one request at most; at least 1.
    pub attempts: usize,
    /// How responses are compressed, if they are.
    pub compression: Option<Compression>,
    /// Which calls of gRPC may be made again elsewhere, if any.
    pub retry: Option<Retry>,
    /// Active checks, if any.
    pub health: Option<HealthCheck>,
    /// Where further backends are found.
    pub discover: Vec<Discover>,
}

/// Which calls of gRPC may be made again elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Those that end with one of these, and with nothing else.
    pub grpc_status: Vec<u8>,
    /// As a share of all calls, at most.
    pub budget: f64,
}

/// Where backends are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Discover {
    /// Where.
    pub source: DiscoverSource,
    /// How they are named, if not in the usual way.
    pub name: Option<NameTemplate>,
    /// Fewer backends than this are not believed.
    pub min_members: usize,
}

/// Where backends are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiscoverSource {
    /// The addresses of a host name.
    Dns {
        /// The name.
        host: String,
        /// The port of all of them.
        port: u16,
        /// How to ask.
        lookup: Lookup,
    },
    /// The targets of an SRV record.
    Srv {
        /// The record's name.
        name: String,
        /// How to ask.
        lookup: Lookup,
    },
    /// A file.
    File(PathBuf),
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// Whom to ask, if not whom the system asks.
    pub nameserver: Option<SocketAddr>,
    /// Not sooner again than after this.
    pub min_interval: Duration,
    /// Nor later.
    pub max_interval: Duration,
}

/// Where the key of hash affinity comes from. A request without it is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The client's address; behind a trusted proxy, the address that it names.
    SourceAddress,
    /// The path, without the query.
    Path,
    /// The value of a header field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter, as written.
    Query(String),
}

/// The affinity cookie: everything but the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// `Path`.
    pub path: String,
    /// `Domain`, if it is to be sent to subdomains.
    pub domain: Option<String>,
    /// `Secure`.
    pub secure: Secure,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `SameSite`.
    pub same_site: SameSite,
    /// `Partitioned` (CHIPS).
    pub partitioned: bool,
    /// `Max-Age`; without it the cookie ends with the browser's session.
    pub max_age: Option<Duration>,
}

/// When the affinity cookie is `Secure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// When the client came over TLS, as far as we or a trusted proxy can tell.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `Strict`
    Strict,
    /// `Lax`
    Lax,
    /// `None`, which browsers accept with `Secure` only.
    None,
    /// The attribute is left out.
    Unset,
}

/// What we tell a backend about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// In which fields.
    pub style: ForwardStyle,
    /// The `Host` that the backend sees.
    pub host: HostPolicy,
}

/// The fields that carry the client's address, scheme and host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardStyle {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// All of them.
    Both,
    /// None, and what a stranger sent is still removed.
    Off,
}

/// The fields in which a trusted proxy speaks of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `X-Forwarded-*`.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
}

/// The `Host` that a backend sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// The client's.
    Client,
    /// The backend's address.
    Backend,
    /// This one.
    Fixed(HeaderValue),
}

/// How patient we are with backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendTimeouts {
    /// To connect.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub response_header: Duration,
    /// Without a byte of the response body.
    pub response_body: Duration,
    /// That an idle connection is kept.
    pub idle: Duration,
    /// Without a byte either way through a tunnel (WebSocket).
    pub tunnel: Duration,
}

/// An active health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Between checks of a settled backend.
    pub interval: Duration,
    /// Between checks while the verdict is about to change.
    pub fast_interval: Duration,
    /// Each interval is lengthened or shortened by up to this share of it (0 to 1), so that
    /// several proxies do not check in step.
    pub jitter: f64,
    /// For the whole check.
    pub timeout: Duration,
    /// When the verdict changes.
    pub thresholds: Thresholds,
    /// Is a backend used before its first check has answered?
    pub assumed_up: bool,
    /// Port to check, if it is not the backend's own.
    pub port: Option<u16>,
    /// What is said before: the same as before requests.
    pub transport: Transport,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Can it be connected to?
    Tcp,
    /// Does it answer a GET as it should?
    Http(HttpProbe),
    /// Does it say that this service is well (`grpc.health.v1.Health`)? Empty: all of it.
    Grpc(String),
}

/// A health check by HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Origin-form target.
    pub path: String,
    /// `Host`; the backend's address if absent.
    pub host: Option<HeaderValue>,
    /// Statuses that mean well, as inclusive ranges.
    pub expect: Vec<(u16, u16)>,
    /// What the body must contain, if anything, in its first 64 KiB.
    pub body: Option<String>,
    /// A status by which the app asks to be drained; counts as a success.
    pub drain_status: Option<StatusCode>,
    /// A response header field by whose presence the app asks to be drained.
    pub drain_header: Option<HeaderName>,
}
