use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stickler::balance::{Backend as Member, Pool};
use stickler::config::{Config, ConfigError, Loaded};
use stickler::control::Controller;
use stickler::observe::metrics::Format;
use stickler::observe::{Observer, Reloaded, Trigger};
use stickler::server::{self, Options, Running, Shutdown, Source};
use tempfile::TempDir;

use super::{Admin, Backend, Scrape};

/// A proxy in this process, ended when it is dropped.
pub struct Proxy {
    running: Option<Running>,
    /// What a reload reads.
    config: Arc<Mutex<String>>,
    _state: TempDir,
}

impl Proxy {
    /// A proxy with this configuration. What is left out of `[server]`, `[admin]`,
    /// `[token]` and `[[listeners]]` is filled in: one listener on port 0, two workers, no admin
    /// address, a fixed key, an end without patience.
    #[track_caller]
    pub fn with(config: &str) -> Self {
        let text = completed(config);
        let state = tempfile::tempdir().unwrap();
        let config = match parse(&text, state.path()) {
            Ok(loaded) => loaded.config,
            Err(error) => panic!("{error}\n{text}"),
        };
        let text = Arc::new(Mutex::new(text));
        let (read, state_dir) = (text.clone(), state.path().to_owned());
        let read = Arc::new(move || parse(&read.lock().unwrap(), &state_dir));
        let source = Some(Source { read, file: "test.toml".into() });
        let running = server::start_with(config, Options { source, ..Options::default() });
        Proxy { running: Some(running.unwrap()), config: text, _state: state }
    }

    /// Has it read another configuration.
    pub fn reload(&self, config: &str) -> Result<Reloaded, String> {
        *self.config.lock().unwrap() = completed(config);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.controller().reload(Trigger::Operator)).result.clone()
    }

    /// What can be asked of it.
    pub fn controller(&self) -> &Arc<Controller> {
        self.running.as_ref().unwrap().controller()
    }

    /// A proxy with one pool, `pool`, of these backends, named `b0`, `b1`, ...; `settings` are
    /// the lines of the pool (`balance = ...`, `[pools.pool.affinity]`, ...).
    #[track_caller]
    pub fn before(backends: &[&Backend], settings: &str) -> Self {
        Proxy::configured("", backends, settings)
    }

    /// The same with these tables (`[server.limits]`, `[[listeners]]`, ...) beside the pool.
    #[track_caller]
    pub fn configured(tables: &str, backends: &[&Backend], settings: &str) -> Self {
        let addresses: Vec<_> = backends.iter().map(|b| b.address.to_string()).collect();
        Proxy::with(&format!("{tables}\n{}", pool(&addresses, settings)))
    }

    /// Where its first listener is.
    pub fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Its admin address.
    #[track_caller]
    pub fn admin(&self) -> Admin {
        Admin::at(self.running.as_ref().unwrap().admin().expect("[admin] is on"))
    }

    /// Where its listeners are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.as_ref().unwrap().addresses().to_vec()
    }

    /// Its first pool.
    pub fn pool(&self) -> Arc<Pool> {
        self.running.as_ref().unwrap().pools()[0].clone()
    }

    /// A backend of its first pool.
    #[track_caller]
    pub fn member(&self, name: &str) -> Arc<Member> {
        let members = self.pool().backends();
        members.into_iter().find(|member| member.name() == name).expect("a backend of that name")
    }

    /// What a scraper gets.
    #[track_caller]
    pub fn scrape(&self) -> Scrape {
        Scrape::of(self.running.as_ref().unwrap().metrics_text(Format::Prometheus))
    }

    /// Waits until all requests are counted as ended, and scrapes then.
    #[track_caller]
    pub fn scrape_after(&self, requests: u64) -> Scrape {
        let ended = || self.scrape().sum("stickler_requests_total", &[]);
        super::wait_until("all requests have ended", || ended() >= requests as f64);
        let scrape = self.scrape();
        assert_eq!(scrape.sum("stickler_requests_total", &[]), requests as f64, "{}", scrape.text);
        scrape
    }

    /// What it counts and writes down.
    pub fn observer(&self) -> Observer {
        self.running.as_ref().unwrap().observer().clone()
    }

    /// Requests in flight at all backends of its first pool.
    pub fn in_flight(&self) -> u32 {
        self.pool().backends().iter().map(|member| member.in_flight()).sum()
    }

    /// Waits until nothing is in flight any more.
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        super::wait_until("nothing is in flight", || self.in_flight() == 0);
    }

    /// Ends it gracefully.
    pub fn shut_down(mut self) -> Shutdown {
        self.running.take().unwrap().shut_down()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shut_down();
        }
    }
}

/// A configuration with what it leaves out filled in.
fn completed(config: &str) -> String {
    let mut text = String::new();
    if !config.contains("[server]") {
        text.push_str("[server]\nworkers = 2\nshutdown_timeout = \"100ms\"\n");
    }
    if !config.contains("[token]") {
        let key = "c3RpY2tsZXItdGVzdC1rZXktc3RpY2tsZXItdGVzdC0=";
        text.push_str(&format!("[token]\nkeys = [\"{key}\"]\n"));
    }
    if !config.contains("[admin]") {
        text.push_str("[admin]\naddress = \"off\"\n");
    }
    if !config.contains("[[listeners]]") {
        text.push_str("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
    }
    text.push_str(config);
    text
}

fn parse(text: &str, state_dir: &Path) -> Result<Loaded, ConfigError> {
    let loaded = Config::parse("test.toml", text, Path::new("/nonexistent"), &|_| None);
    loaded.map(|mut loaded| {
        if !text.contains("state_dir") {
            loaded.config.server.state_dir = state_dir.to_owned();
        }
        loaded
    })
}

/// The configuration of a pool named `pool`.
pub fn pool(addresses: &[String], settings: &str) -> String {
    let mut text = format!("[pools.pool]\n{settings}\n");
    for (i, address) in addresses.iter().enumerate() {
        text.push_str(&format!(
            "[[pools.pool.backends]]\nname = \"b{i}\"\naddress = \"{address}\"\n"
        ));
    }
    text
}
