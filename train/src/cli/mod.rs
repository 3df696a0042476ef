//! The command line: one file a subcommand.

mod check;
mod fit;
mod import_encoder;

use clap::{Parser, Subcommand};

/// Trains anomaly-detection models on pictures of good parts.
#[derive(Debug, Parser)]
#[command(name = "crrd-train", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at a data set before training: what is there, what twice, what looks odd.
    Check(check::Args),
    /// Train a model on a folder of good parts and write an engine bundle.
    Fit(fit::Args),
    /// Convert a published encoder to the file that `fit` reads.
    ImportEncoder(import_encoder::Args),
}

impl Cli {
    /// Runs the chosen subcommand.
    ///
    /// # Errors
    /// Whatever made it fail, as a chain from what to why.
    pub fn run(self) -> anyhow::Result<std::process::ExitCode> {
        match self.command {
            Command::Check(args) => check::run(&args),
            Command::Fit(args) => fit::run(args),
            Command::ImportEncoder(args) => import_encoder::run(&args),
        }
    }
}
