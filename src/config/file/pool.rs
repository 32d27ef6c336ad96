//! `[pools.NAME]` and what is below it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Affinity, BackendTls, CompressionSwitch, Health, ProxyProtocolVersion, seconds};
use crate::balance::{Address, balancer};
use crate::config::leaf::{HostHeader, Name, NameTemplate, Parsed, Share};

/// A named group of backends with one policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// How requests that are free to go anywhere are balanced.
    pub balance: Balance,
    /// Backends, or connections, that are tried for one request at most.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Idle connections that each worker keeps to each backend.
    #[schemars(range(min = 0, max = 65_536))]
    pub max_idle_connections: u32,
    /// What backends are told about the client.
    pub forward: Forward,
    /// Backends are spoken to over TLS. Absent: they are not.
    pub tls: Option<BackendTls>,
    /// Backends are spoken to in HTTP/2: agreed on with `tls`, from the start without. gRPC needs
    /// it. `"auto"`, with `tls` only: in whichever of HTTP/2 and HTTP/1.1 each backend chooses.
    pub http2: BackendHttp2,
    /// Connections to backends begin with a PROXY protocol header of this version, which tells
    /// whom they are from. Each is then used for one client only. Absent: they do not.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// How patient the proxy is with backends.
    pub timeouts: BackendTimeouts,
    /// Requests that wait for a backend that is at its limit.
    pub queue: Queue,
    /// How long a backend that has come up takes to get its full share. Absent: it gets it at
    /// once.
    pub slow_start: Option<Parsed<Duration>>,
    /// Measures what stickiness costs next to even distribution: each request is also placed as if
    /// there were no affinity. Some 60 ns a request.
    pub measure_cost: bool,
    /// How backends are emptied, unless the command that begins it says otherwise.
    pub drain: Drain,
    /// Taking a backend out for a while when it cannot be connected to. `false` turns it off.
    pub eject: Eject,
    /// Responses are compressed for clients that want that; `true`: as by default. Absent: they are
    /// not.
    pub compression: Option<CompressionSwitch>,
    /// How sessions stick to backends. Absent: they do not.
    pub affinity: Affinity,
    /// Calls of gRPC that are made again at another backend.
    pub retry: Retry,
    /// Active health checks. Absent: none.
    pub health: Option<Health>,
    /// Where further app servers are found: by DNS, or in a file that is watched.
    /// Absent: nowhere.
    pub discover: Vec<Discover>,
    /// The app servers. At least one, unless they are discovered.
    pub backends: Vec<Backend>,
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            balance: Balance::TwoChoices,
            attempts: 3,
            max_idle_connections: 256,
            forward: Forward::default(),
            tls: None,
            http2: BackendHttp2::Switch(false),
            proxy_protocol: None,
            timeouts: BackendTimeouts::default(),
            queue: Queue::default(),
            slow_start: None,
            measure_cost: true,
            drain: Drain::default(),
            eject: Eject::Table(Ejection::default()),
            compression: None,
            affinity: Affinity::default(),
            retry: Retry::default(),
            health: None,
            discover: Vec::new(),
            backends: Vec::new(),
        }
    }
}

/// Whether backends are spoken to in HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BackendHttp2 {
    /// `true`: they are. `false`: in HTTP/1.1.
    Switch(bool),
    /// If they choose it.
    Choice(Http2Choice),
}

/// Who decides about HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Http2Choice {
    /// The backend.
    Auto,
}

/// How requests that are free to go anywhere are balanced.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The less loaded of two that are drawn by chance: fewer requests in flight, then fewer
    /// sessions.
    TwoChoices,
    /// Each backend in turn, as often as its weight says.
    RoundRobin,
    /// The backend with the fewest requests in flight for its weight.
    LeastConnections,
    /// By chance, as often as the weights say.
    Random,
    /// Of two that are drawn by chance, the one that should answer sooner: recent latency times
    /// requests in flight.
    PeakEwma,
}

impl From<Balance> for balancer::Balance {
    fn from(balance: Balance) -> Self {
        match balance {
            Balance::TwoChoices => balancer::Balance::TwoChoices,
            Balance::RoundRobin => balancer::Balance::RoundRobin,
            Balance::LeastConnections => balancer::Balance::LeastConnections,
            Balance::Random => balancer::Balance::Random,
            Balance::PeakEwma => balancer::Balance::PeakEwma,
        }
    }
}

/// Requests that wait for a backend that is at its limit, or for their session's home.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// How many wait for the same backend at most, or for any. Further ones are refused with 503.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub length: u32,
    /// How long each of them waits for a backend that is at its limit.
    pub timeout: Parsed<Duration>,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { length: 128, timeout: seconds(5) }
    }
}

/// How a backend is emptied. It gets no new sessions; those that it has stay until they end, unless
/// this moves them. A drain that the app asks for in its health check goes like this, too.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// From so long after the beginning on all sessions move, each at its next request. Absent:
    /// never.
    pub deadline: Option<Parsed<Duration>>,
    /// A session that has paused for so long moves at its next request. Absent: none does before
    /// the deadline.
    pub move_idle_after: Option<Parsed<Duration>>,
    /// How many sessions move after the deadline, and how many tunnels are closed, a second.
    /// Absent: all at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub moves_per_second: Option<u32>,
}

/// What backends are told about the client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forward {
    /// In which header fields the client's address, scheme and host are passed on.
    pub style: ForwardStyle,
    /// The `Host` that backends see: the client's, the backend's own address, or this one.
    pub host: ForwardHost,
}

