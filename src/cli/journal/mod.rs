//! `crrd journal`: a look into a station's journal, also while the station runs. Read only: no
//! lock is taken, nothing is written there, the writer is never held up.
//!
//! Exit codes: 0 as it should be, 1 `check` found something wrong, 2 the journal cannot be read.

mod check;
mod dump;
mod export;
mod range;
mod rows;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::config;
use crate::journal::View;

/// Looks into the journal of a station; also while it runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Dump(dump::Args),
    Stats(stats::Args),
    Export(export::Args),
}

/// Which journal.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// The station's state folder
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state_dir: Option<PathBuf>,
    /// The station's configuration file, which names it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> Result<View> {
        let dir = match (&self.state_dir, &self.config) {
            (Some(dir), _) => dir.clone(),
            (None, Some(file)) => config::load(file)?.state_dir,
            (None, None) => bail!("name the journal: --state-dir DIR or --config FILE"),
        };
        Ok(View::open(&dir)?)
    }
}

/// Runs the chosen command.
///
/// # Errors
/// When the journal cannot be read or the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Export(args) => export::run(args),
    }
}
