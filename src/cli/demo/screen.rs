//! How the demo shows its figures: redrawn in place on a terminal, as lines on a pipe, or not.

use std::time::Duration;

use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;
use crate::lab::board::{Frame, render};

/// Where frames go.
pub(super) struct Screen {
    terminal: Terminal,
    mode: Mode,
}

enum Mode {
    /// A table that is redrawn; so many lines of it are on the screen.
    Table { drawn: usize },
    /// Plain lines.
    Lines,
    /// Nothing at all.
    Quiet,
}

impl Screen {
    /// The best that the terminal allows and the user wants.
    pub(super) fn new(terminal: Terminal, quiet: bool) -> Self {
        let mode = match (quiet, terminal.is_live()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Table { drawn: 0 },
            (false, false) => Mode::Lines,
        };
        Screen { terminal, mode }
    }

    /// How often to show a frame.
    pub(super) fn period(&self) -> Duration {
        match self.mode {
            Mode::Table { .. } => Duration::from_millis(250),
            Mode::Lines => Duration::from_secs(2),
            Mode::Quiet => Duration::from_millis(500),
        }
    }

    /// Shows a frame.
    pub(super) fn show(&mut self, frame: &Frame) -> Result<(), Failure> {
        match &mut self.mode {
            Mode::Table { drawn } => {
                let size = self.terminal.size();
                let table =
                    render::table(frame, self.terminal.color(), size.map(|(columns, _)| columns));
                let lines = table.lines().count();
                if size.is_some_and(|(_, height)| lines >= usize::from(height)) {
                    // What has left the screen cannot be drawn over.
                    self.mode = Mode::Lines;
                    return self.show(frame);
                }
                let text = format!("{}{}", above(*drawn), overwriting(&table));
                *drawn = lines;
                self.terminal.print(&text)
            }
            Mode::Lines => self.terminal.print(&render::lines(frame)),
            Mode::Quiet => Ok(()),
        }
    }

    /// Shows text that stays, above the table if there is one.
    pub(super) fn note(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.mode {
            Mode::Table { drawn } => {
                let text = format!("{}{}\n", above(*drawn), overwriting(text));
                *drawn = 0;
                self.terminal.print(&text)
            }
            Mode::Lines => self.terminal.print(&format!("{text}\n")),
            Mode::Quiet => Ok(()),
        }
    }

    /// What stands between the frames and the summary.
    pub(super) fn separator(&self) -> &'static str {
        match self.mode {
            Mode::Quiet => "",
            Mode::Table { .. } | Mode::Lines => "\n",
        }
    }
}

/// Moves the cursor to the beginning of the line that is so many lines above.
fn above(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\u{1b}[{lines}F") }
}

/// Lines over lines that may be longer, and nothing below them. Erasing the screen first would
/// flicker.
fn overwriting(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\u{1b}[K\n")).collect();
    format!("{lines}\u{1b}[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_drawn_over_the_last_one() {
        assert_eq!(above(0), "");
        assert_eq!(above(3), "\u{1b}[3F");
        assert_eq!(overwriting("a\nb\n"), "a\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
    }
}
