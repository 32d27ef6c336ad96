//! The demo's app servers.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::Args;
use crate::cli::failure::Failure;
use crate::lab::process::AppProcess;

/// Running app servers, each a child process.
pub(super) struct Apps {
    running: Vec<AppProcess>,
    ended_early: usize,
}

/// The name of app server `index`.
pub(super) fn app_name(index: usize) -> String {
    format!("app-{}", index + 1)
}

impl Apps {
    /// Starts them, and waits until they listen.
    pub(super) async fn start(args: &Args, seed: u64) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("where is this program? {error}")))?;
        let options = [
            ("--service-time", args.service_time.to_string()),
            ("--concurrency", args.concurrency.to_string()),
            ("--seed", seed.to_string()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.into(), value.into()]);
        let options: Vec<OsString> = options.collect();
        let mut running = Vec::new();
        for index in 0..args.backends.get().into() {
            let app = AppProcess::start(&program, &app_name(index), &options).await;
            running.push(app.map_err(Failure::failed)?);
        }
        Ok(Apps { running, ended_early: 0 })
    }

    /// Names and addresses.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.running.iter().map(|app| (app.name().to_owned(), app.address())).collect()
    }

    /// Who they are.
    pub(super) fn introduction(&self) -> String {
        let mut text = String::new();
        for app in &self.running {
            let pid = app.pid().map_or_else(|| "none".into(), |pid| pid.to_string());
            let _ = writeln!(text, "  {:<6}  http://{}  pid {pid}", app.name(), app.address());
        }
        text
    }

    /// Says who has ended since the last call.
    pub(super) fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        self.running.retain_mut(|app| match app.exited() {
            None => true,
            Some(status) => {
                let name = app.name();
                news.push(format!("{name} has ended ({status}), and its sessions with it\n"));
                false
            }
        });
        self.ended_early += news.len();
        news
    }

    /// How many have ended although nobody stopped them.
    pub(super) fn ended_early(&mut self) -> usize {
        self.news();
        self.ended_early
    }

    /// Ends them.
    pub(super) async fn stop(self) {
        for app in self.running {
            app.stop().await;
        }
    }
}
