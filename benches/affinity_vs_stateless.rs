//! The claims about stateful and stateless servers, measured quickly: the short form of
//! `stickler bench --suite stateful-vs-stateless`, which takes about a minute. Figures worth
//! keeping come from the long form; see `benches/cost-of-stickiness/run`.
#![allow(clippy::print_stderr, reason = "a bench talks to whoever runs it")]

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments = ["bench", "--suite", "stateful-vs-stateless", "--quick"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_stickler"));
    match command.args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run stickler: {error}");
            ExitCode::FAILURE
        }
    }
}
