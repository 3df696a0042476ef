//! `crrd doctor`: what is wrong with the outside world, in one sentence and with the remedy.

mod examine;
mod finding;
mod reach;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

pub(super) use examine::{Depth, Subject, examine};
pub use finding::{Code, Finding};

use crate::config;

/// Finds out why something outside the station does not work.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    Mqtt(MqttArgs),
}

/// Connects to the broker like the station and says in one sentence what is wrong.
///
/// It uses the client id of the station with "-doctor" behind it, so that a running station keeps
/// its connection, and sends on a topic of its own, PREFIX/STATION/doctor.
#[derive(Clone, Debug, clap::Args)]
struct MqttArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Use the station's own client id, to find out whether another client has it too. Stop the
    /// station first.
    #[arg(long)]
    as_station: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the finding; exit code 0 when all is well, else 1.
///
/// # Errors
/// When the configuration cannot be used.
pub fn run(args: &Args) -> Result<ExitCode> {
    let What::Mqtt(args) = &args.what;
    let config = config::load(&args.config)?;
    let id = &config.mqtt.client_id;
    let client_id = if args.as_station { id.clone() } else { format!("{id}-doctor") };
    let depth = if args.as_station { Depth::Takeover } else { Depth::Topics };
    let subject = Subject { mqtt: &config.mqtt, station: &config.station, client_id };
    let finding = examine(&subject, depth);
    if args.json {
        println!("{}", finding.to_json(&config.mqtt));
    } else {
        println!("{finding}");
    }
    Ok(if finding.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
