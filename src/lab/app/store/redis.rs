//! Sessions in Redis, each under a key of its own that expires, as JSON. Every request reads the
//! session and keeps it from expiring; one that changes it writes it, too. So do the usual session
//! middlewares.

use std::fmt;
use std::time::Duration;

use bb8::{ManageConnection, Pool, PooledConnection, RunError};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, RedisError};

use super::{Session, Trouble};

/// How long a look-up may take before the request fails.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections that an app server may have, each for one request at a time: what most session
/// middlewares come with.
const CONNECTIONS: u32 = 16;

/// Sessions in Redis, by connections of a pool.
pub(in crate::lab::app) struct Redis {
    connections: Pool<Connector>,
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
        let connections = Pool::builder()
            .max_size(CONNECTIONS)
            .min_idle(1)
            .connection_timeout(PATIENCE)
            .test_on_check_out(false) // a round trip for each request
            .build(Connector(Client::open(url)?))
            .await?;
        Ok(Redis { connections, timeout: timeout.max(Duration::from_secs(1)) })
    }

    async fn connection(&self) -> Result<PooledConnection<'_, Connector>, Trouble> {
        self.connections.get().await.map_err(|error| match error {
            RunError::User(error) => error.into(),
            RunError::TimedOut => Trouble::Store("all connections are in use".to_owned()),
        })
    }

    /// Reads a session, and counts the request in the same round trip. What only looks writes
    /// nothing else, so that it cannot undo what a request beside it has changed.
    pub(super) async fn read(&self, sid: &str) -> Result<Session, Trouble> {
        let (key, counter, seconds) = (key(sid), counter(sid), self.timeout.as_secs());
        let mut pipe = redis::pipe();
        pipe.cmd("GETEX").arg(key).arg("EX").arg(seconds);
        pipe.cmd("INCR").arg(&counter);
        pipe.cmd("EXPIRE").arg(&counter).arg(seconds).ignore();
        let (json, requests): (Option<String>, u64) =
            pipe.query_async(&mut *self.connection().await?).await?;
        let session = json.and_then(|json| serde_json::from_str::<Session>(&json).ok());
        session.map(|session| Session { requests, ..session }).ok_or(Trouble::Unknown)
    }

    /// Writes a session that has changed.
    pub(super) async fn write(&self, sid: &str, session: &Session) -> Result<(), Trouble> {
        let json = serde_json::to_string(session).map_err(|bad| Trouble::Store(bad.to_string()))?;
        let written: Result<(), RedisError> =
            self.connection().await?.set_ex(key(sid), json, self.timeout.as_secs()).await;
        Ok(written?)
    }

    /// Writes a session that begins: one request so far.
    pub(super) async fn begin(&self, sid: &str, session: &Session) -> Result<(), Trouble> {
        let counted: Result<(), RedisError> =
            self.connection().await?.set_ex(counter(sid), 1, self.timeout.as_secs()).await;
        counted?;
        self.write(sid, session).await
    }

    pub(super) async fn remove(&self, sid: &str) -> Result<(), Trouble> {
        let removed: Result<(), RedisError> =
            self.connection().await?.del(&[key(sid), counter(sid)]).await;
        Ok(removed?)
    }
}

/// Makes the connections of the pool. They are made again by themselves when they break.
struct Connector(Client);

impl ManageConnection for Connector {
    type Connection = ConnectionManager;
    type Error = RedisError;

    async fn connect(&self) -> Result<ConnectionManager, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE));
        ConnectionManager::new_with_config(self.0.clone(), config).await
    }

    async fn is_valid(&self, _: &mut ConnectionManager) -> Result<(), RedisError> {
        Ok(())
    }

    fn has_broken(&self, _: &mut ConnectionManager) -> bool {
        false
    }
}

fn key(sid: &str) -> String {
    format!("session:{sid}")
}

/// Where the requests of a session are counted.
fn counter(sid: &str) -> String {
    format!("session:{sid}:requests")
}
