//! `crrd engine export`: the model as the device's builder wants it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use prost::Message;

use super::camera::CameraArgs;
use super::{EngineArgs, PrecisionName};
use crate::engine::bundle::Bundle;
use crate::engine::graph::{for_camera, with_mask};
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
    /// The pixel limit becomes an input, `limit`; outputs `mask`, what is above it, and `figures`
    #[arg(long)]
    with_mask: bool,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
    if args.with_mask {
        let output = &bundle.manifest().output;
        let size = (output.map_width, output.map_height);
        graph = with_mask(&graph, &output.anomaly_map, size)
            .with_context(|| format!("{}: no graph with a mask", bundle.place()))?;
    }
    let bytes = graph.encode_to_vec();
    write_atomic(&args.out, &bytes)?;
    println!("{}: {} bytes, SHA-256 {}", args.out.display(), bytes.len(), sha256_hex(&bytes));
    Ok(ExitCode::SUCCESS)
}
