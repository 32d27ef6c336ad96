//! `[pools.NAME.affinity]`.

use std::time::Duration;

use http::header::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auto, seconds};
use crate::balance::{affinity, hashing};
use crate::config::leaf::{
    CookieName, CookiePath, Domain, Factor, Parsed, Percent, QueryName, Share,
};

/// How sessions stick to backends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Affinity {
    /// How a session is recognized.
    pub mode: Mode,
    /// The affinity cookie. With `mode = "cookie"` only.
    pub cookie: Option<Cookie>,
    /// What is hashed. With `mode = "hash"` only, which needs it. A request without it is free.
    pub key: Option<Key>,
    /// From the key to a backend. With `mode = "hash"` only. Absent: `rendezvous`.
    pub algorithm: Option<Algorithm>,
    /// A session ends when it has not been seen for so long.
    pub idle_timeout: Parsed<Duration>,
    /// A session ends so long after it began, however busy it is. With `mode = "cookie"` only.
    pub absolute_timeout: Parsed<Duration>,
    /// What happens to a session whose backend cannot serve it.
    pub when_unavailable: WhenUnavailable,
    /// How a session waits for its backend. With `when_unavailable = "wait"` only.
    pub wait: Option<Wait>,
    /// What happens when bound sessions bring their backend more than its share. With
    /// `mode = "cookie"` only. Absent: nothing.
    pub overload: Option<Overload>,
    /// Moving sessions toward an even distribution while their backends are well, after a
    /// scale-out above all. With `mode = "cookie"` only. Absent: none moves.
    pub rebalance: Option<Rebalance>,
    /// Routes a share of the sessions freely, to see whether the app still needs stickiness. Absent:
    /// none.
    pub unstick: Option<Unstick>,
    /// When a session begins. With `mode = "cookie"` only.
    pub establish: Establish,
    /// The first requests of a client (address and user agent) that come within so long land
    /// together. With `mode = "cookie"` only. Absent: each goes where the balancer says.
    pub coalesce: Option<Parsed<Duration>>,
    /// A backend with more than this times its fair share of the requests in flight is passed over
    /// for now. With `mode = "hash"` only. Absent: never.
    pub max_load: Option<Parsed<Factor>>,
    /// Sessions that are counted at most; further ones are served all the same. A client that never
    /// sends its cookie back begins a session with each request.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_sessions: u32,
}

impl Default for Affinity {
    fn default() -> Self {
        Affinity {
            mode: Mode::None,
            cookie: None,
            key: None,
            algorithm: None,
            idle_timeout: seconds(30 * 60),
            absolute_timeout: seconds(12 * 60 * 60),
            when_unavailable: WhenUnavailable::Rebalance,
            wait: None,
            overload: None,
            rebalance: None,
            unstick: None,
            establish: Establish::Always,
            coalesce: None,
            max_load: None,
            max_sessions: 1_000_000,
        }
    }
}

/// How a session is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not at all.
    None,
    /// By a sealed cookie of the proxy's own.
    Cookie,
    /// By hashing a key that the request carries.
    Hash,
}

/// The affinity cookie.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cookie {
    /// Its name. Pools that one host can reach need different ones.
    pub name: Parsed<CookieName>,
    /// `Path`: below which paths browsers send it.
    pub path: Parsed<CookiePath>,
    /// `Domain`: if set, browsers send it to this host and all below it. Absent: only to the host
    /// that set it.
    pub domain: Option<Parsed<Domain>>,
    /// `Secure`: `true`, `false`, or `auto` for when the client came over TLS, as far as a trusted
    /// proxy says so.
    pub secure: Secure,
    /// `HttpOnly`: scripts cannot read it.
    pub http_only: bool,
    /// `SameSite`: whether other sites' pages send it.
    pub same_site: SameSite,
    /// `Partitioned` (CHIPS): a jar of its own for each site that embeds the app.
    pub partitioned: bool,
    /// `Max-Age`. Absent: until the browser is closed.
    pub max_age: Option<Parsed<Duration>>,
}

impl Default for Cookie {
    fn default() -> Self {
        Cookie {
            name: Parsed(CookieName("stickler".into())),
            path: Parsed(CookiePath("/".into())),
            domain: None,
            secure: Secure::Auto(Auto::Auto),
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
            max_age: None,
        }
    }
}

/// When the affinity cookie is `Secure`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Secure {
    /// When the client came over TLS.
    Auto(Auto),
    /// Always, or never.
    Fixed(bool),
}

/// The `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// `Strict`
    Strict,
    /// `Lax`
    Lax,
    /// `None`. Browsers want `Secure` with it.
    None,
    /// Without the attribute.
    Unset,
}

