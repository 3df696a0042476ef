//! The station's program: log, arguments, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use crrd::cli::Cli;
use crrd::engine;
use crrd::sys::log::{self, LogSettings};
use crrd::sys::shutdown;

/// Exit code of an error, as for wrong arguments: 1 is a command's own "no" (a rejected part, a
/// class without a limit).
const EXIT_ERROR: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(e) = log::init(LogSettings::default()) {
        eprintln!("error: {e}");
        return ExitCode::from(EXIT_ERROR);
    }
    let code = cli.run().unwrap_or_else(|e| {
        // `{:#}` prints the chain of causes once, on one line.
        eprintln!("error: {e:#}");
        ExitCode::from(EXIT_ERROR)
    });
    shutdown::leave(code, engine::in_use())
}
