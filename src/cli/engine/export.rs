//! `crrd engine export`: the model as the device's builder wants it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use prost::Message;

use super::{EngineArgs, PrecisionName};
use crate::engine::bundle::Bundle;
use crate::engine::graph::{CameraFrames, for_camera};
use crate::frame::{Geometry, PixelFormat};
use crate::sys::fs::write_atomic;
use crate::sys::hash::sha256_hex;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Engine bundle: the folder that training wrote, or `demo` for the one inside the program
    #[arg(long, value_name = "DIR")]
    engine: String,
    /// Arithmetic of the model
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    precision: PrecisionName,
    /// With fp16: a node that keeps 32 bits; may be given again
    #[arg(long, value_name = "NODE")]
    keep_fp32: Vec<String>,
    #[command(flatten)]
    camera: CameraArgs,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Frames that the model is to read as they lie in memory.
#[derive(Clone, Debug, clap::Args)]
struct CameraArgs {
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
    fn frames(&self) -> Result<Option<CameraFrames>> {
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

fn numbers(text: &str, between: char) -> Option<Vec<u32>> {
    text.split(between).map(|n| n.trim().parse().ok()).collect()
}

/// # Errors
/// When the bundle is not sound, its model cannot be rewritten, or the file cannot be written.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let bundle = Bundle::load(&EngineArgs::source_named(&args.engine))?;
    let keep: BTreeSet<String> = args.keep_fp32.iter().cloned().collect();
    let mut graph = match args.precision {
        PrecisionName::Fp32 => bundle.graph()?,
        PrecisionName::Fp16 => bundle.half_graph(&keep)?,
    };
    if let Some(frames) = args.camera.frames()? {
        let input = &bundle.manifest().input;
        graph = for_camera(&graph, &input.name, (input.width, input.height), &frames)
            .with_context(|| format!("{}: no graph for these frames", bundle.place()))?;
    }
    let bytes = graph.encode_to_vec();
    write_atomic(&args.out, &bytes)?;
    println!("{}: {} bytes, SHA-256 {}", args.out.display(), bytes.len(), sha256_hex(&bytes));
    Ok(ExitCode::SUCCESS)
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
