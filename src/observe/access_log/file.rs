//! A log file that can be opened anew after somebody has given it another name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Reopen,
}

/// Asks for a file to be opened anew before the next line is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Reopen(Arc<AtomicBool>);

impl Reopen {
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl LogFile {
    /// Opens the file; made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let with_path = |error: io::Error| {
            io::Error::new(error.kind(), format!("access log {}: {error}", path.display()))
        };
        let file = append(path).map_err(with_path)?;
        Ok(LogFile { path: path.into(), file, reopen: Reopen::default() })
    }

    pub(super) fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Ordering::Acquire) {
            match append(&self.path) {
                Ok(file) => self.file = file,
                // Better in the old file than nowhere.
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "the access log cannot be opened anew");
                }
            }
        }
        self.file.write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
