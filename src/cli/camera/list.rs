//! `crrd camera list`: what is plugged in, and what the configuration names.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::known::usb_mbit;
use crate::capture::gige;
use crate::config::{self, Camera, CameraSource};
use crate::sys::fs;

/// Where the kernel lists its video nodes.
const NODES: &str = "/sys/class/video4linux";
/// Longest text of the kernel about a device.
const SYSFS_BYTES_MAX: u64 = 4096;

/// Lists the cameras that the kernel and the network know
///
/// Video nodes (webcams and the like), and GigE Vision and USB3 Vision cameras where that is built in.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Also say whether the cameras of this configuration are among them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    cameras: Vec<Line>,
    /// What could not be looked at, and why.
    notes: Vec<String>,
    /// Those that the configuration names.
    configured: Vec<Configured>,
}

/// One camera.
#[derive(Debug, Serialize)]
struct Line {
    /// `gige` as in `kind`, or `video` for a node of the kernel.
    kind: &'static str,
    /// What to write into the configuration.
    device: String,
    /// For people.
    name: String,
    /// Where it is plugged in, what it sends.
    detail: String,
}

/// The camera that a configuration names.
#[derive(Debug, Serialize)]
struct Configured {
    /// What the configuration calls it.
    name: String,
    kind: &'static str,
    device: String,
    /// `None` for what is no device.
    found: Option<bool>,
}

/// # Errors
/// When the configuration cannot be read. A search that fails is a note.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut report = Report::default();
    video_nodes(Path::new(NODES), &mut report);
    let mut searched = true;
    match gige::discover() {
        Ok(found) => report.cameras.extend(found.into_iter().map(|f| Line {
            kind: "gige",
            device: f.id,
            name: format!("{} {} {}", f.vendor, f.model, f.serial),
            detail: format!("{} {}", f.protocol, f.address),
        })),
        Err(error) => {
            searched = false;
            report.notes.push(format!("{:#}", anyhow::Error::new(error)));
        }
    }
    if let Some(file) = &args.config {
        let config = config::load(file)?;
        let cameras = config.cameras.iter();
        let configured = cameras.map(|camera| configured(camera, &report.cameras, searched));
        report.configured = configured.collect();
    }
    match args.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", report.text()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The video nodes of the kernel; a camera may have several, of which the first shows pictures.
fn video_nodes(class: &Path, report: &mut Report) {
    let Ok(entries) = std::fs::read_dir(class) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("video")).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    for name in names {
        let said = |file: &str| {
            let text = fs::read_text(&class.join(&name).join(file), SYSFS_BYTES_MAX);
            text.map_or_else(|_| String::new(), |text| text.trim().to_owned())
        };
        let driver = std::fs::read_link(class.join(&name).join("device/driver"));
        let driver = driver.ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
        let usb = usb_mbit(&name).map_or_else(String::new, |mbit| format!(", USB {mbit} Mbit/s"));
        let driver = driver.unwrap_or_else(|| "unknown".to_owned());
        report.cameras.push(Line {
            kind: "video",
            device: format!("/dev/{name}"),
            name: said("name"),
            detail: format!("driver {driver}, node {} of its device{usb}", said("index")),
        });
    }
}

fn configured(camera: &Camera, cameras: &[Line], searched: bool) -> Configured {
    let name = camera.name.to_string();
    let among = |device: String| {
        let same = |line: &Line| line.device == device || mentions(line, &device);
        (cameras.iter().any(same), device)
    };
    let (kind, (found, device)) = match &camera.source {
        CameraSource::Replay(replay) => {
            let device = replay.folder.display().to_string();
            return Configured { name, kind: "replay", device, found: None };
        }
        CameraSource::Gige(gige) => {
            let (found, device) = among(gige.device.clone());
            if !searched {
                return Configured { name, kind: "gige", device, found: None };
            }
            // A search ends at the next router; a camera whose address is known may be behind it.
            let answers = |address| gige::identify(address).is_ok();
            let found = found || device.parse().is_ok_and(answers);
            ("gige", (found, device))
        }
        CameraSource::Webcam(webcam) => ("webcam", among(format!("/dev/video{}", webcam.index))),
        CameraSource::V4l2(v4l2) => {
            // A name that stays is a link to the node.
            let node = v4l2.device.canonicalize().unwrap_or_else(|_| v4l2.device.clone());
            let (found, _) = among(node.display().to_string());
            ("v4l2", (found, v4l2.device.display().to_string()))
        }
    };
    Configured { name, kind, device, found: Some(found) }
}

