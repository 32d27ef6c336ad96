//! One app server: who it is, how it is, and how busy it is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Cause, Outcome, Reason, Timestamp};

/// Who a backend is: a hash of its pool's and its own **name**.
///
/// Never an index and never an address, so that reordering the configuration, or a new machine on
/// an old address, cannot be mistaken for home. The same names give the same id in every process.
/// 64 bits, because a fixed length keeps names out of the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(u64);

impl BackendId {
    /// The id of backend `name` in pool `pool`.
    pub fn new(pool: &str, name: &str) -> Self {
        BackendId(xxh3_64_with_seed(name.as_bytes(), xxh3_64_with_seed(pool.as_bytes(), 0)))
    }

    /// The id that [`BackendId::to_bits`] gave.
    pub const fn from_bits(bits: u64) -> Self {
        BackendId(bits)
    }

    /// 64 well-mixed bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendId({:016x})", self.0)
    }
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port on a host name or IP address (IPv6 without brackets).
    Tcp {
        /// Name or address.
        host: Box<str>,
        /// Port, never 0.
        port: u16,
    },
    /// A Unix-domain stream socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    /// `host:port`, `[ipv6]:port`, or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err("a Unix socket is written unix:/absolute/path".into());
            }
            return Ok(Address::Unix(path.into()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("an address is written host:port, [ipv6]:port or unix:/path")?;
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| format!("port {port:?} is not a number from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(ipv6) if ipv6.parse::<std::net::Ipv6Addr>().is_ok() => ipv6,
            Some(other) => return Err(format!("{other:?} is not an IPv6 address")),
            None if host.contains(':') => {
                return Err("an IPv6 address needs brackets: [::1]:3000".into());
            }
            None => host,
        };
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(valid) {
            return Err(format!("{host:?} is not a host name or IP address"));
        }
        Ok(Address::Tcp { host: host.into(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a backend is configured to be.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// Unique in its pool; the backend's identity.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Its share of the load next to the other backends' weights. Zero takes bound sessions only.
    pub weight: u32,
}

/// How a backend is. Two questions matter, and they have different answers:
/// [`accepts_new`](BackendState::accepts_new) and [`accepts_bound`](BackendState::accepts_bound).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// Takes everything.
    Ready,
    /// Takes its bound sessions, no new ones.
    Draining,
    /// Has drained: takes nothing until an operator makes it ready.
    Drained,
    /// Passively removed for a while because of failures seen in traffic.
    Ejected,
    /// Its health checks fail.
    Down,
    /// An operator took it out.
    Maintenance,
}

impl BackendState {
    /// May a new session, or a free request, go there?
    pub const fn accepts_new(self) -> bool {
        matches!(self, BackendState::Ready)
    }

    /// May a session that is bound to it go there?
    pub const fn accepts_bound(self) -> bool {
        matches!(self, BackendState::Ready | BackendState::Draining)
    }

    /// Why a session cannot stay there; `None` when it can.
    pub const fn refusal(self) -> Option<Reason> {
        match self {
            BackendState::Ready | BackendState::Draining => None,
            BackendState::Drained => Some(Reason::Drained),
            BackendState::Ejected => Some(Reason::Ejected),
            BackendState::Down | BackendState::Maintenance => Some(Reason::Down),
        }
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            BackendState::Ready => "ready",
            BackendState::Draining => "draining",
            BackendState::Drained => "drained",
            BackendState::Ejected => "ejected",
            BackendState::Down => "down",
            BackendState::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that can be true of a backend independently of the others. The visible
/// [`BackendState`] follows from all of them, so that a drain survives a failed health check and
/// a recovery does not end a maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// An operator took it out.
    Maintenance = 1 << 0,
    /// Its health checks fail.
    Down = 1 << 1,
    /// Failures seen in traffic.
    Ejected = 1 << 2,
    /// A drain has come to its end.
    Drained = 1 << 3,
    /// An operator drains it.
    Draining = 1 << 4,
    /// The app asked, through its health check, to be drained.
    AskedToDrain = 1 << 5,
}

/// One app server of a pool, shared by all workers.
#[derive(Debug)]
pub struct Backend {
    id: BackendId,
    name: Box<str>,
    address: Address,
    weight: u32,
    /// The [`Condition`]s that hold. Written by control tasks only, under the pool's change lock.
    conditions: AtomicU8,
    /// What every request writes, on cache lines of its own.
    load: CachePadded<Load>,
}

#[derive(Debug, Default)]
struct Load {
    in_flight: AtomicU32,
    sessions: AtomicU32,
    /// Consecutive failures to connect; see [`outlier`](super::outlier).
    failures: AtomicU32,
    /// When an ejection ends, in nanoseconds; read when [`Condition::Ejected`] holds.
    ejected_until: AtomicU64,
    placed: [AtomicU64; Cause::LABELS.len()],
    outcomes: [AtomicU64; Outcome::LABELS.len()],
}

impl Backend {
    /// A backend of pool `pool`, ready and idle.
    pub fn new(pool: &str, spec: &BackendSpec) -> Self {
        Backend {
            id: BackendId::new(pool, &spec.name),
            name: spec.name.as_str().into(),
            address: spec.address.clone(),
            weight: spec.weight,
            conditions: AtomicU8::new(0),
            load: CachePadded::default(),
        }
    }

    /// Who it is.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Its configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its configured weight.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// How it is now.
    pub fn state(&self) -> BackendState {
        let conditions = self.conditions.load(Ordering::Relaxed);
        let holds = |condition: Condition| conditions & condition as u8 != 0;
        if conditions == 0 {
            BackendState::Ready
        } else if holds(Condition::Maintenance) {
            BackendState::Maintenance
        } else if holds(Condition::Down) {
            BackendState::Down
        } else if holds(Condition::Ejected) {
            BackendState::Ejected
        } else if holds(Condition::Drained) {
            BackendState::Drained
        } else {
            BackendState::Draining
        }
    }

    /// Makes a condition hold or not. Callers go through [`Pool`](super::Pool), which also
    /// renews the list of candidates.
    pub(super) fn set(&self, condition: Condition, holds: bool) {
        if holds {
            self.conditions.fetch_or(condition as u8, Ordering::Relaxed);
        } else {
            self.conditions.fetch_and(!(condition as u8), Ordering::Relaxed);
        }
    }

    /// Requests started and not finished.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight.load(Ordering::Relaxed)
    }

    /// Sessions bound here that this proxy knows of.
    pub fn sessions(&self) -> u32 {
        self.load.sessions.load(Ordering::Relaxed)
    }

    /// Requests placed here so far, by [`Cause::index`].
    pub fn placed(&self) -> [u64; Cause::LABELS.len()] {
        std::array::from_fn(|i| self.load.placed[i].load(Ordering::Relaxed))
    }

    /// Requests finished here so far, by [`Outcome::index`].
    pub fn outcomes(&self) -> [u64; Outcome::LABELS.len()] {
        std::array::from_fn(|i| self.load.outcomes[i].load(Ordering::Relaxed))
    }

    pub(super) fn start(&self, cause: Cause) {
        self.load.in_flight.fetch_add(1, Ordering::Relaxed);
        self.load.placed[cause.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, outcome: Outcome) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.load.outcomes[outcome.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_session(&self) {
        self.load.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_session(&self) {
        self.load.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a failure to connect and gives the consecutive number of them.
    pub(super) fn count_failure(&self) -> u32 {
        self.load.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// A connection was made: failures are no longer consecutive.
    pub(super) fn clear_failures(&self) {
        // Read first: the line stays shared while all is well.
        if self.load.failures.load(Ordering::Relaxed) != 0 {
            self.load.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn ejected_until(&self) -> Timestamp {
        Timestamp::from_nanos(self.load.ejected_until.load(Ordering::Relaxed))
    }

    pub(super) fn set_ejected_until(&self, until: Timestamp) {
        self.load.ejected_until.store(until.as_nanos(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        for good in ["10.0.0.1:80", "[::1]:3000", "app-1.internal:65535", "unix:/run/app.sock"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0.1", "app:0", "app:65536", "::1:80", "[x]:80", ":80", "a b:80", "unix:rel"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn identity_is_the_name_within_the_pool() {
        assert_eq!(BackendId::new("shop", "a"), BackendId::new("shop", "a"));
        assert_ne!(BackendId::new("shop", "a"), BackendId::new("shop", "b"));
        assert_ne!(BackendId::new("shop", "a"), BackendId::new("api", "a"));
        // The split between the two names matters.
        assert_ne!(BackendId::new("ab", "c"), BackendId::new("a", "bc"));
        // Tokens of other processes and of earlier versions carry it: it may never change.
        assert_eq!(BackendId::new("shop", "shop-1").to_bits(), 0xc68b_962f_9867_415b);
    }

    #[test]
    fn conditions_are_independent_and_the_gravest_shows() {
        let spec = BackendSpec { name: "a".into(), address: "a:1".parse().unwrap(), weight: 1 };
        let backend = Backend::new("p", &spec);
        assert_eq!(backend.state(), BackendState::Ready);
        backend.set(Condition::Draining, true);
        assert_eq!(backend.state(), BackendState::Draining);
        backend.set(Condition::Down, true);
        assert_eq!(backend.state(), BackendState::Down);
        backend.set(Condition::Down, false);
        assert_eq!(backend.state(), BackendState::Draining, "a recovery does not end a drain");
    }

    #[test]
    fn two_questions_have_different_answers() {
        use BackendState::*;
        for state in [Ready, Draining, Drained, Ejected, Down, Maintenance] {
            assert_eq!(state.accepts_new(), state == Ready);
            assert_eq!(state.accepts_bound(), matches!(state, Ready | Draining));
            assert_eq!(state.refusal().is_none(), state.accepts_bound());
        }
    }
}
