//! `stickler schema`: the JSON Schema of the configuration file, for editors.

use super::failure::Failure;
use super::terminal::Terminal;
use crate::config;

const EXAMPLES: &str = "\
Examples:
  stickler schema > stickler.schema.json

Editors that use Taplo check and complete a configuration that begins with
  #:schema ./stickler.schema.json";

/// Print the JSON Schema of the configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, terminal: &Terminal) -> Result<(), Failure> {
    terminal.print(&format!("{:#}\n", config::schema()))
}
