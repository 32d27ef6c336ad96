//! The app servers under test, each a process of its own.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::BenchError;
use super::contender::Kind;
use super::settings::Settings;
use crate::lab::app::answer::Stats;
use crate::lab::browser::Browser;
use crate::lab::process::AppProcess;

/// How long a server may take to say what it has done.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a server may take to stop: requests that are in flight.
const GRACE: Duration = Duration::from_secs(10);

/// All app servers, running or not.
#[derive(Debug)]
pub(super) struct Fleet {
    stickler: PathBuf,
    options: Vec<OsString>,
    seed: u64,
    places: Vec<Place>,
}

/// An app server's name and address, which it keeps when it is started again.
#[derive(Debug)]
struct Place {
    name: String,
    address: SocketAddr,
    /// How often it has been started.
    lives: u64,
    running: Option<AppProcess>,
}

impl Place {
    /// What is different in each life. With the seed of the last one a server would give its new
    /// sessions the ids of old ones, and take users for others who come back with those.
    fn arguments(&self, seed: u64) -> [OsString; 4] {
        let seed = xxh3_64_with_seed(&self.lives.to_le_bytes(), seed);
        let address = self.address.to_string();
        ["--listen".into(), address.into(), "--seed".into(), seed.to_string().into()]
    }
}

impl Fleet {
    /// Places for so many servers, none of which runs yet.
    pub(super) fn new(
        settings: &Settings,
        kind: Kind,
        redis: Option<String>,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let mut options: Vec<(&str, String)> = vec![
            ("--kind", kind.as_str().into()),
            ("--service-time", settings.service_time.to_string()),
            ("--concurrency", settings.concurrency.to_string()),
            // Made up for the occasion: it protects nothing.
            ("--secret", format!("bench-{seed}")),
        ];
        options.extend(redis.map(|url| ("--redis", url)));
        let options = options.into_iter().flat_map(|(name, value)| [name.into(), value.into()]);
        // All ports are held until all are known, so that no two are the same.
        let held: Result<Vec<_>, _> = (0..settings.backends.get())
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect();
        let places: Result<Vec<_>, std::io::Error> = held?
            .iter()
            .enumerate()
            .map(|(i, listener)| {
                let (name, address) = (format!("app-{}", i + 1), listener.local_addr()?);
                Ok(Place { name, address, lives: 0, running: None })
            })
            .collect();
        let (stickler, options) = (settings.stickler.clone(), options.collect());
        Ok(Fleet { stickler, options, seed, places: places? })
    }

    /// Names and addresses, for the proxy's configuration.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.places.iter().map(|place| (place.name.clone(), place.address)).collect()
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Starts one of them, and waits until it listens.
    pub(super) async fn start(&mut self, index: usize) -> Result<(), BenchError> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let mut arguments = self.options.clone();
        arguments.extend(place.arguments(self.seed));
        place.lives += 1;
        let started = AppProcess::start(&self.stickler, &place.name, &arguments).await?;
        place.running = Some(started);
        Ok(())
    }

    /// Asks one to stop, and waits until it has.
    pub(super) async fn stop(&mut self, index: usize) {
        let place = self.places.get_mut(index);
        if let Some(app) = place.and_then(|place| place.running.take()) {
            app.stop_within(GRACE).await;
        }
    }

    /// Kills one like a power cut.
    pub(super) async fn kill(&mut self, index: usize) {
        let place = self.places.get_mut(index);
        if let Some(app) = place.and_then(|place| place.running.take()) {
            app.kill().await;
        }
    }

    /// Kills all of them.
    pub(super) async fn kill_all(&mut self) {
        for index in 0..self.places.len() {
            self.kill(index).await;
        }
    }
}

/// Asks the servers themselves what they have done.
#[derive(Debug)]
pub(super) struct Inspector {
    browsers: Vec<Browser>,
}

impl Inspector {
    pub(super) fn new(fleet: &Fleet) -> Result<Self, BenchError> {
        let browser = |(_, address): (String, SocketAddr)| {
            Ok(Browser::new(address, &address.to_string())?.with_patience(PATIENCE))
        };
        let browsers: Result<Vec<_>, BenchError> =
            fleet.addresses().into_iter().map(browser).collect();
        Ok(Inspector { browsers: browsers? })
    }

    /// What each server says; `None` of those that do not answer.
    pub(super) async fn look(&mut self) -> Vec<Option<Stats>> {
        let mut all = Vec::with_capacity(self.browsers.len());
        for browser in &mut self.browsers {
            let response = browser.get("/stats").await.ok();
            all.push(response.and_then(|response| serde_json::from_slice(&response.body).ok()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_started_again_does_not_repeat_itself() {
        let (name, address) = ("app-1".to_owned(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut place = Place { name, address, lives: 0, running: None };
        let first = place.arguments(7);
        assert_eq!(first, place.arguments(7));
        place.lives = 1;
        let second = place.arguments(7);
        assert_eq!((&first[..3], first[3] == second[3]), (&second[..3], false));
    }
}
