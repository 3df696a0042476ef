//! `crrd-train import-encoder`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::encoder::import;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The published wheel, its .pth file, or a safetensors file.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The safetensors file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Accept a file whose SHA-256 is not known to this program.
    #[arg(long)]
    allow_unknown: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = import(&args.from, &args.out, args.allow_unknown)?;
    let provenance = report.provenance.unwrap_or("unknown origin");
    println!("{}: {} values in {} tensors", report.encoder, report.values, report.tensors);
    println!("from {} ({provenance})", report.source_sha256);
    println!("to   {} {}", report.sha256, report.file.display());
    Ok(ExitCode::SUCCESS)
}