impl Default for Forward {
    fn default() -> Self {
        Forward { style: ForwardStyle::XForwarded, host: ForwardHost::Choice(HostChoice::Client) }
    }
}

/// The header fields that carry the client's address, scheme and host.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardStyle {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// All of them.
    Both,
    /// None; those of strangers are removed all the same.
    Off,
}

/// The `Host` that backends see.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ForwardHost {
    /// One of the two that suggest themselves.
    Choice(HostChoice),
    /// This one.
    Fixed(Parsed<HostHeader>),
}

/// The `Host` that backends see, by name.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostChoice {
    /// The client's.
    Client,
    /// The backend's own address.
    Backend,
}

/// How patient the proxy is with backends. None of these can be zero.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackendTimeouts {
    /// For a connection to be made.
    pub connect: Parsed<Duration>,
    /// From the end of the request to the end of the response's head. Beyond it: 504.
    pub response_header: Parsed<Duration>,
    /// Without a byte of the response's body.
    pub response_body: Parsed<Duration>,
    /// That an idle connection is kept. Better less than the backend's own keep-alive timeout.
    pub idle: Parsed<Duration>,
    /// Without a byte in either direction through a tunnel (WebSocket).
    pub tunnel: Parsed<Duration>,
}

impl Default for BackendTimeouts {
    fn default() -> Self {
        BackendTimeouts {
            connect: seconds(5),
            response_header: seconds(60),
            response_body: seconds(5 * 60),
            idle: seconds(30),
            tunnel: seconds(60 * 60),
        }
    }
}

/// Taking a backend out for a while when it cannot be connected to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Eject {
    /// `false`: never. `true`: as by default.
    Switch(bool),
    /// When and for how long.
    Table(Ejection),
}

/// When a backend is taken out, and for how long. At most half of a pool is ever out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Consecutive failures to connect after which a backend is taken out.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connect_failures: u32,
    /// How long it stays out.
    pub duration: Parsed<Duration>,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection { connect_failures: 5, duration: seconds(10) }
    }
}

/// Calls of gRPC that are made again at another backend, if nothing has come of them but a status.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// The statuses by which a backend says so. Absent: none.
    pub grpc_status: Option<Vec<GrpcStatus>>,
    /// How many calls are made again at most, as a share of all of them.
    pub budget: Parsed<Share>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { grpc_status: None, budget: Parsed(Share(0.2)) }
    }
}

/// A status of gRPC after which a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrpcStatus {
    /// 1
    Cancelled,
    /// 2
    Unknown,
    /// 8
    ResourceExhausted,
    /// 10
    Aborted,
    /// 13
    Internal,
    /// 14
    Unavailable,
}

impl GrpcStatus {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            GrpcStatus::Cancelled => 1,
            GrpcStatus::Unknown => 2,
            GrpcStatus::ResourceExhausted => 8,
            GrpcStatus::Aborted => 10,
            GrpcStatus::Internal => 13,
            GrpcStatus::Unavailable => 14,
        }
    }
}

/// Where app servers are found. One of `dns`, `srv` and `file`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Discover {
    /// A host name with a port: a backend for each of its addresses (A, AAAA), named after it.
    /// Absent: `srv` or `file` says where.
    pub dns: Option<Parsed<Address>>,
    /// The name of an SRV record: a backend for each of its targets, named after it, with its
    /// port, weight and priority. Absent: `dns` or `file` says where.
    pub srv: Option<Parsed<Name>>,
    /// A file with backends, relative to this file: TOML with `[[backends]]` tables as in here, or
    /// JSON with the same in a list. Read again when it changes. Absent: `dns` or `srv` says where.
    pub file: Option<Parsed<PathBuf>>,
    /// What they are named, which is who they are: `{address}`, `{target}` (of an SRV record) and
    /// `{port}` are filled in. Absent: `{address}` with `dns`, `{target}` with `srv`.
    pub name: Option<Parsed<NameTemplate>>,
    /// The IP address and port of the name server. Absent: the system's.
    pub nameserver: Option<Parsed<Address>>,
    /// Names are looked up again when their time to live is over, but not sooner than this.
    pub min_interval: Parsed<Duration>,
    /// Nor later than this.
    pub max_interval: Parsed<Duration>,
    /// An answer, or a file, with fewer backends is not believed: the last ones stay.
    #[schemars(range(min = 0, max = 10_000))]
    pub min_members: u32,
}

impl Default for Discover {
    fn default() -> Self {
        Discover {
            dns: None,
            srv: None,
            file: None,
            name: None,
            nameserver: None,
            min_interval: seconds(5),
            max_interval: seconds(60),
            min_members: 1,
        }
    }
}

/// An app server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its identity, unique in the pool: sessions are bound to the name, not to the address.
    pub name: Parsed<Name>,
    /// Where it listens: a host name or IP address with a port, or `unix:` and a path.
    pub address: Parsed<Address>,
    /// Its share of the load next to the other backends' weights. Zero: only sessions that are
    /// bound to it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 65_535))]
    pub weight: u32,
    /// Requests in flight at most; further ones wait in the queue. Absent: no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: Option<u32>,
    /// Backends of a higher number take new sessions only while none of a lower one can. Absent: 0.
    #[schemars(range(min = 0, max = 100))]
    pub priority: Option<u32>,
    /// `true` is the same as `priority = 1`.
    #[serde(default)]
    pub backup: bool,
    /// Which machine, or which run of the app, this is. When it changes, the sessions of the former
    /// one are no longer at home here. Absent: the name alone says who it is.
    pub incarnation: Option<Parsed<Name>>,
}

fn one() -> u32 {
    1
}
