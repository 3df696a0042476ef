//! Reading a bundle from a folder or from the program itself.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Golden, MANIFEST_FILE, Manifest, check};
use crate::engine::{EngineError, EngineErrorKind, ModelSpec};
use crate::frame::Precision;
use crate::sys::{fs, hash::sha256_hex};

/// A manifest is a page of text.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Protocol buffers, and so ONNX files, cannot be larger.
const MODEL_BYTES_MAX: u64 = 2 << 30;
/// 64 golden pictures of 1 megapixel with their maps.
const GOLDEN_BYTES_MAX: u64 = 512 << 20;

/// Where a bundle lies.
#[derive(Clone, Debug)]
pub enum BundleSource {
    /// A folder with [`MANIFEST_FILE`] inside.
    Dir(PathBuf),
    /// Part of the program.
    Embedded(EmbeddedBundle),
}

/// The files of a bundle compiled into the program (`include_str!`, `include_bytes!`).
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedBundle {
    /// What messages call it, e.g. `demo`.
    pub name: &'static str,
    /// Text of the manifest.
    pub manifest: &'static str,
    /// Bytes of the model file.
    pub model: &'static [u8],
    /// Bytes of the golden file.
    pub golden: &'static [u8],
}

impl std::fmt::Display for BundleSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BundleSource::Dir(dir) => write!(f, "{}", dir.display()),
            BundleSource::Embedded(e) => write!(f, "embedded engine `{}`", e.name),
        }
    }
}

impl BundleSource {
    fn describe(&self, file: &str) -> String {
        match self {
            BundleSource::Dir(dir) => dir.join(file).display().to_string(),
            BundleSource::Embedded(e) => format!("embedded engine `{}`, {file}", e.name),
        }
    }

    fn manifest_text(&self) -> Result<Cow<'static, str>, EngineError> {
        let dir = match self {
            BundleSource::Embedded(e) => return Ok(Cow::Borrowed(e.manifest)),
            BundleSource::Dir(dir) => dir,
        };
        let bytes = read_limited(&dir.join(MANIFEST_FILE), MANIFEST_BYTES_MAX)?;
        String::from_utf8(bytes).map(Cow::Owned).map_err(|e| {
            let what = format!("{}: not UTF-8 text", self.describe(MANIFEST_FILE));
            EngineError::with_source(EngineErrorKind::Manifest, what, e)
        })
    }

    /// The bytes of `file`, which must have the given hash.
    fn file(
        &self,
        file: &str,
        sha256: &str,
        bytes_max: u64,
        embedded: fn(&EmbeddedBundle) -> &'static [u8],
    ) -> Result<Cow<'static, [u8]>, EngineError> {
        let bytes = match self {
            BundleSource::Embedded(e) => Cow::Borrowed(embedded(e)),
            BundleSource::Dir(dir) => Cow::Owned(read_limited(&dir.join(file), bytes_max)?),
        };
        let have = sha256_hex(&bytes);
        if have != sha256 {
            return Err(EngineError::new(
                EngineErrorKind::Corrupt,
                format!(
                    "{} ({} bytes): its SHA-256 is {have}, {MANIFEST_FILE} states {sha256}: the \
                     file is damaged or belongs to another bundle; copy the whole bundle folder \
                     again",
                    self.describe(file),
                    bytes.len()
                ),
            ));
        }
        Ok(bytes)
    }
}

/// A bundle whose manifest, hashes and golden pictures have been checked.
#[derive(Clone, Debug)]
pub struct Bundle {
    manifest: Manifest,
    model: Cow<'static, [u8]>,
    golden: Golden,
    place: String,
    /// Of the model in 16 bits, once somebody has asked.
    pub(super) half_sha256: OnceLock<String>,
}

impl Bundle {
    /// Reads and checks the bundle; runs nothing.
    ///
    /// # Errors
    /// `Io` for a file that is missing, too large or unreadable, `Manifest` for a manifest that
    /// is malformed, of another format or has an impossible field, `Corrupt` for a file with
    /// another hash or unreadable golden pictures. The message names file, field and remedy.
    pub fn load(source: &BundleSource) -> Result<Self, EngineError> {
        let manifest = read_manifest(source)?;
        let model = source.file(
            &manifest.model.file,
            &manifest.model.sha256,
            MODEL_BYTES_MAX,
            |e: &EmbeddedBundle| e.model,
        )?;
        let golden = source.file(
            &manifest.golden.file,
            &manifest.golden.sha256,
            GOLDEN_BYTES_MAX,
            |e: &EmbeddedBundle| e.golden,
        )?;
        let golden = Golden::read(&golden, &manifest).map_err(|why| {
            let file = source.describe(&manifest.golden.file);
            EngineError::new(
                EngineErrorKind::Corrupt,
                format!("{file}: {why}; export the bundle again with crrd-train"),
            )
        })?;
        let place = source.to_string();
        Ok(Self { manifest, model, golden, place, half_sha256: OnceLock::new() })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The ONNX file.
    pub fn model(&self) -> &[u8] {
        &self.model
    }

    /// The self-check's pictures and answers.
    pub fn golden(&self) -> &Golden {
        &self.golden
    }

    /// Where the bundle came from, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What an engine on this bundle takes and gives, in 32 bits.
    pub fn spec(&self) -> ModelSpec {
        let m = &self.manifest;
        ModelSpec {
            input_width: m.input.width,
            input_height: m.input.height,
            map_width: m.output.map_width,
            map_height: m.output.map_height,
            classes: m.classes.clone(),
            sha256: m.model.sha256.clone(),
            precision: Precision::Fp32,
        }
    }
}

/// Only the version, so that a manifest of another format is named as such and not by its first
/// unknown field.
#[derive(serde::Deserialize)]
struct FormatOnly {
    format: u32,
}

fn read_manifest(source: &BundleSource) -> Result<Manifest, EngineError> {
    let text = source.manifest_text()?;
    let fail = |why: String| {
        let place = source.describe(MANIFEST_FILE);
        EngineError::new(
            EngineErrorKind::Manifest,
            format!("{place}: {why}; export the bundle again with crrd-train or correct the field"),
        )
    };
    let malformed = |e: toml::de::Error| {
        let place = source.describe(MANIFEST_FILE);
        let what = format!("{place}: not a bundle manifest; export the bundle again");
        EngineError::with_source(EngineErrorKind::Manifest, what, e)
    };
    let version: FormatOnly = toml::from_str(&text).map_err(malformed)?;
    if version.format != super::FORMAT {
        return Err(fail(format!(
            "`format` is {}, this program reads {}",
            version.format,
            super::FORMAT
        )));
    }
    let manifest: Manifest = toml::from_str(&text).map_err(malformed)?;
    match check::first_fault(&manifest) {
        Some(fault) => Err(fail(fault)),
        None => Ok(manifest),
    }
}

fn read_limited(path: &Path, bytes_max: u64) -> Result<Vec<u8>, EngineError> {
    fs::read_limited(path, bytes_max).map_err(|e| {
        let what = "the engine bundle is not whole: name the folder that training wrote";
        EngineError::with_source(EngineErrorKind::Io, what, e)
    })
}
