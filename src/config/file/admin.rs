//! `[admin]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Certificate;
use crate::config::leaf::{AdminAddress, Parsed};
use crate::routing::HostMatch;

/// Where operators look and act: the API, the dashboard and the metrics.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens, or `off`. If it is left out and the default is taken by another process,
    /// the proxy starts without it and says so. Beyond this machine it demands `token_file`.
    pub address: Parsed<AdminAddress>,
    /// A file with the token that every request must carry (`Authorization: Bearer ...`), relative
    /// to this file: 16 characters or more, as `openssl rand -hex 32` prints them. Absent: whoever
    /// can reach the address may use it.
    pub token_file: Option<Parsed<PathBuf>>,
    /// The certificate that is shown there: HTTPS, and nothing else. Absent: plain HTTP.
    pub tls: Option<Certificate>,
    /// Names in the `Host` field that are answered besides `localhost`, loopback addresses and
    /// `address` itself. Others may be a page in somebody's browser that has its own name point
    /// here (DNS rebinding).
    pub allowed_hosts: Vec<Parsed<HostMatch>>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            address: Parsed(AdminAddress(Some(DEFAULT))),
            token_file: None,
            tls: None,
            allowed_hosts: Vec::new(),
        }
    }
}

const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
