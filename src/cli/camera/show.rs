//! `crrd camera show`: what a camera has to set, with limits and values of now.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;

use super::which::place;
use crate::capture::gige::{self, Bounds};
use crate::capture::v4l2::{self, ControlState, Description, device::ControlKind};
use crate::config::{self, CameraSource};

/// Shows what a camera has to set, with limits and values
///
/// Features of a GigE Vision or USB3 Vision camera; formats, sizes, rates and controls of a video
/// node. Reads only: the camera may belong to another program meanwhile.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The camera: a name as `crrd camera list` shows it, its address, or a video node (/dev/video0)
    #[arg(value_name = "DEVICE", required_unless_present = "config")]
    device: Option<String>,
    /// Instead of DEVICE: the camera of this configuration
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    config: Option<PathBuf>,
    /// Which of several cameras of the configuration, by its name
    #[arg(long, value_name = "NAME", requires = "config")]
    camera: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What has no value but can be run.
const COMMAND: &str = "a command";
/// The largest numbers of 64 bits, whole or not, begin here.
const UNLIMITED: f64 = 9e18;

/// What a camera said of itself.
#[derive(Debug, Default, Serialize)]
struct Shown {
    camera: String,
    /// Of a video node; features of other cameras say it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    formats: Vec<Format>,
    settings: Vec<Setting>,
}

