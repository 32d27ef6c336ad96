//! `[[routes]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CompressionSwitch, Hsts, Key, OneOrMany, seconds};
use crate::config::leaf::{ExactPath, HeaderCondition, Name, Parsed, PathPrefix, RedirectStatus};
use crate::routing::{HostMatch, Template};

/// Which requests go to a pool, and what is done to them on the way. What is absent of host, path,
/// method and headers is true of every request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The host, or several: exact, or `*.example.com` for every host below it. Absent: any.
    pub host: Option<OneOrMany<Parsed<HostMatch>>>,
    /// This path and everything below it, segment by segment: `/api` does not match `/apis`.
    /// Absent: any.
    pub path: Option<Parsed<PathPrefix>>,
    /// This path only. Not together with `path`. Absent: any.
    pub path_exact: Option<Parsed<ExactPath>>,
    /// The method, or several. Absent: any.
    pub method: Option<OneOrMany<Parsed<Method>>>,
    /// Header fields, each with the value that it must have, or `*` if it must only be there.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub headers: BTreeMap<String, Parsed<HeaderCondition>>,
    /// The name of the pool that takes these requests. Absent: `pools` or `redirect` says where they
    /// go.
    pub pool: Option<String>,
    /// Several pools that take these requests, each its share: canary, blue and green. A session
    /// stays with the pool that it began in. Absent: `pool` says where they go.
    pub pools: Option<Vec<Arm>>,
    /// By what name operators call this route. Needed with `pools`. Absent: it has none.
    pub name: Option<Parsed<Name>>,
    /// Sends clients elsewhere, instead of to a pool: `https` for the same over HTTPS, or a target
    /// such as `https://new.example.com{path}{query}`. `{host}`, `{path}`, `{rest}` (the path
    /// behind the route's own) and `{query}` (with its question mark) stand for the request's.
    /// Absent: requests go to `pool`.
    pub redirect: Option<RedirectTo>,
    /// Addresses that may come, as ranges; others may not then. Of all ranges in `allow` and `deny`
    /// that a client is in, the most specific one decides. Absent: everybody who is not denied.
    pub allow: Option<Vec<Parsed<IpNet>>>,
    /// Addresses that may not come, as ranges. They get 403. Absent: none.
    pub deny: Option<Vec<Parsed<IpNet>>>,
    /// How many requests a client may send. Further ones get 429. Absent: any number.
    pub rate_limit: Option<RateLimit>,
    /// The path that the backend sees. Absent: the client's.
    pub rewrite: Option<Rewrite>,
    /// Header fields of requests that backends see otherwise. Absent: as they came.
    pub request_headers: Option<FieldRules>,
    /// Header fields of responses that clients see otherwise. Answers of the proxy's own get those
    /// that are set or added, unless they have them. Absent: as they came.
    pub response_headers: Option<FieldRules>,
    /// Tells browsers that come over HTTPS to come so only, from now on, unless the app has said its
    /// own. Absent: as the listener says.
    pub hsts: Option<Hsts>,
    /// Responses are compressed for clients that want that; `true`: as by default. Absent: as the
    /// pool says.
    pub compression: Option<CompressionSwitch>,
    /// Pages instead of the proxy's own answers: a file for each status or range of them. Absent:
    /// those of `server.error_pages`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "status-range" }))]
    pub error_pages: BTreeMap<String, OneOrMany<Parsed<PathBuf>>>,
}

/// One of several pools.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// The name of one of the pools.
    pub name: String,
    /// Its share of the requests, next to the weights of the others. Zero: no new sessions; those
    /// that it has stay.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: u32,
}

/// Where clients are sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RedirectTo {
    /// To the same over HTTPS, with 308.
    Word(RedirectWord),
    /// There, with 302.
    Target(Parsed<Template>),
    /// There, with a status of one's own.
    Table(Redirect),
}

/// Where clients are sent, in a word.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedirectWord {
    /// To the same over HTTPS.
    Https,
}

/// Where clients are sent, and with which status.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The target.
    pub to: Parsed<Template>,
    /// 301 and 308 are for good, 302 and 307 for now; with 307 and 308 clients keep the method.
    #[serde(default = "found")]
    pub status: Parsed<RedirectStatus>,
}

fn found() -> Parsed<RedirectStatus> {
    Parsed(RedirectStatus::FOUND)
}

/// How many requests a client may send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// So many requests may come
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// in so long.
    #[serde(default = "one_second")]
    pub per: Parsed<Duration>,
    /// So many at once, after a pause. Absent: as many as `requests`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// Whose requests are counted together: those of one address (IPv6: of one /64), or with the
    /// same value of a header field, a cookie or a query parameter. A request without it counts
    /// for its address. Absent: `source_address`.
    pub key: Option<Key>,
    /// Clients that are counted apart at the same time, at most; all further ones count as one.
    #[serde(default = "max_keys")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_keys: u32,
}

fn one_second() -> Parsed<Duration> {
    seconds(1)
}

fn max_keys() -> u32 {
    100_000
}

/// The path that the backend sees.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Is taken off paths that begin with it, segment by segment. Absent: nothing is.
    pub strip_prefix: Option<Parsed<PathPrefix>>,
    /// Is put before what is left. Absent: nothing is.
    pub add_prefix: Option<Parsed<PathPrefix>>,
}

/// Header fields that the other side sees otherwise. Not those that messages are framed with, that
/// end at this proxy, or that it writes itself.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldRules {
    /// Are taken out.
    pub remove: Vec<Parsed<http::header::HeaderName>>,
    /// Take the place of those of the same name.
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub set: BTreeMap<String, Parsed<HeaderValue>>,
    /// Are added to those of the same name.
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub add: BTreeMap<String, Parsed<HeaderValue>>,
}
