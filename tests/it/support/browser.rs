//! Headless Chromium, by way of chromedriver.

use std::process::Command;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use super::{Address, PATIENCE, Process, wait_until};

/// What it is always told: to need no screen, and to talk to nobody but us.
const USUAL: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--hide-scrollbars",
];

/// A browser and what drives it. Both end with it.
pub struct Browser {
    pub page: Client,
    pub runtime: tokio::runtime::Runtime,
    _driver: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// At this page, with a window of this size.
    #[track_caller]
    pub fn open(url: &str, width: u32, height: u32) -> Self {
        Browser::with(url, &[format!("--window-size={width},{height}")])
    }

    /// At this page, with more options. It takes any certificate.
    #[track_caller]
    pub fn with(url: &str, options: &[String]) -> Self {
        let kept = Address::free();
        let port = kept.address.port();
        let mut command = Command::new("chromedriver");
        let driver = Process::of_package("chromium-driver", command.arg(format!("--port={port}")));
        wait_until("chromedriver listens", || driver.stdout().contains("started successfully"));
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = vec![format!("--user-data-dir={}", profile.path().display())];
        arguments.extend(USUAL.map(str::to_owned));
        arguments.extend_from_slice(options);
        let capabilities = Capabilities::from_iter([
            ("goog:chromeOptions".to_owned(), json!({ "args": arguments })),
            ("acceptInsecureCerts".to_owned(), true.into()),
        ]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let page = runtime.block_on(async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            let connected = builder
                .capabilities(capabilities)
                .connect(&format!("http://127.0.0.1:{port}"))
                .await;
            let page = connected.unwrap();
            page.goto(url).await.unwrap();
            page
        });
        Browser { page, runtime, _driver: driver, _profile: profile }
    }

    /// Waits for an element.
    #[track_caller]
    pub fn wait_for(&self, css: &str) {
        let found = self.runtime.block_on(async {
            let wait = self.page.wait().at_most(PATIENCE);
            wait.for_element(Locator::Css(css)).await.map(drop)
        });
        assert!(found.is_ok(), "waited in vain for {css}: {}", self.text("body"));
    }

    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        let text = async { self.page.find(Locator::Css(css)).await?.text().await };
        self.runtime.block_on(text).unwrap_or_else(|error| format!("{css}: {error}"))
    }

    /// Waits until the text of an element contains this.
    #[track_caller]
    pub fn wait_for_text(&self, css: &str, wanted: &str) {
        wait_until(&format!("{css} says {wanted:?}"), || self.text(css).contains(wanted));
    }

    #[track_caller]
    pub fn click(&self, css: &str) {
        let click = async { self.page.find(Locator::Css(css)).await?.click().await };
        self.runtime.block_on(click).unwrap();
    }

    #[track_caller]
    pub fn type_in(&self, css: &str, text: &str) {
        let keys = async { self.page.find(Locator::Css(css)).await?.send_keys(text).await };
        self.runtime.block_on(keys).unwrap();
    }

    /// What a script gives.
    #[track_caller]
    pub fn evaluate(&self, script: &str) -> serde_json::Value {
        self.runtime.block_on(self.page.execute(script, Vec::new())).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Else Chromium outlives chromedriver when a test fails.
        let _ = self.runtime.block_on(self.page.clone().close());
    }
}
