//! `crrd camera snapshot`: one picture into a file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::session::Session;
use super::which::Which;
use crate::frame::ImageView;
use crate::image::Preprocessor;
use crate::sys::fs;

/// Writes one picture to a file: PNG as the model would see it at full size, or raw bytes
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The bytes as they lay in the camera's buffer instead of PNG
    #[arg(long)]
    raw: bool,
    /// Longest wait for a usable picture in seconds
    #[arg(long, value_name = "S", default_value_t = 10)]
    wait_s: u64,
}

/// # Errors
/// When no usable picture comes or the file cannot be written.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut session = Session::open(&args.which.chosen()?)?;
    let frame = session.picture(args.wait_s)?.context("the camera has no picture to show")?;
    let view = frame.view()?;
    let meta = frame.meta;
    let bytes = match args.raw {
        true => frame.lease.get(..meta.bytes).unwrap_or(&frame.lease).to_vec(),
        false => png(view)?,
    };
    fs::write_atomic(&args.out, &bytes)?;
    let (out, bytes) = (args.out.display(), bytes.len());
    let (width, height, format) = (meta.width, meta.height, meta.format);
    match args.raw {
        true => println!("{out}: {width}x{height} {format}, stride {}, {bytes} bytes", meta.stride),
        false => println!("{out}: {width}x{height} from {format}, {bytes} bytes"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The picture through the station's own preprocessing, at its own size.
fn png(view: ImageView<'_>) -> Result<Vec<u8>> {
    let mut preprocessor = Preprocessor::new(view.width(), view.height());
    let mut rgb = vec![0; preprocessor.output_bytes()];
    preprocessor.run(view, &mut rgb)?;
    let mut bytes = Vec::new();
    let (width, height) = (u32::try_from(view.width())?, u32::try_from(view.height())?);
    PngEncoder::new(&mut bytes).write_image(&rgb, width, height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}
