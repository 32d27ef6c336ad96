//! Sessions in Redis, each under a key of its own that expires, as JSON. Every request reads and
//! writes, as the usual session middlewares do.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, RedisError};

use super::{Session, Trouble};

/// How long a look-up may take before the request fails.
const PATIENCE: Duration = Duration::from_secs(2);

/// One connection for all requests, which share it without waiting for each other, and which is
/// made again when it breaks.
pub(in crate::lab::app) struct Redis {
    connection: ConnectionManager,
    /// At least a second: the unit in which Redis keeps it.
    timeout: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Redis {
    pub(super) async fn connect(url: &str, timeout: Duration) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE));
        let connection = ConnectionManager::new_with_config(Client::open(url)?, config).await?;
        Ok(Redis { connection, timeout: timeout.max(Duration::from_secs(1)) })
    }

    pub(super) async fn read(&self, sid: &str) -> Result<Session, Trouble> {
        let json: Option<String> = self.connection.clone().get(key(sid)).await?;
        let session = json.and_then(|json| serde_json::from_str(&json).ok());
        session.ok_or(Trouble::Unknown)
    }

    pub(super) async fn write(&self, sid: &str, session: &Session) -> Result<(), Trouble> {
        let json = serde_json::to_string(session).map_err(|bad| Trouble::Store(bad.to_string()))?;
        let written: Result<(), RedisError> =
            self.connection.clone().set_ex(key(sid), json, self.timeout.as_secs()).await;
        Ok(written?)
    }

    pub(super) async fn remove(&self, sid: &str) -> Result<(), Trouble> {
        let removed: Result<(), RedisError> = self.connection.clone().del(key(sid)).await;
        Ok(removed?)
    }
}

fn key(sid: &str) -> String {
    format!("session:{sid}")
}