/// A pixel format.
#[derive(Debug, Serialize)]
struct Format {
    /// Its name in the configuration; none when a station does not take it.
    pixel_format: Option<&'static str>,
    /// The kernel's code.
    code: String,
    /// Sizes with their rates.
    sizes: Vec<String>,
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
        (Some(device), _) => named(device)?,
        (None, Some(file)) => {
            let config = config::load(file)?;
            let camera = &config.cameras[place(&config, args.camera.as_deref())?];
            match &camera.source {
                CameraSource::Replay(replay) => {
                    let (name, folder) = (&camera.name, replay.folder.display());
                    bail!("camera {name} replays {folder}: files have no settings")
                }
                CameraSource::Gige(gige) => genicam(&gige.device)?,
                CameraSource::V4l2(v4l2) => video(&v4l2.device)?,
                CameraSource::Webcam(webcam) => {
                    video(Path::new(&format!("/dev/video{}", webcam.index)))?
                }
            }
        }
        (None, None) => bail!("name a camera: DEVICE or --config FILE"),
    };
    match args.json {
        true => println!("{}", serde_json::to_string(&shown)?),
        false => print!("{}", shown.text()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A path is a video node; everything else is the name of a GenICam camera.
fn named(device: &str) -> Result<Shown> {
    match device.starts_with('/') {
        true => video(Path::new(device)),
        false => genicam(device),
    }
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
    Ok(Shown { camera: identity.to_string(), formats: vec![], settings: settings.collect() })
}

fn limits(bounds: Option<Bounds>, unit: &str) -> String {
    let range = bounds.map_or_else(String::new, |Bounds { min, max, increment }| {
        let step = increment.map_or_else(String::new, |step| format!(", step {step}"));
        // What a camera answers that knows no limit is none.
        match (min > -UNLIMITED, max < UNLIMITED) {
            (true, true) => format!("{min} to {max}{step}"),
            (true, false) => format!("from {min} on{step}"),
            (false, true) => format!("up to {max}{step}"),
            (false, false) => String::new(),
        }
    });
    [range.as_str(), unit].join(" ").trim().to_owned()
}

fn video(path: &Path) -> Result<Shown> {
    Ok(of_node(path, v4l2::show(path)?))
}

fn of_node(path: &Path, node: Description) -> Shown {
    let Description { card, formats, controls } = node;
    let pictures = if card.captures { "" } else { ", delivers no pictures" };
    let path = path.display();
    let camera =
        format!("{} at {path} (driver {}, {}{pictures})", card.name, card.driver, card.bus);
    let formats = formats.into_iter().map(|format| Format {
        pixel_format: format.format.map(|known| known.name()),
        code: format.code.to_string(),
        sizes: format.sizes,
    });
    let settings = controls.into_iter().map(|control| Setting {
        kind: kind(&control),
        name: control.key,
        value: control.value,
        limits: control.limits,
        choices: control.choices,
    });
    Shown { camera, formats: formats.collect(), settings: settings.collect() }
}

fn kind(control: &ControlState) -> String {
    let kind = match control.kind {
        ControlKind::Integer | ControlKind::Integer64 | ControlKind::IntegerMenu => {
            "a whole number"
        }
        ControlKind::Boolean => "true or false",
        ControlKind::Menu => "one of its words",
        ControlKind::Bitmask => "bits",
        ControlKind::Button => COMMAND,
        ControlKind::Other => "of another kind",
    };
    let note = match (control.read_only, control.inactive) {
        (true, _) => ", for reading only",
        (false, true) => ", without effect while another control is automatic",
        (false, false) => "",
    };
    format!("{kind}{note}")
}

impl Shown {
    fn text(&self) -> String {
        let mut out = format!("{}\n", self.camera);
        for Format { pixel_format, code, sizes } in &self.formats {
            match pixel_format {
                Some(name) => {
                    out += &format!("pixel_format {name} ({code})\n");
                    sizes.iter().for_each(|size| out += &format!("    {size}\n"));
                }
                None => out += &format!("pixel format {code}: of no use to a station\n"),
            }
        }
        for Setting { name, kind, value, limits, choices } in &self.settings {
            out += &match value {
                Some(value) => format!("{name} = {value}  [{kind}]"),
                None if kind == COMMAND => format!("{name}  [{kind}]"),
                None => format!("{name} = (not readable now)  [{kind}]"),
            };
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
    use crate::capture::v4l2::{FormatState, FourCc, device::Card};
    use crate::frame::PixelFormat;

    #[test]
    fn a_feature_is_one_line_with_value_limits_and_words() {
        let bounds = Some(Bounds { min: 10.0, max: 1e6, increment: Some(1.0) });
        assert_eq!(limits(bounds, "us"), "10 to 1000000, step 1 us");
        let open = |min, max| limits(Some(Bounds { min, max, increment: Some(1.0) }), "");
        assert_eq!(open(0.0, i64::MAX as f64), "from 0 on, step 1");
        assert_eq!(open(-f64::MAX, 5.0), "up to 5, step 1");
        assert_eq!(open(-f64::MAX, f64::MAX), "");
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
            Setting {
                kind: COMMAND.to_owned(),
                limits: String::new(),
                ..setting("Start", None, &[])
            },
        ];
        let text = Shown { camera: "Maker Model 77".to_owned(), formats: vec![], settings }.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Maker Model 77");
        assert_eq!(lines[1], "ExposureTime = 500  [a number]  10 to 1000000, step 1 us");
        assert!(lines[2].starts_with("TriggerMode = (not readable now)"), "{text}");
        assert!(lines[2].ends_with("{Off | On}"), "{text}");
        assert_eq!(lines[3], "Start  [a command]");
    }

    #[test]
    fn a_video_node_shows_what_to_write_into_its_table() {
        let [driver, name, bus] = ["uvcvideo", "Camera 1", "usb-1"].map(str::to_owned);
        let card = Card { driver, name, bus, captures: true, streams: true };
        let format = |format: Option<PixelFormat>, code: &[u8; 4], sizes: &[&str]| FormatState {
            code: FourCc(u32::from_le_bytes(*code)),
            format,
            sizes: sizes.iter().map(|size| (*size).to_owned()).collect(),
        };
        let formats = vec![
            format(Some(PixelFormat::Yuyv), b"YUYV", &["640x480 at 15, 30 Hz"]),
            format(None, b"pRAA", &[]),
        ];
        let control = ControlState {
            key: "auto_exposure".to_owned(),
            kind: ControlKind::Menu,
            value: Some("Manual Mode".to_owned()),
            limits: String::new(),
            choices: vec!["Manual Mode".to_owned(), "Aperture Priority Mode".to_owned()],
            inactive: false,
            read_only: false,
        };
        let exposure = ControlState {
            key: "exposure_time_absolute".to_owned(),
            kind: ControlKind::Integer,
            value: Some("20".to_owned()),
            limits: "1 to 5000, step 1, default 157".to_owned(),
            choices: vec![],
            inactive: true,
            read_only: false,
        };
        let node = Description { card, formats, controls: vec![control, exposure] };
        let text = of_node(Path::new("/dev/video0"), node).text();
        let expected = "Camera 1 at /dev/video0 (driver uvcvideo, usb-1)\n\
             pixel_format YUYV (YUYV)\n    640x480 at 15, 30 Hz\n\
             pixel format pRAA: of no use to a station\n\
             auto_exposure = Manual Mode  [one of its words]  {Manual Mode | Aperture Priority Mode}\n\
             exposure_time_absolute = 20  [a whole number, without effect while another control is \
             automatic]  1 to 5000, step 1, default 157\n";
        assert_eq!(text, expected);
    }
}
