//! `crrd camera show`: what a camera has to set, with limits and values of now.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::capture::gige::{self, Bounds};
use crate::config::{self, CameraSource};

/// What is done about video nodes, whose settings other tools show.
const VIDEO: &str = "formats and controls of a video node are shown by `v4l2-ctl \
                     --list-formats-ext --list-ctrls-menus -d DEVICE` (package v4l-utils)";

/// Shows the features of a GigE Vision or USB3 Vision camera with their limits and values
///
/// Reads only: the camera may belong to another program meanwhile.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The camera: a name as `crrd camera list` shows it, or its address
    #[arg(value_name = "DEVICE", required_unless_present = "config")]
    device: Option<String>,
    /// Instead of DEVICE: the camera of this configuration; of several, the first
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    config: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What a camera said of itself.
#[derive(Debug, Default, Serialize)]
struct Shown {
    camera: String,
    settings: Vec<Setting>,
}

/// Something to set.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    kind: String,
    value: Option<String>,
    /// Limits, step, unit, default.
    limits: String,
    /// Words or choices.
    choices: Vec<String>,
}

/// # Errors
/// When the camera does not answer or is none that has settings.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let shown = match (&args.device, &args.config) {
        (Some(device), _) if device.starts_with("/dev/") => bail!("{device}: {VIDEO}"),
        (Some(device), _) => genicam(device)?,
        (None, Some(file)) => {
            let source = config::load(file)?.camera().source.clone();
            if let CameraSource::Replay(replay) = &source {
                let folder = replay.folder.display();
                bail!("the configured camera replays {folder}: files have no settings");
            }
            let CameraSource::Gige(gige) = source else { bail!("the configured camera: {VIDEO}") };
            genicam(&gige.device)?
        }
        (None, None) => bail!("name a camera: DEVICE or --config FILE"),
    };
    match args.json {
        true => println!("{}", serde_json::to_string(&shown)?),
        false => print!("{}", shown.text()),
    }
    Ok(ExitCode::SUCCESS)
}

fn genicam(device: &str) -> Result<Shown> {
    let (identity, features) = gige::features(device)?;
    let settings = features.into_iter().map(|feature| Setting {
        name: feature.name,
        kind: feature.kind.to_string(),
        value: feature.value,
        limits: limits(feature.bounds, feature.unit.as_deref().unwrap_or("")),
        choices: feature.entries,
    });
    Ok(Shown { camera: identity.to_string(), settings: settings.collect() })
}

fn limits(bounds: Option<Bounds>, unit: &str) -> String {
    let range = bounds.map_or_else(String::new, |Bounds { min, max, increment }| {
        let step = increment.map_or_else(String::new, |step| format!(", step {step}"));
        format!("{min} to {max}{step}")
    });
    [range.as_str(), unit].join(" ").trim().to_owned()
}

impl Shown {
    fn text(&self) -> String {
        let mut out = format!("{}\n", self.camera);
        for Setting { name, kind, value, limits, choices } in &self.settings {
            let value = value.as_deref().unwrap_or("(not readable now)");
            out += &format!("{name} = {value}  [{kind}]");
            if !limits.is_empty() {
                out += &format!("  {limits}");
            }
            if !choices.is_empty() {
                out += &format!("  {{{}}}", choices.join(" | "));
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_one_line_with_value_limits_and_words() {
        let bounds = Some(Bounds { min: 10.0, max: 1e6, increment: Some(1.0) });
        assert_eq!(limits(bounds, "us"), "10 to 1000000, step 1 us");
        assert_eq!((limits(None, "dB"), limits(None, "")), ("dB".to_owned(), String::new()));
        let setting = |name: &str, value: Option<&str>, choices: &[&str]| Setting {
            name: name.to_owned(),
            kind: "a number".to_owned(),
            value: value.map(str::to_owned),
            limits: limits(bounds, "us"),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
        };
        let settings = vec![
            setting("ExposureTime", Some("500"), &[]),
            setting("TriggerMode", None, &["Off", "On"]),
        ];
        let text = Shown { camera: "Maker Model 77".to_owned(), settings }.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Maker Model 77");
        assert_eq!(lines[1], "ExposureTime = 500  [a number]  10 to 1000000, step 1 us");
        assert!(lines[2].starts_with("TriggerMode = (not readable now)"), "{text}");
        assert!(lines[2].ends_with("{Off | On}"), "{text}");
    }
}
