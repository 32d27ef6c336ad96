//! `[pools.NAME.health]`.

use std::time::Duration;

use http::header::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::config::leaf::{HostHeader, Parsed, Share, StatusRange, Target};

/// Active health checks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// What to GET. Absent: it is enough that a connection can be made.
    pub path: Option<Parsed<Target>>,
    /// The check is gRPC's own (`grpc.health.v1.Health/Check`), in place of a path. Absent: it is not.
    pub grpc: Option<GrpcHealth>,
    /// The `Host` of the check. Absent: the backend's address.
    pub host: Option<Parsed<HostHeader>>,
    /// The port to check. Absent: the backend's own.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// The statuses that mean well, as a list of statuses and ranges. Absent: 200 to 399.
    pub expect: Option<Vec<Parsed<StatusRange>>>,
    /// What the first 64 KiB of the response's body must contain. Absent: anything.
    pub body: Option<String>,
    /// Between two checks.
    pub interval: Parsed<Duration>,
    /// Between two checks while the verdict is about to change.
    pub fast_interval: Parsed<Duration>,
    /// For the whole check.
    pub timeout: Parsed<Duration>,
    /// By what share each interval is lengthened or shortened, so that several proxies do not
    /// check in step.
    pub jitter: Parsed<Share>,
    /// Consecutive successes after which a backend counts as up.
    #[schemars(range(min = 1, max = 1000))]
    pub rise: u32,
    /// Consecutive failures after which a backend counts as down.
    #[schemars(range(min = 1, max = 1000))]
    pub fall: u32,
    /// What a backend counts as before its first check, which decides alone.
    pub initial: Initial,
    /// A status by which the app asks to be drained; the check counts as a success. Absent: none.
    #[schemars(range(min = 200, max = 599))]
    pub drain_status: Option<u16>,
    /// A header field by whose presence the app asks to be drained. Absent: none.
    pub drain_header: Option<Parsed<HeaderName>>,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            path: None,
            grpc: None,
            host: None,
            port: None,
            expect: None,
            body: None,
            interval: seconds(2),
            fast_interval: Parsed(Duration::from_millis(500)),
            timeout: seconds(2),
            jitter: Parsed(Share(0.1)),
            rise: 2,
            fall: 3,
            initial: Initial::Up,
            drain_status: None,
            drain_header: None,
        }
    }
}

/// A health check by gRPC's own protocol.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcHealth {
    /// The service that is asked about. Empty: the server as a whole.
    pub service: String,
}

/// What a backend counts as before its first check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Requests go to it at once.
    Up,
    /// Requests wait for its first successful check.
    Down,
}
