//! `crrd engine export`: the model as the device's builder wants it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use prost::Message;

use super::EngineArgs;
use crate::engine::bundle::Bundle;
use crate::sys::fs::write_atomic;
use crate::sys::hash::sha256_hex;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Engine bundle: the folder that training wrote, or `demo` for the one inside the program
    #[arg(long, value_name = "DIR")]
    engine: String,
    /// Arithmetic of the model
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    precision: Precision,
    /// With fp16: a node that keeps 32 bits; may be given again
    #[arg(long, value_name = "NODE")]
    keep_fp32: Vec<String>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arithmetic of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Precision {
    /// 32 bits, as trained.
    Fp32,
    /// 16 bits where that is safe.
    Fp16,
}

/// # Errors
/// When the bundle is not sound, its model cannot be rewritten, or the file cannot be written.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let bundle = Bundle::load(&EngineArgs::source_named(&args.engine))?;
    let keep: BTreeSet<String> = args.keep_fp32.iter().cloned().collect();
    let graph = match args.precision {
        Precision::Fp32 => bundle.graph()?,
        Precision::Fp16 => bundle.half_graph(&keep)?,
    };
    let bytes = graph.encode_to_vec();
    write_atomic(&args.out, &bytes)?;
    println!("{}: {} bytes, SHA-256 {}", args.out.display(), bytes.len(), sha256_hex(&bytes));
    Ok(ExitCode::SUCCESS)
}
