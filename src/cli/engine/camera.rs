//! The frames of a camera, as arguments.

use anyhow::{Context, Result, bail};

use crate::engine::graph::CameraFrames;
use crate::frame::{Geometry, PixelFormat};

/// Frames that the model is to read as they lie in memory.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CameraArgs {
    /// Format of the frames, e.g. BayerRG8: the model reads them itself
    #[arg(long, value_name = "NAME", requires = "size")]
    format: Option<String>,
    /// Size of the frames in pixels, e.g. 1920x1200
    #[arg(long, value_name = "WxH", requires = "format")]
    size: Option<String>,
    /// Bytes from one row to the next, where rows are padded
    #[arg(long, value_name = "BYTES", requires = "format")]
    row_bytes: Option<usize>,
    /// Region that the model sees: left, top, width, height in pixels
    #[arg(long, value_name = "X,Y,W,H", requires = "format")]
    roi: Option<String>,
    /// Turned clockwise by 0, 90, 180 or 270 degrees
    #[arg(long, value_name = "DEGREES", default_value_t = 0, requires = "format")]
    rotate: u16,
    /// Mirrored, left to right, before it is turned
    #[arg(long, requires = "format")]
    mirror: bool,
}

impl CameraArgs {
    /// The frames, when there are any.
    ///
    /// # Errors
    /// When the arguments say something that cannot be; the message shows how to write it.
    pub(super) fn frames(&self) -> Result<Option<CameraFrames>> {
        let (Some(format), Some(size)) = (&self.format, &self.size) else { return Ok(None) };
        let Some(format) = PixelFormat::named(format) else {
            let all = PixelFormat::ALL.map(PixelFormat::name).join(", ");
            bail!("--format {format}: no such format; there are {all}")
        };
        let sides = numbers(size, 'x').filter(|n| n.len() == 2 && !n.contains(&0));
        let sides = sides.with_context(|| format!("--size {size}: write it as 1920x1200"))?;
        let region = |roi: &String| {
            let numbers = numbers(roi, ',').and_then(|n| <[u32; 4]>::try_from(n).ok());
            numbers.with_context(|| format!("--roi {roi}: write left,top,width,height in pixels"))
        };
        let roi = self.roi.as_ref().map(region).transpose()?;
        Ok(Some(CameraFrames {
            format,
            width: sides[0] as usize,
            height: sides[1] as usize,
            row_bytes: self.row_bytes,
            geometry: Geometry { roi, mirror: self.mirror, rotate: self.rotate, corners: None },
        }))
    }
}

/// The arguments that name these frames.
pub(super) fn words(frames: &CameraFrames) -> Vec<String> {
    let CameraFrames { format, width, height, geometry, .. } = frames;
    let mut words = vec!["--format".to_owned(), format.to_string()];
    words.extend(["--size".to_owned(), format!("{width}x{height}")]);
    let [_, _, row_bytes] = frames.shape();
    if row_bytes != format.row_bytes(*width) {
        words.extend(["--row-bytes".to_owned(), row_bytes.to_string()]);
    }
    if let Some([x, y, w, h]) = geometry.roi {
        words.extend(["--roi".to_owned(), format!("{x},{y},{w},{h}")]);
    }
    if geometry.rotate != 0 {
        words.extend(["--rotate".to_owned(), geometry.rotate.to_string()]);
    }
    if geometry.mirror {
        words.push("--mirror".to_owned());
    }
    words
}

fn numbers(text: &str, between: char) -> Option<Vec<u32>> {
    text.split(between).map(|n| n.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(size: &str, roi: &str, format: &str) -> Result<Option<CameraFrames>> {
        let some = |text: &str| Some(text.to_owned());
        let (format, size, roi) = (some(format), some(size), some(roi));
        CameraArgs { format, size, row_bytes: None, roi, rotate: 90, mirror: true }.frames()
    }

    #[test]
    fn frames_are_read_from_the_command_line_or_refused_with_an_example() {
        let got = camera("1920x1200", "10, 20,300,200", "bayerrg8").unwrap().unwrap();
        assert_eq!((got.format, got.shape()), (PixelFormat::BayerRG8, [1, 1200, 1920]));
        assert_eq!(got.geometry.roi, Some([10, 20, 300, 200]));
        for (bad, says) in [
            (camera("1920", "1,1,9,9", "Mono8"), "1920x1200"),
            (camera("0x10", "1,1,9,9", "Mono8"), "1920x1200"),
            (camera("64x64", "1,1,9", "Mono8"), "left,top"),
            (camera("64x64", "1,1,9,9", "Mono"), "BayerRG8"),
        ] {
            assert!(bad.unwrap_err().to_string().contains(says));
        }
    }
}
