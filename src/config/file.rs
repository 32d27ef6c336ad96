//! The configuration file, exactly as it is written: plain types that serde fills.
//!
//! The JSON Schema is generated from these types ([`schema`](super::schema())): the doc comments
//! below are its descriptions and the `Default` implementations its defaults, so each fact is
//! stated once. They say what a key means to an operator; `config/full.toml` shows every key.

mod admin;
mod affinity;
mod compression;
mod health;
mod listener;
mod pool;
mod route;
mod server;
mod transport;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leaf::Parsed;

pub use admin::Admin;
pub use affinity::{
    Affinity, Afterwards, Algorithm, Cookie, Establish, Key, KeyField, KeyPart, Mode, Overload,
    OverloadAction, Rebalance, SameSite, Secure, Wait, WhenUnavailable,
};
pub use compression::{Algorithm as CompressionAlgorithm, Compression, CompressionSwitch};
pub use health::{GrpcHealth, Health, Initial};
pub use listener::{
    Acme, AcmeChallenge, Certificate, ClientAuth, ClientAuthMode, Family, Hsts, Listener,
    MinVersion, ProxyProtocol, Tls,
};
pub use pool::{
    Backend, BackendHttp2, BackendTimeouts, Balance, Discover, Drain, Eject, Ejection, Forward,
    ForwardHost, ForwardStyle, HostChoice, Http2Choice, Pool, Queue, Retry,
};
pub use route::{Arm, FieldRules, RateLimit, Redirect, RedirectTo, RedirectWord, Rewrite, Route};
pub use server::{
    AccessLog, AccessLogFormat, ClientTimeouts, Http2, Limit, Limits, LinesKept, Log, LogFormat,
    LogOutput, Off, RequestIdHeader, Server, StandardOutput, Token, Trace, Unlimited, Workers,
};
pub use transport::{BackendTls, ProxyProtocolVersion, Verify};

/// The configuration of Stickler, a sticky-session-aware HTTP reverse proxy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Stickler configuration")]
pub struct File {
    /// The process.
    pub server: Server,
    /// Where operators look and act: the API, the dashboard and the metrics.
    pub admin: Admin,
    /// The keys that seal affinity tokens. Absent: a key of this proxy's own, which it keeps in
    /// `server.state_dir`. Proxies that share clients must share keys.
    #[schemars(extend("writeOnly" = true))]
    pub token: Token,
    /// The addresses that clients connect to. At least one.
    pub listeners: Vec<Listener>,
    /// Which pool takes which request. The most specific route wins, whatever the order. Absent:
    /// everything goes to the only pool.
    pub routes: Vec<Route>,
    /// The pools of backends, by name. At least one.
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    pub pools: BTreeMap<String, Pool>,
}

/// A list that may be written without brackets when it has one item.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMany<T> {
    /// `host = "a"`
    One(T),
    /// `host = ["a", "b"]`
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The items.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(item) => std::slice::from_ref(item),
            OneOrMany::Many(items) => items,
        }
    }
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// Chosen by the proxy.
    Auto,
}

const fn seconds(n: u64) -> Parsed<Duration> {
    Parsed(Duration::from_secs(n))
}
