//! Who a backend is and where it listens, as configured.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Who a backend is: a hash of its pool's name, its own **name**, and its incarnation if it has one.
///
/// Never an index and never an address, so that reordering the configuration, or a new machine on
/// an old address, cannot be mistaken for home. The same names give the same id in every process.
/// 64 bits, because a fixed length keeps names out of the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(u64);

impl BackendId {
    /// The id of backend `name` in pool `pool`, which has no incarnations.
    pub fn new(pool: &str, name: &str) -> Self {
        BackendId(name_hash(pool, name))
    }

    /// The id of one incarnation of a backend. The sessions of an earlier one are not at home
    /// with a later one.
    pub fn incarnation(pool: &str, name: &str, incarnation: Option<&str>) -> Self {
        let name = name_hash(pool, name);
        BackendId(incarnation.map_or(name, |text| xxh3_64_with_seed(text.as_bytes(), name)))
    }

    /// Who it is at this address: connections to another one are not connections to it.
    pub(super) fn at(self, address: &Address) -> Self {
        BackendId(xxh3_64_with_seed(address.to_string().as_bytes(), self.0))
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    /// Unique in its pool; the backend's identity.
    pub name: String,
    /// Which machine, or which run of the app, lives under that name. Sessions end with it.
    pub incarnation: Option<String>,
    /// Where it listens.
    pub address: Address,
    /// Its share of the load next to the other backends' weights. Zero takes bound sessions only.
    pub weight: u32,
    /// Backends of a higher number take new sessions only while no lower one can.
    pub priority: u32,
    /// Requests in flight at most, if there is a limit.
    pub max_connections: Option<u32>,
}

impl BackendSpec {
    /// A backend of weight 1 without anything special.
    pub fn new(name: impl Into<String>, address: Address) -> Self {
        let (incarnation, max_connections) = (None, None);
        BackendSpec {
            name: name.into(),
            incarnation,
            address,
            weight: 1,
            priority: 0,
            max_connections,
        }
    }
}

/// A hash of a backend's name within its pool, the same in every process.
pub(super) fn name_hash(pool: &str, name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), xxh3_64_with_seed(pool.as_bytes(), 0))
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
}
