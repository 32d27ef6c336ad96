//! `[pools.NAME.tls]`, and other things said before HTTP.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Certificate, MinVersion};
use crate::config::leaf::{Parsed, ServerName};

/// Backends are spoken to over TLS.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackendTls {
    /// The certificate authorities that may have issued backends' certificates: a PEM file, its
    /// path relative to this file. Absent: those that the system trusts.
    pub ca: Option<Parsed<PathBuf>>,
    /// The name that must be in their certificates. Absent: the host in each backend's address.
    pub server_name: Option<Parsed<ServerName>>,
    /// What is shown to backends that ask who we are. Absent: nothing.
    pub certificate: Option<Certificate>,
    /// The oldest protocol that is spoken.
    pub min_version: MinVersion,
    /// Whether it is made sure that the backend is who it should be.
    pub verify: Verify,
}

/// Whether it is made sure that the backend is who it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// By its certificate: the authority, the name, the dates.
    #[default]
    Full,
    /// It is not: whoever answers gets the requests, and can read and change everything.
    DangerAcceptAnybody,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
