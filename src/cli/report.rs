//! `stickler report`: shows a report that was saved as JSON, in any of its forms.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::terminal::Terminal;
use crate::lab::report::Report;

const EXAMPLES: &str = "\
Examples:
  stickler report suite.json
  stickler report suite.json --html suite.html --markdown suite.md";

/// Show a saved report of `stickler bench`, or write it in another form
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What `--json` wrote
    file: PathBuf,
    #[command(flatten)]
    outputs: Outputs,
}

/// Where a report goes besides the terminal.
#[derive(Debug, clap::Args)]
pub(super) struct Outputs {
    /// Write the figures as JSON, too; `stickler report FILE` makes tables and the verdict of them
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one HTML page with charts, which needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the tables and the verdict as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Outputs {
    /// Can all files be written? Better asked before a long measurement than after it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for path in [&self.json, &self.html, &self.markdown].into_iter().flatten() {
            let opened = fs::OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
    }

    /// Writes the files, and prints the rest.
    pub(super) fn write(&self, report: &Report, terminal: &Terminal) -> Result<(), Failure> {
        if let Some(path) = &self.json {
            save(path, &report.to_json().map_err(Failure::failed)?)?;
        }
        if let Some(path) = &self.html {
            save(path, &report.to_html())?;
        }
        if let Some(path) = &self.markdown {
            save(path, &report.to_markdown())?;
        }
        terminal.print(&report.to_text())
    }
}

fn save(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Mistake(format!("cannot write {}: {error}", path.display()))
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let about = |error: &dyn std::fmt::Display| {
        Failure::Mistake(format!("{} is no report: {error}", args.file.display()))
    };
    let json = fs::read_to_string(&args.file).map_err(|error| about(&error))?;
    let report = Report::from_json(&json).map_err(|error| about(&error))?;
    args.outputs.write(&report, terminal)
}