/// What hash affinity hashes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Key {
    /// A part that every request has.
    Part(KeyPart),
    /// A field by its name.
    Field(KeyField),
}

/// A part that every request has.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// The client's address, as far as trusted proxies say it.
    SourceAddress,
    /// The path, without the query.
    Path,
}

/// A field by its name. Exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct KeyField {
    /// The value of this header field. Absent: another field.
    pub header: Option<Parsed<HeaderName>>,
    /// The value of this cookie. Absent: another field.
    pub cookie: Option<Parsed<CookieName>>,
    /// The value of this query parameter. Absent: another field.
    pub query: Option<Parsed<QueryName>>,
}

/// From a key to a backend.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Highest random weight: when a backend leaves, only its keys move. For up to some hundred
    /// backends.
    Rendezvous,
    /// Points on a ring: when a backend leaves, only its keys move. Less even than the others.
    Ring,
    /// A table that the backends fill in turns: even and fast; a few keys of others move, too.
    Maglev,
}

impl From<Algorithm> for hashing::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rendezvous => hashing::Algorithm::Rendezvous,
            Algorithm::Ring => hashing::Algorithm::Ring,
            Algorithm::Maglev => hashing::Algorithm::Maglev,
        }
    }
}

/// What happens to a session whose backend cannot serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnavailable {
    /// It moves to another backend for good.
    Rebalance,
    /// It is served by another backend until its own is back.
    Detour,
    /// Its requests are held for a while, see `wait`.
    Wait,
    /// Its requests are refused with 503 until the backend is back.
    Reject,
}

/// How a session waits for its backend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wait {
    /// How long a request is held at most.
    pub up_to: Parsed<Duration>,
    /// What happens if the backend is not back by then.
    pub then: Afterwards,
}

impl Default for Wait {
    fn default() -> Self {
        Wait { up_to: seconds(10), then: Afterwards::Rebalance }
    }
}

/// What happens to a session that has waited in vain.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    /// It moves to another backend for good.
    Rebalance,
    /// It is served by another backend until its own is back.
    Detour,
    /// Its requests are refused with 503.
    Reject,
}

impl From<Afterwards> for affinity::Afterwards {
    fn from(then: Afterwards) -> Self {
        match then {
            Afterwards::Rebalance => affinity::Afterwards::Rebalance,
            Afterwards::Detour => affinity::Afterwards::Detour,
            Afterwards::Reject => affinity::Afterwards::Reject,
        }
    }
}

/// A bound on what bound sessions may bring to their backend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// A backend with more than this times its fair share of the requests in flight has too much
    /// to do.
    pub factor: Parsed<Factor>,
    /// What happens to a request of a session that lives there.
    pub action: OverloadAction,
}

impl Default for Overload {
    fn default() -> Self {
        Overload { factor: Parsed(Factor(1.25)), action: OverloadAction::Detour }
    }
}

/// Moving sessions toward an even distribution.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rebalance {
    /// How many sessions move a second at most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub moves_per_second: u32,
    /// A backend gives sessions away while it has more than its fair share and so much of it.
    pub margin: Parsed<Share>,
    /// Only sessions that have paused for so long move, at their next request.
    pub idle_for: Parsed<Duration>,
}

impl Default for Rebalance {
    fn default() -> Self {
        Rebalance { moves_per_second: 10, margin: Parsed(Share(0.1)), idle_for: seconds(60) }
    }
}

/// Which sessions are routed freely, to see whether the app still needs stickiness.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Unstick {
    /// How many percent of them; always the same ones.
    pub percent: Parsed<Percent>,
}

impl Default for Unstick {
    fn default() -> Self {
        Unstick { percent: Parsed(Percent(5.0)) }
    }
}

/// When a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Establish {
    /// With the first answer.
    Always,
    /// When the app answers `Stickler-Affinity: pin`: with the log-in, say. Until then requests
    /// go wherever the balancer says, and no cookie is set.
    OnDemand,
}

impl From<Establish> for affinity::Establish {
    fn from(establish: Establish) -> Self {
        match establish {
            Establish::Always => affinity::Establish::Always,
            Establish::OnDemand => affinity::Establish::OnDemand,
        }
    }
}

/// What happens to a request of a session whose backend has too much to do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverloadAction {
    /// It is served by another backend, and the session stays where it is.
    Detour,
    /// The session moves to another backend for good.
    Rebalance,
    /// It waits in the queue.
    Queue,
}

impl From<OverloadAction> for affinity::OverloadAction {
    fn from(action: OverloadAction) -> Self {
        match action {
            OverloadAction::Detour => affinity::OverloadAction::Detour,
            OverloadAction::Rebalance => affinity::OverloadAction::Rebalance,
            OverloadAction::Queue => affinity::OverloadAction::Queue,
        }
    }
}
