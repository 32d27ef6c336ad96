//! `stickler check`: look for mistakes in configuration files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::failure::Failure;
use super::terminal::Terminal;
use crate::config::{Config, ConfigError, Loaded, Mistake};

const EXAMPLES: &str = "\
Examples:
  stickler check stickler.toml
  stickler check --quiet config/*.toml
  stickler check --json stickler.toml | jq .mistakes

Exits with 2 if there is a mistake in any of the files. Warnings are no mistakes.";

/// Look for mistakes in configuration files
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configurations, TOML files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say nothing about files without mistakes
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON object per file and line: file, ok, warnings, mistakes
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let mut all_good = true;
    for file in &args.files {
        let result = Config::load(file, &super::environment);
        all_good &= result.is_ok();
        let reported = match args.json {
            true => terminal.print(&format!("{}\n", as_json(file, &result))),
            false => report(file, &result, args.quiet, terminal),
        };
        match reported {
            // The exit code still says what the reader did not wait for.
            Ok(()) | Err(Failure::ReaderLeft) => {}
            Err(failure) => return Err(failure),
        }
    }
    if all_good { Ok(()) } else { Err(Failure::Explained) }
}

fn report(
    file: &Path,
    result: &Result<Loaded, ConfigError>,
    quiet: bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let file = file.display();
    match result {
        Ok(_) if quiet => Ok(()),
        Ok(Loaded { config, warnings }) => {
            for warning in warnings {
                terminal.complain(&format!("{}\n\n", warning.render(terminal.error_color())));
            }
            terminal.print(&format!("{file} is fine\n\n{config}"))
        }
        Err(error) => {
            let (explanation, n) = (error.render(terminal.error_color()), error.mistakes().len());
            let plural = if n == 1 { "" } else { "s" };
            terminal.complain(&format!("{explanation}\n\n{file} has {n} mistake{plural}\n"));
            Ok(())
        }
    }
}

fn as_json(file: &Path, result: &Result<Loaded, ConfigError>) -> Value {
    let (warnings, mistakes) = match result {
        Ok(loaded) => (&loaded.warnings[..], &[][..]),
        Err(error) => (&[][..], error.mistakes()),
    };
    let list = |mistakes: &[Mistake]| mistakes.iter().map(mistake).collect::<Value>();
    json!({
        "file": file.display().to_string(),
        "ok": result.is_ok(),
        "warnings": list(warnings),
        "mistakes": list(mistakes),
    })
}

fn mistake(mistake: &Mistake) -> Value {
    let (line, column) = mistake.position().unzip();
    json!({
        "line": line,
        "column": column,
        "message": mistake.title(),
        "label": mistake.explanation(),
        "help": mistake.advice(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_where_each_mistake_is() {
        let parse = |text| Config::parse("a.toml", text, Path::new("."), &|_| None);
        let bad =
            as_json(Path::new("a.toml"), &parse("listeners = 1\n[pools.shop]\nbalance = \"x\"\n"));
        assert_eq!((&bad["file"], &bad["ok"]), (&json!("a.toml"), &json!(false)));
        let lines: Vec<_> =
            bad["mistakes"].as_array().unwrap().iter().map(|m| &m["line"]).collect();
        assert!(lines.contains(&&json!(1)) && lines.contains(&&json!(3)), "{bad}");
        let balance = bad["mistakes"].as_array().unwrap().iter().find(|m| m["line"] == 3).unwrap();
        assert!(balance["help"].as_str().unwrap().contains("round_robin"), "{balance}");
        assert_eq!(balance["label"], "there is no such value");
        let good = "[[listeners]]\naddress = \":80\"\n[[pools.p.backends]]\nname = \"a\"\naddress = \"a:1\"\n";
        let good = as_json(Path::new("a.toml"), &parse(good));
        assert_eq!((&good["ok"], &good["mistakes"]), (&json!(true), &json!([])));
    }
}
