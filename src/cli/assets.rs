//! From what the configuration names to what the station takes: the engine bundle, the
//! calibration, the password. Shared by `run`, `check` and the tools, so that
//! `check` proves what `run` will do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::calibrate::Calibration;
use crate::config::{
    BackendChoice, CalibrationSource, EngineSource, Mqtt, MqttVersion, Password, ValidConfig,
};
use crate::engine::bundle::{BundleSource, EmbeddedBundle};
use crate::engine::{Backend, Gpu};
use crate::publish::{ClientFiles, Credentials, TlsFiles, Version};
use crate::sys::fs;

/// A calibration holds some thousand scores for each of a few classes.
const CALIBRATION_BYTES_MAX: u64 = 64 << 20;
/// MQTT carries a password of up to 65535 bytes; a longer file is a wrong file.
const PASSWORD_BYTES_MAX: u64 = 65_535;
/// Folder in the state folder for engines that were built for the GPU.
const PLANS_DIR: &str = "plans";
/// Where systemd puts the credentials of a service.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The engine of the demonstration: part of the program, so that it needs no files.
pub(super) const DEMO_ENGINE: EmbeddedBundle = EmbeddedBundle {
    name: "demo",
    manifest: include_str!("../../engines/demo/manifest.toml"),
    model: include_bytes!("../../engines/demo/model.onnx"),
    golden: include_bytes!("../../engines/demo/golden.safetensors"),
};

/// The limits of the demonstration, certified on rendered good parts.
pub(super) const DEMO_CALIBRATION: &str = include_str!("../../calibration/demo.toml");

/// Where the engine bundle lies.
pub(super) fn bundle_source(engine: &EngineSource) -> BundleSource {
    match engine {
        EngineSource::Folder(folder) => BundleSource::Dir(folder.clone()),
        EngineSource::Demo => BundleSource::Embedded(DEMO_ENGINE),
    }
}

/// What runs the model; engines that were built for the GPU lie beside the journal.
pub(super) fn backend(config: &ValidConfig) -> Backend {
    let gpu = || Gpu {
        library_dir: config.inference.library_dir.clone(),
        plans_dir: config.state_dir.join(PLANS_DIR),
        precision: config.inference.precision,
        raw_frames: config.inference.raw_frames,
    };
    match config.inference.backend {
        BackendChoice::Auto => Backend::Auto(gpu()),
        BackendChoice::Cpu => Backend::Cpu,
        BackendChoice::Ort => Backend::Ort,
        BackendChoice::TensorRt => Backend::TensorRt(gpu()),
    }
}

/// Reads the calibration and proves what it can prove about itself.
///
/// # Errors
/// When it cannot be read or is damaged; the message names the file.
pub(super) fn calibration(source: &CalibrationSource) -> Result<Calibration> {
    match source {
        CalibrationSource::File(file) => {
            let text = fs::read_text(file, CALIBRATION_BYTES_MAX)?;
            Calibration::from_toml(&text).with_context(|| format!("calibration {}", file.display()))
        }
        CalibrationSource::Demo => {
            Calibration::from_toml(DEMO_CALIBRATION).context("calibration `demo`")
        }
    }
}

/// User name and password, when the configuration has a user. The password is the first line of
/// its file or credential.
///
/// # Errors
/// When the password cannot be read; a missing secret must not become an anonymous login.
pub(super) fn credentials(mqtt: &Mqtt) -> Result<Option<Credentials>> {
    let folder = std::env::var_os(CREDENTIALS_VARIABLE).map(PathBuf::from);
    credentials_from(mqtt, folder.as_deref())
}

fn credentials_from(mqtt: &Mqtt, folder: Option<&Path>) -> Result<Option<Credentials>> {
    let Some(user) = mqtt.username.clone() else { return Ok(None) };
    let file = match &mqtt.password {
        None => return Ok(Some(Credentials { user, password: String::new() })),
        Some(Password::File(file)) => file.clone(),
        Some(Password::Credential(name)) => folder
            .with_context(|| {
                format!(
                    "mqtt.password_credential = {name:?}: no credentials were passed to this \
                     process; set LoadCredential={name}:FILE in the unit (systemd 247 or newer), \
                     or use password_file"
                )
            })?
            .join(name),
    };
    let remedy = "the password cannot be read; check password_file, or LoadCredential= of the unit";
    let text = fs::read_text(&file, PASSWORD_BYTES_MAX).context(remedy)?;
    let password = text.lines().next().unwrap_or_default().to_owned();
    anyhow::ensure!(
        !password.is_empty(),
        "{}: its first line, the password, is empty; {remedy}",
        file.display()
    );
    Ok(Some(Credentials { user, password }))
}

/// The files for TLS, when it is asked for.
pub(super) fn tls(mqtt: &Mqtt) -> Option<TlsFiles> {
    mqtt.tls.as_ref().map(|tls| TlsFiles {
        ca: tls.ca_file.clone(),
        client: tls.client.clone().map(|(cert, key)| ClientFiles { cert, key }),
    })
}

pub(super) fn version(mqtt: &Mqtt) -> Version {
    match mqtt.version {
        MqttVersion::V3_1_1 => Version::V3_1_1,
        MqttVersion::V5 => Version::V5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn parse(extra: &str) -> config::ValidConfig {
        let text = format!(
            "station = \"a\"\nengine = \"e\"\ncalibration = \"c\"\n\
             [[recipe]]\nid = 1\nclass = \"steel\"\n[[recipe]]\nid = 2\nclass = \"brass\"\n{extra}"
        );
        config::parse(Path::new("/etc/crrd.toml"), &text).unwrap()
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "geheim word \nsecond line\n").unwrap();
        let mut mqtt = parse("[camera]\nfolder = \"p\"\nrecipe = 1").mqtt;
        assert_eq!(credentials(&mqtt).unwrap(), None);
        mqtt.username = Some("crrd".into());
        assert_eq!(credentials(&mqtt).unwrap().unwrap().password, "");
        mqtt.password = Some(Password::File(file.clone()));
        let found = credentials(&mqtt).unwrap().unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("crrd", "geheim word "));
        assert!(!format!("{found:?}").contains("geheim"));
        std::fs::write(&file, "\nsecond line\n").unwrap();
        assert!(format!("{:#}", credentials(&mqtt).unwrap_err()).contains("first line"));
        std::fs::remove_file(&file).unwrap();
        assert!(format!("{:#}", credentials(&mqtt).unwrap_err()).contains("password"));
    }

    #[test]
    fn a_credential_that_was_not_passed_is_an_error_and_no_anonymous_login() {
        let dir = tempfile::tempdir().unwrap();
        let mut mqtt = parse("[camera]\nfolder = \"p\"\nrecipe = 1").mqtt;
        mqtt.username = Some("crrd".into());
        mqtt.password = Some(Password::Credential("mqtt-password".into()));
        let refused = |folder| format!("{:#}", credentials_from(&mqtt, folder).unwrap_err());
        assert!(refused(None).contains("LoadCredential=mqtt-password:FILE"));
        assert!(refused(Some(dir.path())).contains("mqtt-password"));
        std::fs::write(dir.path().join("mqtt-password"), "geheim").unwrap();
        let found = credentials_from(&mqtt, Some(dir.path())).unwrap().unwrap();
        assert_eq!(found.password, "geheim");
    }
}
