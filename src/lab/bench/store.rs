//! A Redis of our own, on a free port of the loopback interface, which keeps nothing on disk.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::BenchError;
use super::child::Leashed;

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(10);
/// Between two attempts to talk to it.
const LOOK: Duration = Duration::from_millis(20);
/// A port that is free may be taken by another program before Redis has it.
const ATTEMPTS: usize = 3;

/// A running Redis server.
#[derive(Debug)]
pub(super) struct RedisProcess {
    child: Leashed,
    address: SocketAddr,
}

impl RedisProcess {
    /// Runs `program`, such as `redis-server`, with `directory` to work in.
    pub(super) async fn start(
        stickler: &Path,
        program: &OsStr,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        for _ in 0..ATTEMPTS {
            let address = free_address()?;
            let port = address.port().to_string();
            let arguments: [OsString; 10] = [
                "--port".into(),
                port.into(),
                "--bind".into(),
                "127.0.0.1".into(),
                "--save".into(),
                "".into(),
                "--appendonly".into(),
                "no".into(),
                "--dir".into(),
                directory.into(),
            ];
            let child = Leashed::start(stickler, program, arguments, Stdio::null())?;
            let mut redis = RedisProcess { child, address };
            if timeout(START, redis.answers()).await.unwrap_or(false) {
                return Ok(redis);
            }
            redis.stop().await;
        }
        Err(BenchError::NoRedis { program: program.into() })
    }

    /// Where it is, for the app servers.
    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(super) async fn stop(self) {
        self.child.stop().await;
    }

    /// Waits until it answers; false if it has ended.
    async fn answers(&mut self) -> bool {
        while !self.child.has_ended() {
            if ping(self.address).await.is_ok_and(|pong| pong) {
                return true;
            }
            sleep(LOOK).await;
        }
        false
    }
}

async fn ping(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(answer == *b"+PONG\r\n")
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
