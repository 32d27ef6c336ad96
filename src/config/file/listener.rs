//! `[[listeners]]`.

use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::config::leaf::{ListenAddress, Parsed, ServerName};

/// An address that clients connect to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where to listen. `:8080` is every IPv4 address, `[::]:8080` every address, `localhost:8080`
    /// is 127.0.0.1; other names are not looked up.
    pub address: Parsed<ListenAddress>,
    /// Connections at once. Further ones wait in the kernel's queue.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: u32,
    /// Proxies in front of this one, as ranges of addresses: what they say about their clients is
    /// believed, what others say is removed.
    #[serde(default)]
    pub trusted_proxies: Vec<Parsed<IpNet>>,
    /// The fields in which the trusted proxies say it. The others, which a proxy may pass on as it
    /// got them from anybody, are removed.
    #[serde(default)]
    pub forwarded: Family,
    /// Connections from some load balancers begin with a PROXY protocol header, version 1 or 2,
    /// that says whom they are from. Absent: none do.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// HTTPS: the certificates, and what is asked of clients. Absent: plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is spoken, too: over TLS to clients that choose it (ALPN), without TLS to those
    /// that begin with it. Absent: over TLS only.
    pub http2: Option<bool>,
    /// The port of an HTTPS listener that clients of this one are sent to, with 308; nothing else
    /// is served here then. Absent: requests are served.
    #[schemars(range(min = 1, max = 65_535))]
    pub redirect_to_https: Option<u16>,
}

/// Connections that begin with a PROXY protocol header.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Where from, as ranges of addresses. Connections from there must begin with a header, others
    /// must not.
    pub from: Vec<Parsed<IpNet>>,
    /// How long the header may take.
    #[serde(default = "header_timeout")]
    pub timeout: Parsed<Duration>,
}

fn header_timeout() -> Parsed<Duration> {
    seconds(5)
}

/// Header fields in which a proxy speaks of its client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `X-Forwarded-For`, `-Proto` and the like.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

fn max_connections() -> u32 {
    65_536
}

/// HTTPS on a listener. The files are read again when they change, without losing a connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificates with their keys. At least one, unless there is `acme`. A client gets the one
    /// for the name that it asks for, wildcards included, else the first.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// A certificate is had from an authority, and renewed in time. Absent: none is.
    pub acme: Option<Acme>,
    /// The oldest protocol that is spoken.
    #[serde(default)]
    pub min_version: MinVersion,
    /// Whether clients show a certificate, too. Absent: they are not asked for one.
    pub client_auth: Option<ClientAuth>,
    /// Tells browsers to come over HTTPS only, from now on. Absent: it does not.
    pub hsts: Option<Hsts>,
    /// How long a client may take to agree on a connection's keys.
    #[serde(default = "handshake_timeout")]
    pub handshake_timeout: Parsed<Duration>,
    /// Clients that agree on keys at the same time, at most; further ones wait.
    #[serde(default = "max_handshakes")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_handshakes: u32,
}

fn handshake_timeout() -> Parsed<Duration> {
    seconds(10)
}

fn max_handshakes() -> u32 {
    4096
}

/// A certificate that is had from an authority by ACME, and renewed when a third of its life is left.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    /// The host names that it is for.
    pub domains: Vec<Parsed<ServerName>>,
    /// Whom the authority may write to, as a URI: `mailto:ops@example.com`. Absent: nobody.
    pub contact: Option<String>,
    /// That you agree to the terms of the authority, which issues nothing without it.
    #[serde(default)]
    pub agree_to_terms: bool,
    /// The authority, by the URL of its directory.
    #[serde(default = "lets_encrypt")]
    pub directory: String,
    /// The authority's own certificate authorities: a PEM file, relative to this file. Absent: those
    /// that the system trusts.
    pub ca: Option<Parsed<PathBuf>>,
    /// How the authority makes sure that the names are yours.
    #[serde(default)]
    pub challenge: AcmeChallenge,
}

fn lets_encrypt() -> String {
    "https://acme-v02.api.letsencrypt.org/directory".into()
}

/// How an authority makes sure that a name is yours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcmeChallenge {
    /// It connects to port 443 of each name, which must be this listener.
    #[default]
    #[serde(rename = "tls_alpn_01")]
    TlsAlpn01,
    /// It asks port 80 of each name, which must be any plain listener.
    #[serde(rename = "http_01")]
    Http01,
}

/// A certificate and its key, in PEM files whose paths are relative to this file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, followed by those that lead to its authority.
    pub cert: Parsed<PathBuf>,
    /// The private key.
    #[schemars(extend("writeOnly" = false))]
    pub key: Parsed<PathBuf>,
}

/// The oldest protocol that is spoken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum MinVersion {
    /// TLS 1.2 and later.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 and later.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Clients show a certificate, too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// The certificate authorities that may have issued it: a PEM file, its path relative to this
    /// file.
    pub ca: Parsed<PathBuf>,
    /// Whether clients without a certificate are refused.
    #[serde(default)]
    pub mode: ClientAuthMode,
    /// The header field that tells the app the certificate's subject. What clients send in this
    /// field is removed, on every listener.
    #[serde(default = "subject_header")]
    pub subject_header: Parsed<HeaderName>,
}

fn subject_header() -> Parsed<HeaderName> {
    Parsed(HeaderName::from_static("x-client-subject"))
}

/// Whether clients without a certificate are refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// They are.
    #[default]
    Required,
    /// They are not.
    Optional,
}

/// `Strict-Transport-Security`, unless the app has said its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hsts {
    /// How long browsers keep to it.
    pub max_age: Parsed<Duration>,
    /// Whether all hosts below the one that says it are meant.
    pub include_subdomains: bool,
    /// Whether the host may be built into browsers. Taking that back takes months.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Hsts { max_age: seconds(365 * 24 * 3600), include_subdomains: false, preload: false }
    }
}
