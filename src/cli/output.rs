//! Results in files, and on standard output.

use std::path::Path;

use serde_json::Value;

use super::failure::Failure;
use super::terminal::Terminal;

/// Writes a text to a file.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let about = |error| Failure::Failed(format!("cannot write {}: {error}", file.display()));
    std::fs::write(file, text).map_err(about)
}

/// Writes JSON to a file, if one is given, and `text` to standard output; JSON instead of it if the
/// file is `-`.
pub(super) fn json_or(
    file: Option<&Path>,
    value: &Value,
    terminal: &Terminal,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let json = || format!("{value:#}\n");
    match file {
        Some(file) if file.as_os_str() == "-" => return terminal.print(&json()),
        Some(file) => write(file, &json())?,
        None => {}
    }
    terminal.print(&text())
}
