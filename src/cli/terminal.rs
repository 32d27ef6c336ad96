//! Where the output goes, and how it may look there.

use std::io::{self, IsTerminal, Write};

use terminal_size::{Height, Width, terminal_size_of};

use super::failure::Failure;

/// Standard output and standard error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// Standard output is a terminal: text can be redrawn in place.
    is_live: bool,
    /// The same of standard error.
    is_error_live: bool,
    /// Colors on standard output.
    color: bool,
    /// Colors on standard error.
    error_color: bool,
}

impl Terminal {
    /// What this process has been given. `NO_COLOR` is honoured (<https://no-color.org>).
    #[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
    pub(super) fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_live = io::stdout().is_terminal();
        let is_error_live = io::stderr().is_terminal();
        Terminal {
            is_live,
            is_error_live,
            color: wanted && is_live,
            error_color: wanted && is_error_live,
        }
    }

    /// Can text be redrawn in place?
    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Can text on standard error be redrawn in place?
    pub(super) fn is_error_live(&self) -> bool {
        self.is_error_live
    }

    /// May standard output have colors?
    pub(super) fn color(&self) -> bool {
        self.color
    }

    /// May standard error have colors?
    pub(super) fn error_color(&self) -> bool {
        self.error_color
    }

    /// Columns and lines, if standard output is a terminal.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        let (Width(columns), Height(lines)) = terminal_size_of(io::stdout())?;
        self.is_live.then_some((columns, lines))
    }

    /// Writes to standard output at once.
    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// Writes to standard error. If that is gone, there is nobody left to tell.
    pub(super) fn complain(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// `error`, in red where that is possible.
    pub(super) fn error_label(&self) -> &'static str {
        if self.error_color { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" }
    }
}
