//! The configuration as the request path wants it: looked up, compiled, counted in ticks.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::affinity::AffinityCookie;
use super::handling::Route;
use super::request_id::RequestIds;
use super::upstream_socket::Transport;
use super::watch::{Tick, ticks};
use crate::balance::Pool;
use crate::balance::affinity::{Keyring, Mode, TOKEN_LEN};
use crate::balance::retry::RetryBudget;
use crate::balance::unstick::Unstick;
use crate::config::{self, Family, ForwardStyle, KeySource};
use crate::http::cookies::CookieName;
use crate::http::framing::HeadLimits;
use crate::http::grpc;
use crate::observe::Events;
use crate::routing::Table;
use crate::tls;

/// Everything that a worker needs to serve requests. Immutable; a reload makes another one.
#[derive(Debug)]
pub(crate) struct Site {
    /// What becomes of which request.
    pub(crate) routes: Table<Route>,
    /// Opens and seals tokens.
    pub(crate) keyring: Keyring,
    /// What a client may ask for.
    pub(crate) limits: config::Limits,
    /// How long we wait for a client.
    pub(crate) timeouts: ClientTicks,
    /// May the names of request fields have underscores?
    pub(crate) underscores_in_headers: bool,
    /// Where backends find the id of a request.
    pub(crate) request_ids: RequestIds,
    /// Does a request without a trace get one?
    pub(crate) starts_traces: bool,
    /// What HTTP/2 clients are told.
    pub(crate) http2: config::Http2,
    /// Is some backend told where its client came in?
    pub(crate) tells_local_address: bool,
    /// May an authority ask whose names these are, before it issues a certificate?
    pub(crate) answers_authorities: bool,
    /// Request fields that only we may write: those with the subjects of client certificates.
    pub(crate) guarded: Vec<HeaderName>,
    /// Pages instead of answers of our own.
    pub(crate) error_pages: config::ErrorPages,
    /// Who hears of what happens to the backends.
    pub(crate) events: Arc<Events>,
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
    /// Do the first requests of a client land together?
    pub(crate) coalesces: bool,
    /// Which sessions are routed freely for the sake of an experiment, if there is one.
    pub(crate) unstick: Option<Unstick>,
    /// Our cookies, which the app does not see: this pool's, and those that clients bring along
    /// from other pools.
    pub(crate) cookies: Vec<CookieName>,
    pub(crate) style: ForwardStyle,
    pub(crate) host: config::HostPolicy,
    pub(crate) timeouts: BackendTicks,
    /// What is said to its backends before HTTP.
    pub(crate) transport: Transport,
    pub(crate) max_idle_connections: usize,
    pub(crate) attempts: usize,
    /// Which calls of gRPC are made again elsewhere, if any.
    pub(crate) retry: Option<GrpcRetry>,
    /// Does the balancer want to know how long answers take?
    pub(crate) wants_latency: bool,
    /// How answers are compressed, if they are.
    pub(crate) compression: Option<Box<config::Compression>>,
}

/// Which calls of gRPC are made again elsewhere.
#[derive(Debug)]
pub(crate) struct GrpcRetry {
    statuses: Vec<u8>,
    pub(crate) budget: RetryBudget,
}

impl GrpcRetry {
    fn new(config: &config::Retry) -> Self {
        let statuses = config.grpc_status.clone();
        GrpcRetry { statuses, budget: RetryBudget::new(config.budget) }
    }

    /// Those that end with this status?
    pub(crate) fn is_for(&self, status: &HeaderValue) -> bool {
        grpc::status(status.as_bytes()).is_some_and(|status| self.statuses.contains(&status))
    }
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

/// Where a key is that stands for a client: that of hash affinity, or of a rate limit.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them in a pool")]
pub(crate) enum KeyFinder {
    SourceAddress,
    Path,
    Header(HeaderName),
    Cookie(CookieName),
    Query(String),
}

impl KeyFinder {
    /// Compiles the configuration.
    pub(crate) fn of(config: &KeySource) -> Self {
        match config {
            KeySource::SourceAddress => KeyFinder::SourceAddress,
            KeySource::Path => KeyFinder::Path,
            KeySource::Header(name) => KeyFinder::Header(name.clone()),
            KeySource::Cookie(name) => KeyFinder::Cookie(CookieName::new(name)),
            KeySource::Query(name) => KeyFinder::Query(name.clone()),
        }
    }
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
    pub(crate) fn new(
        pool: Arc<Pool>,
        config: &config::Pool,
        all: &[config::Pool],
        transport: Transport,
    ) -> Self {
        let affinity = match config.spec.affinity.mode {
            Mode::None => Affinity::None,
            Mode::Cookie => Affinity::Cookie(Box::new(AffinityCookie::new(&config.cookie))),
            Mode::Hash(_) => Affinity::Key(Box::new(KeyFinder::of(&config.key))),
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
            unstick: config.spec.affinity.unstick,
            coalesces: config.spec.affinity.coalesce.is_some(),
            style: config.forward.style,
            host: config.forward.host.clone(),
            timeouts: BackendTicks {
                connect: timeouts.connect,
                response_header: ticks(timeouts.response_header),
                response_body: ticks(timeouts.response_body),
                idle: ticks(timeouts.idle),
                tunnel: ticks(timeouts.tunnel),
            },
            transport,
            max_idle_connections: config.max_idle_connections,
            attempts: config.attempts.max(1),
            retry: config.retry.as_ref().map(GrpcRetry::new),
            wants_latency: config.spec.balance.wants_latency(),
            compression: config.compression.clone().map(Box::new),
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
    pub(crate) connections: Arc<std::sync::atomic::AtomicUsize>,
    /// Whose connections begin with a PROXY protocol header, if any do.
    pub(crate) proxy_protocol: Option<config::ProxyProtocol>,
    /// TLS, if it is spoken.
    pub(crate) tls: Option<TlsEntrance>,
    /// Is HTTP/2 spoken?
    pub(crate) http2: bool,
    /// The port of HTTPS that every client is sent to, if requests are not served here.
    pub(crate) redirect_to_https: Option<u16>,
}

/// TLS on a listener.
#[derive(Debug)]
pub(crate) struct TlsEntrance {
    /// The certificates.
    pub(crate) incoming: Arc<tls::Incoming>,
    /// The field that tells the app a client certificate's subject.
    pub(crate) subject_header: Option<HeaderName>,
    /// `Strict-Transport-Security`, if it is to be said.
    pub(crate) hsts: Option<HeaderValue>,
    /// How long a client may take to agree on keys.
    pub(crate) handshake_timeout: Tick,
    /// Places for those who do so at the same time, over all workers.
    pub(crate) handshakes: tokio::sync::Semaphore,
}
