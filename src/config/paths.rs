//! Whether the files and folders that a configuration names are there.

use std::path::Path;

use super::camera::CameraSource;
use super::problem::Problem;
use super::types::{CalibrationSource, EngineSource, Password, ValidConfig};
use super::validate::Lines;

/// A problem for each path that is missing or of the wrong kind. The state folder is not among
/// them: the station makes it.
pub(super) fn problems(config: &ValidConfig, lines: &Lines) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |field: &str, path: &Path, wanted: Wanted, remedy: &str| {
        if let Some(what) = wanted.missing(path) {
            problems.push(Problem {
                file: config.file.clone(),
                line: lines.get(field).copied(),
                field: field.to_owned(),
                value: Some(format!("{:?}", path.display().to_string())),
                what,
                remedy: remedy.to_owned(),
            });
        }
    };
    if let EngineSource::Folder(path) = &config.engine {
        check("engine", path, Wanted::Folder, "name the bundle folder that training wrote");
    }
    if let CalibrationSource::File(path) = &config.calibration {
        check("calibration", path, Wanted::File, "make it with `crrd calibrate`");
    }
    for (i, camera) in config.cameras.iter().enumerate() {
        let place = |name: &str| {
            let listed = format!("camera[{i}].{name}");
            if lines.contains_key(&listed) { listed } else { format!("camera.{name}") }
        };
        if let CameraSource::Replay(replay) = &camera.source {
            let remedy = "name the folder of pictures";
            check(&place("folder"), &replay.folder, Wanted::Folder, remedy);
            if let Some(script) = &replay.faults {
                let remedy = "write the fault script, or remove it";
                check(&place("faults"), script, Wanted::File, remedy);
            }
        }
    }
    if let Some(Password::File(path)) = &config.mqtt.password {
        check("mqtt.password_file", path, Wanted::File, "write the password into it");
    }
    if let Some(tls) = &config.mqtt.tls {
        let remedy = "copy the authority's certificate there";
        check("mqtt.ca_file", &tls.ca_file, Wanted::File, remedy);
        if let Some((cert, key)) = &tls.client {
            let remedy = "copy the station's certificate there";
            check("mqtt.client_cert_file", cert, Wanted::File, remedy);
            check("mqtt.client_key_file", key, Wanted::File, "copy the station's key there");
        }
    }
    let mirror = config.sparkplug.as_ref().map(|sparkplug| &sparkplug.broker);
    let own = mirror.filter(|broker| broker.password != config.mqtt.password);
    if let Some(Password::File(path)) = own.and_then(|broker| broker.password.as_ref()) {
        check("sparkplug.password_file", path, Wanted::File, "write the password into it");
    }
    problems
}

#[derive(Clone, Copy)]
enum Wanted {
    File,
    Folder,
}

impl Wanted {
    fn missing(self, path: &Path) -> Option<String> {
        let (name, right) = match self {
            Wanted::File => ("file", std::fs::metadata(path).map(|m| m.is_file())),
            Wanted::Folder => ("folder", std::fs::metadata(path).map(|m| m.is_dir())),
        };
        match right {
            Ok(true) => None,
            Ok(false) => Some(format!("this is not a {name}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("there is no such {name}"))
            }
            Err(error) => Some(format!("this {name} cannot be reached ({error})")),
        }
    }
}
