//! Operates the proxy under test, as a deploy script would: over its admin API.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::configuration::{Configuration, POOL};
use crate::clock::Stopwatch;
use crate::lab::bench::BenchError;
use crate::lab::browser::{Browser, Response};

/// Between two looks at a backend.
const LOOK: Duration = Duration::from_millis(20);
/// Sessions that do not come back are waited for so long after a drain's deadline: five seconds by
/// the proxy, and what it takes to notice.
const STRAGGLERS: Duration = Duration::from_secs(6);
/// A server that is up is noticed within this time, unless the machine is very busy.
const NOTICED: Duration = Duration::from_secs(5);

/// Has a connection to the admin API, and the right to write the configuration.
#[derive(Debug)]
pub(in crate::lab::bench) struct Operator {
    browser: Browser,
    configuration: Configuration,
}

/// What the admin API says about a backend.
#[derive(Deserialize)]
struct BackendView {
    state: String,
}

/// What it says about a drain.
#[derive(Deserialize)]
struct DrainView {
    ended: Option<String>,
}

impl Operator {
    pub(super) fn new(admin: SocketAddr, configuration: Configuration) -> Result<Self, BenchError> {
        let browser = Browser::new(admin, &admin.to_string())?;
        Ok(Operator { browser, configuration })
    }

    /// Writes the file with these backends, and has the proxy read it again.
    pub(in crate::lab::bench) async fn list(
        &mut self,
        backends: &[(String, SocketAddr)],
    ) -> Result<(), BenchError> {
        std::fs::write(super::file(&self.configuration), self.configuration.text(backends))?;
        let response = self.browser.post_json("/v1/reload", "").await?;
        understood("reload", &response)
    }

    /// Begins to drain a backend, which may take no longer than `deadline` before its sessions are
    /// made to move.
    pub(in crate::lab::bench) async fn drain(
        &mut self,
        backend: &str,
        deadline: Duration,
    ) -> Result<(), BenchError> {
        let order = json!({ "deadline": format!("{}ms", deadline.as_millis()), "force": true });
        let path = path(backend, "/drain");
        let response = self.browser.post_json(&path, &order.to_string()).await?;
        understood("drain", &response)
    }

    /// Waits until the drains of these backends are over, and gives how long each has taken, as
    /// far as it ended in time.
    pub(in crate::lab::bench) async fn drained(
        &mut self,
        backends: &[String],
        deadline: Duration,
    ) -> Result<Vec<f64>, BenchError> {
        let begun = Stopwatch::start();
        let mut left: Vec<&String> = backends.iter().collect();
        let mut seconds = Vec::with_capacity(backends.len());
        while !left.is_empty() && begun.elapsed() < deadline + STRAGGLERS {
            let mut still = Vec::new();
            for backend in left {
                let response = self.browser.get(&path(backend, "/drain")).await?;
                understood("look at a drain", &response)?;
                match read::<DrainView>(&response)?.ended {
                    Some(_) => seconds.push(begun.elapsed().as_secs_f64()),
                    None => still.push(backend),
                }
            }
            left = still;
            sleep(LOOK).await;
        }
        Ok(seconds)
    }

    /// Puts a backend back into service, and waits until its health checks agree.
    pub(in crate::lab::bench) async fn ready(&mut self, backend: &str) -> Result<(), BenchError> {
        let response = self.browser.post_json(&path(backend, "/ready"), "").await?;
        understood("ready", &response)?;
        let begun = Stopwatch::start();
        while begun.elapsed() < NOTICED {
            let response = self.browser.get(&path(backend, "")).await?;
            understood("look at a backend", &response)?;
            if read::<BackendView>(&response)?.state == "ready" {
                break;
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn path(backend: &str, what: &str) -> String {
    format!("/v1/pools/{POOL}/backends/{backend}{what}")
}

/// The error is that the proxy does not do what it was told.
fn understood(order: &'static str, response: &Response) -> Result<(), BenchError> {
    if response.status.is_success() {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&response.body).into_owned();
    Err(BenchError::Refused { order, answer })
}

fn read<'a, T: Deserialize<'a>>(response: &'a Response) -> Result<T, BenchError> {
    serde_json::from_slice(&response.body).map_err(|error| BenchError::Io(error.into()))
}
