//! The commands: one file a subcommand with its arguments and what it runs.

mod assets;
pub mod calibrate;
pub mod camera;
mod cameras;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod engine;
pub mod evaluate;
mod geometry;
mod inference;
pub mod inspect;
pub mod journal;
mod recording;
pub mod render;
pub mod replay;
pub mod run;
mod tiles;
mod workers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Visual inspection station: cameras, CRR anomaly detection, verdicts over MQTT.
#[derive(Debug, Parser)]
#[command(name = "crrd", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Inspect(inspect::Args),
    Calibrate(calibrate::Args),
    Evaluate(evaluate::Args),
    Engine(engine::Args),
    Journal(journal::Args),
    Camera(camera::Args),
    Replay(replay::Args),
    RenderParts(render::Args),
}

impl Cli {
    /// Runs the chosen command.
    ///
    /// # Errors
    /// When the command cannot do its work; the caller prints the chain of causes.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Demo(args) => demo::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Calibrate(args) => calibrate::run(&args),
            Command::Evaluate(args) => evaluate::run(&args),
            Command::Engine(args) => engine::run(&args),
            Command::Camera(args) => camera::run(&args),
            Command::Journal(args) => journal::run(&args),
            Command::Replay(args) => replay::run(&args),
            Command::RenderParts(args) => render::run(&args),
        }
    }
}
