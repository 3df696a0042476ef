//! Which camera a command looks at.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::config::{self, Camera, Recipe, ValidConfig};
use crate::frame::CameraId;

/// The camera of a command that needs one that is set up.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which of several cameras of the configuration, by its name
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
}

/// A camera as the station would open it.
pub(super) struct Chosen {
    pub(super) camera: Camera,
    pub(super) id: CameraId,
    pub(super) recipes: Vec<Recipe>,
    /// Pictures that the station lets wait.
    pub(super) queue_frames: usize,
}

impl Which {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When it cannot be read, or it is not clear which of its cameras is meant.
    pub(super) fn chosen(&self) -> Result<Chosen> {
        let config = config::load(&self.config)?;
        let at = place(&config, self.camera.as_deref())?;
        Ok(Chosen {
            camera: config.cameras[at].clone(),
            id: CameraId(at as u16),
            queue_frames: config.limits.queue_frames,
            recipes: config.recipes,
        })
    }
}

/// The place of the camera called `name`, or of the only one.
///
/// # Errors
/// When no camera has that name, or there are several and none was named.
pub(super) fn place(config: &ValidConfig, name: Option<&str>) -> Result<usize> {
    let names: Vec<&str> = config.cameras.iter().map(|camera| camera.name.as_str()).collect();
    let all = names.join(", ");
    match name {
        Some(name) => match names.iter().position(|known| *known == name) {
            Some(at) => Ok(at),
            None => bail!("there is no camera {name:?}: the configuration has {all}"),
        },
        None if names.len() > 1 => {
            bail!("the configuration has {} cameras: name one by --camera: {all}", names.len())
        }
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn one_of_several_is_named_and_the_only_one_need_not_be() {
        let read = |cameras: &str| {
            let text = format!(
                "station = \"a\"\nengine = \"e\"\ncalibration = \"c\"\n[[recipe]]\nid = 1\n\
                 class = \"steel\"\n{cameras}"
            );
            config::parse(Path::new("/etc/crrd.toml"), &text).unwrap()
        };
        let only = read("[camera]\nfolder = \"p\"");
        assert_eq!(place(&only, None).unwrap(), 0);
        assert_eq!(place(&only, Some("camera")).unwrap(), 0);
        let said = place(&only, Some("top")).unwrap_err().to_string();
        assert!(said.contains("\"top\"") && said.contains("has camera"), "{said}");
        let two = read(
            "[[camera]]\nname = \"top\"\nfolder = \"p\"\n[[camera]]\nname = \"side\"\n\
             folder = \"q\"",
        );
        assert_eq!(place(&two, Some("side")).unwrap(), 1);
        let said = place(&two, None).unwrap_err().to_string();
        assert!(said.contains("2 cameras") && said.contains("top, side"), "{said}");
    }
}
