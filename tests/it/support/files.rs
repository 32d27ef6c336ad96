use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Process, STICKLER};

/// A directory with a configuration file, for a proxy of its own process. Gone when it is dropped.
pub struct Files {
    directory: TempDir,
}

impl Files {
    /// With this configuration. What is left out of `[server]`, `[admin]` and `[[listeners]]` is filled in:
    /// two workers, a `state_dir` in here, one listener on port 0, and no admin address.
    pub fn with(config: &str) -> Self {
        let files = Files { directory: tempfile::tempdir().unwrap() };
        files.configure(config);
        files
    }

    /// Writes another configuration.
    pub fn configure(&self, config: &str) {
        let mut text = String::new();
        if !config.contains("[server]") {
            text.push_str("[server]\nworkers = 2\nstate_dir = \"state\"\n");
        }
        if !config.contains("[admin]") {
            text.push_str("[admin]\naddress = \"off\"\n");
        }
        if !config.contains("[[listeners]]") {
            text.push_str("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
        }
        fs::write(self.config(), text + config).unwrap();
    }

    /// `stickler run` with this configuration.
    #[track_caller]
    pub fn start(&self) -> Process {
        Process::start(Command::new(STICKLER).arg("run").arg(self.config()))
    }

    /// The same, waited for until it listens.
    #[track_caller]
    pub fn run(&self) -> (Process, SocketAddr) {
        let mut process = self.start();
        let address = process.listening();
        (process, address)
    }

    /// Where the configuration is.
    pub fn config(&self) -> PathBuf {
        self.path().join("stickler.toml")
    }

    /// Writes another file in here, and gives where it is.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Where the token key is, if there is one.
    pub fn key(&self) -> PathBuf {
        self.path().join("state/token.key")
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