/// Whether a GenICam camera is called so: by its serial number or its address.
fn mentions(line: &Line, device: &str) -> bool {
    let mut words = line.name.split(' ').chain(line.detail.split(' '));
    line.kind == "gige" && words.any(|word| word == device)
}

impl Report {
    fn text(&self) -> String {
        let mut out = String::new();
        for Line { kind, device, name, detail } in &self.cameras {
            out += &format!("{kind:6}  {device}  {name}\n        {detail}\n");
        }
        if self.cameras.is_empty() {
            out += "no camera found\n";
        }
        for note in &self.notes {
            out += &format!("note    {note}\n");
        }
        for Configured { name, kind, device, found } in &self.configured {
            let word = match found {
                Some(true) => ", which is there",
                Some(false) => ", which was NOT found",
                None => "",
            };
            out += &format!("config  {name}: {kind} {device}{word}\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Line {
        Line {
            kind: "gige",
            device: "Maker-Model-77".to_owned(),
            name: "Maker Model 77".to_owned(),
            detail: "GigEVision 192.168.10.2".to_owned(),
        }
    }

    #[test]
    fn a_camera_is_found_by_its_id_its_serial_number_or_its_address() {
        let line = camera();
        assert!(mentions(&line, "77") && mentions(&line, "192.168.10.2"));
        assert!(!mentions(&line, "7") && !mentions(&line, "192.168.10.3"));
        let node = Line { kind: "video", ..camera() };
        assert!(!mentions(&node, "77"), "a video node is called by its path only");
    }

    #[test]
    fn a_missing_camera_is_said_loudly_and_an_empty_list_is_no_silence() {
        let mut report = Report { notes: vec!["not built in".to_owned()], ..Report::default() };
        let device = "192.168.10.9".to_owned();
        let name = "side".to_owned();
        report.configured = vec![Configured { name, kind: "gige", device, found: Some(false) }];
        let text = report.text();
        for says in [
            "no camera found",
            "note    not built in",
            "side: gige 192.168.10.9, which was NOT found",
        ] {
            assert!(text.contains(says), "{says:?} in {text}");
        }
        let mut none = Report::default();
        video_nodes(Path::new("/nonexistent"), &mut none);
        assert!(none.cameras.is_empty() && none.notes.is_empty());
    }

    #[test]
    fn video_nodes_are_listed_by_number_with_what_the_kernel_says() {
        let class = tempfile::tempdir().unwrap();
        for (name, index) in [("video10", "1"), ("video2", "0"), ("v4l-subdev0", "0")] {
            let node = class.path().join(name);
            std::fs::create_dir(&node).unwrap();
            std::fs::write(node.join("name"), format!("Camera of {name}\n")).unwrap();
            std::fs::write(node.join("index"), format!("{index}\n")).unwrap();
        }
        let mut report = Report::default();
        video_nodes(class.path(), &mut report);
        let devices: Vec<&str> = report.cameras.iter().map(|line| line.device.as_str()).collect();
        assert_eq!(devices, ["/dev/video2", "/dev/video10"]);
        assert_eq!(report.cameras[0].name, "Camera of video2");
        assert!(report.cameras[1].detail.contains("node 1 of its device"), "{report:?}");
    }
}
