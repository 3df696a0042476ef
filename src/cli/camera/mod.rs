//! `crrd camera`: a camera looked at by itself, before a station depends on it. The station that
//! uses the camera must not run meanwhile.

mod focus;
mod known;
mod list;
mod session;
mod show;
mod snapshot;
mod test;
mod which;

use std::process::ExitCode;

use anyhow::Result;

/// Looks at cameras: what is there, its settings, pictures, rate and losses, focus and exposure
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Test(test::Args),
    Snapshot(snapshot::Args),
    Focus(focus::Args),
}

/// Runs the chosen command.
///
/// # Errors
/// When the configuration or the camera cannot be used.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Test(args) => test::run(args),
        Command::Snapshot(args) => snapshot::run(args),
        Command::Focus(args) => focus::run(args),
    }
}
