//! The configuration as the request path wants it: looked up, compiled, counted in ticks.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::affinity::AffinityCookie;
use super::watch::{Tick, ticks};
use crate::balance::Pool;
use crate::balance::affinity::{Keyring, Mode, TOKEN_LEN};
use crate::config::{self, Family, ForwardStyle, KeySource};
use crate::http::cookies::CookieName;
use crate::http::framing::HeadLimits;
use crate::routing::Table;

/// Everything that a worker needs to serve requests. Immutable; a reload makes another one.
#[derive(Debug)]
pub(crate) struct Site {
    /// Which requests go to which pool.
    pub(crate) routes: Table<Arc<Destination>>,
    /// Opens and seals tokens.
    pub(crate) keyring: Keyring,
    /// What a client may ask for.
    pub(crate) limits: config::Limits,
    /// How long we wait for a client.
    pub(crate) timeouts: ClientTicks,
    /// May the names of request fields have underscores?
    pub(crate) underscores_in_headers: bool,
}

impl Site {
    /// How large a request head may be.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        let config::Limits { header_bytes, header_count, uri_length, .. } = self.limits;
        HeadLimits { bytes: header_bytes, fields: header_count, target: uri_length }
    }
}

/// How long we wait for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTicks {
    pub(crate) request_header: Tick,
    pub(crate) request_body: Tick,
    pub(crate) response_write: Tick,
    pub(crate) idle: Tick,
}

impl From<&config::ClientTimeouts> for ClientTicks {
    fn from(timeouts: &config::ClientTimeouts) -> Self {
        ClientTicks {
            request_header: ticks(timeouts.request_header),
            request_body: ticks(timeouts.request_body),
            response_write: ticks(timeouts.response_write),
            idle: ticks(timeouts.idle),
        }
    }
}

/// Where a route leads: a pool, and all that the shell does around it.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) pool: Arc<Pool>,
    pub(crate) affinity: Affinity,
    /// Our cookies, which the app does not see: this pool's, and those that clients bring along
    /// from other pools.
    pub(crate) cookies: Vec<CookieName>,
    pub(crate) style: ForwardStyle,
    pub(crate) host: config::HostPolicy,
    pub(crate) timeouts: BackendTicks,
    pub(crate) max_idle_connections: usize,
    pub(crate) attempts: usize,
    /// Does the balancer want to know how long answers take?
    pub(crate) wants_latency: bool,
}

/// How a request of this destination is recognized.
#[derive(Debug)]
pub(crate) enum Affinity {
    /// Not at all.
    None,
    /// By our cookie.
    Cookie(Box<AffinityCookie>),
    /// By a key, hashed.
    Key(Box<KeyFinder>),
}

impl Affinity {
    /// The cookie that this reads, if there is one, ours or the app's.
    fn cookie(&self) -> Option<&CookieName> {
        match self {
            Affinity::Cookie(cookie) => Some(cookie.name()),
            Affinity::Key(finder) => match &**finder {
                KeyFinder::Cookie(name) => Some(name),
                _ => None,
            },
            Affinity::None => None,
        }
    }
}

/// The names of the cookies of all pools, the first of each name.
fn cookie_names(pools: &[config::Pool]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for pool in pools.iter().filter(|pool| pool.spec.affinity.mode == Mode::Cookie) {
        if !names.contains(&&*pool.cookie.name) {
            names.push(&pool.cookie.name);
        }
    }
    names
}

/// Where the key of hash affinity is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them in a pool")]
pub(crate) enum KeyFinder {
    SourceAddress,
    Path,
    Header(http::HeaderName),
    Cookie(CookieName),
    Query(String),
}

/// How long we wait for a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendTicks {
    pub(crate) connect: std::time::Duration,
    pub(crate) response_header: Tick,
    pub(crate) response_body: Tick,
    pub(crate) idle: Tick,
    pub(crate) tunnel: Tick,
}

impl Destination {
    /// Do backends get `X-Forwarded-*`?
    pub(crate) fn sends_x_forwarded(&self) -> bool {
        matches!(self.style, ForwardStyle::XForwarded | ForwardStyle::Both)
    }

    /// Do backends get `Forwarded`?
    pub(crate) fn sends_forwarded(&self) -> bool {
        matches!(self.style, ForwardStyle::Forwarded | ForwardStyle::Both)
    }

    /// Compiles the shell's part of a pool, one of `all`.
    pub(crate) fn new(pool: Arc<Pool>, config: &config::Pool, all: &[config::Pool]) -> Self {
        let affinity = match config.spec.affinity.mode {
            Mode::None => Affinity::None,
            Mode::Cookie => Affinity::Cookie(Box::new(AffinityCookie::new(&config.cookie))),
            Mode::Hash(_) => Affinity::Key(Box::new(match &config.key {
                KeySource::SourceAddress => KeyFinder::SourceAddress,
                KeySource::Path => KeyFinder::Path,
                KeySource::Header(name) => KeyFinder::Header(name.clone()),
                KeySource::Cookie(name) => KeyFinder::Cookie(CookieName::new(name)),
                KeySource::Query(name) => KeyFinder::Query(name.clone()),
            })),
        };
        let reads = affinity.cookie().map(CookieName::as_bytes);
        let of_others = cookie_names(all).into_iter().filter(|name| Some(name.as_bytes()) != reads);
        let of_others = of_others.map(|name| CookieName::new(name).with_values_of(TOKEN_LEN));
        let own = match &affinity {
            Affinity::Cookie(cookie) => Some(cookie.name().clone()),
            _ => None,
        };
        let timeouts = &config.timeouts;
        Destination {
            pool,
            cookies: own.into_iter().chain(of_others).collect(),
            affinity,
            style: config.forward.style,
            host: config.forward.host.clone(),
            timeouts: BackendTicks {
                connect: timeouts.connect,
                response_header: ticks(timeouts.response_header),
                response_body: ticks(timeouts.response_body),
                idle: ticks(timeouts.idle),
                tunnel: ticks(timeouts.tunnel),
            },
            max_idle_connections: config.max_idle_connections,
            attempts: config.attempts.max(1),
            wants_latency: config.spec.balance.wants_latency(),
        }
    }
}

/// A listener, as its connections see it.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Where it really listens.
    pub(crate) address: SocketAddr,
    /// Who is believed about its clients.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// In which fields.
    pub(crate) forwarded: Family,
    /// Connections at once.
    pub(crate) max_connections: usize,
    /// Connections open now, over all workers.
    pub(crate) connections: std::sync::atomic::AtomicUsize,
}
