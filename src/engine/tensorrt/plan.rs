//! Plans on disk: what TensorRT built, bound to everything it was built for.
//!
//! A plan is device code without a checksum of its own; one of another GPU, driver or version is
//! refused by the library at best. So each file says what it was built for and carries a hash:
//!
//! ```text
//! CRRDPLAN1\n | length of the record, u32 little-endian | record as JSON | SHA-256 of record and plan, hex | plan
//! ```
//!
//! The name of a file comes from its key, so a plan of another key is never overwritten: after an
//! update that does not work out, the last good one is still there.

use std::path::{Path, PathBuf};

use super::cuda::DeviceInfo;
use crate::engine::{EngineError, EngineErrorKind};
use crate::frame::Precision;
use crate::sys::fs::{self, FsErrorKind};
use crate::sys::hash::sha256_hex;

const MAGIC: &[u8] = b"CRRDPLAN1\n";
const HASH_LEN: usize = 64;
/// Largest record, in bytes: a handful of names and numbers, and the names of layers.
const RECORD_BYTES_MAX: usize = 256 << 10;
/// Largest plan, in bytes; those of the largest model have a few hundred megabytes.
const PLAN_BYTES_MAX: u64 = 4 << 30;
/// Extension of plans.
const EXTENSION: &str = "plan";

/// What a plan was built for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PlanKey {
    /// SHA-256 (hex) of the ONNX file.
    pub model_sha256: String,
    /// Library and version, as "TensorRT 10.3.0".
    pub library: String,
    /// The GPU.
    pub device: DeviceInfo,
    /// Arithmetic.
    pub precision: Precision,
    /// Bound of the working memory, in bytes.
    pub workspace_bytes_max: usize,
    /// The frames that it reads; `None`: pictures of the model's size, as in every plan of a program
    /// that knew no others, whose records and names stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FramesKey>,
    /// SHA-256 (hex) of the graph that this program makes of the model for 16 bits: another program may
    /// make another one. `None` in 32 bits, where the model is built as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_sha256: Option<String>,
}

/// The frames that a plan reads as they lie in memory.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FramesKey {
    /// Format, size and what of them the model sees, in one line.
    pub frames: String,
    /// SHA-256 (hex) of the graph that makes the model's picture of them: another program may make
    /// another one.
    pub graph_sha256: String,
}

/// What is written beside a plan.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PlanRecord {
    /// What it was built for.
    pub key: PlanKey,
    /// Layers that keep 32 bits, because this GPU gets them wrong in 16.
    pub kept_fp32: Vec<String>,
    /// Worst difference to the golden answers when it was built, in units of the map.
    pub golden_diff_max: f32,
}

impl PlanKey {
    /// Name of the file of this key in a folder.
    pub fn file(&self, folder: &Path) -> PathBuf {
        // Writing names and numbers as JSON does not fail; an empty key would have its own name.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let name = &sha256_hex(&json)[..16];
        folder.join(format!(
            "{}-{name}.{EXTENSION}",
            &self.model_sha256[..8.min(self.model_sha256.len())]
        ))
    }

    /// In one line.
    pub fn describe(&self) -> String {
        let (major, minor) = self.device.compute_capability;
        let frames = self.frames.as_ref().map(|key| format!(" for frames {}", key.frames));
        format!(
            "model {} in {}{} on {} (compute capability {major}.{minor}, driver for CUDA {}.{}) by {}",
            &self.model_sha256[..8.min(self.model_sha256.len())],
            self.precision,
            frames.unwrap_or_default(),
            self.device.name,
            self.device.driver / 1000,
            self.device.driver % 1000 / 10,
            self.library
        )
    }
}

/// Writes a plan at once and durably.
///
/// # Errors
/// `Io` when the folder cannot be written or is full; an older file then stays.
pub(super) fn write(
    folder: &Path,
    record: &PlanRecord,
    plan: &[u8],
) -> Result<PathBuf, EngineError> {
    let io = |e| {
        let what = "the engine that was built cannot be kept";
        EngineError::with_source(EngineErrorKind::Io, what, e)
    };
    let json = serde_json::to_vec(record).map_err(|e| {
        EngineError::with_source(EngineErrorKind::Io, "the record of the plan cannot be written", e)
    })?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + json.len() + HASH_LEN + plan.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(hash(&json, plan).as_bytes());
    bytes.extend_from_slice(plan);
    fs::ensure_dir(folder).map_err(io)?;
    let path = record.key.file(folder);
    fs::write_atomic(&path, &bytes).map_err(io)?;
    Ok(path)
}

/// The plan of `key`; `None` when none was built yet.
///
/// # Errors
/// `Io` when the file cannot be read, `Corrupt` when it is damaged, `Foreign` when it was built
/// for something else. The message says what to do.
pub(super) fn read(folder: &Path, key: &PlanKey) -> Result<Option<Vec<u8>>, EngineError> {
    let path = key.file(folder);
    let bytes = match fs::read_limited(&path, PLAN_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == FsErrorKind::NotFound => return Ok(None),
        Err(e) => {
            let what = "the engine that was built cannot be read";
            return Err(EngineError::with_source(EngineErrorKind::Io, what, e));
        }
    };
    let (PlanRecord { key: found, .. }, plan) = parse(&bytes, &path)?;
    if found != *key {
        return Err(EngineError::new(
            EngineErrorKind::Foreign,
            format!(
                "{}: built for {}, needed for {}; delete the file, `crrd engine build` makes a new one",
                path.display(),
                found.describe(),
                key.describe()
            ),
        ));
    }
    Ok(Some(plan.to_vec()))
}

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<(PlanRecord, &'a [u8]), EngineError> {
    let damaged = |why: &str| {
        EngineError::new(
            EngineErrorKind::Corrupt,
            format!(
                "{}: {why}; delete the file, `crrd engine build` makes a new one",
                path.display()
            ),
        )
    };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("no plan of this program"))?;
    let (len, rest) = rest.split_first_chunk().ok_or_else(|| damaged("cut off"))?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > RECORD_BYTES_MAX {
        return Err(damaged("its record is too long"));
    }
    let (json, rest) =
        rest.split_at_checked(len).ok_or_else(|| damaged("cut off in its record"))?;
    let record = serde_json::from_slice(json).map_err(|_| damaged("its record cannot be read"))?;
    let (found, plan) =
        rest.split_at_checked(HASH_LEN).ok_or_else(|| damaged("cut off before the plan"))?;
    if found != hash(json, plan).as_bytes() {
        return Err(damaged("damaged (its hash does not fit)"));
    }
    Ok((record, plan))
}

fn hash(record: &[u8], plan: &[u8]) -> String {
    sha256_hex(format!("{} {}", sha256_hex(record), sha256_hex(plan)).as_bytes())
}

/// A plan found in a folder.
#[derive(Debug)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it was built for, or why it cannot be used.
    pub record: Result<PlanRecord, EngineError>,
}

/// All plans of a folder by name; none when the folder is not there.
///
/// # Errors
/// `Io` when the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Listed>, EngineError> {
    let io = |e| {
        let what = format!("cannot read the folder {}: check its rights", folder.display());
        EngineError::with_source(EngineErrorKind::Io, what, e)
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let read = fs::read_limited(&path, PLAN_BYTES_MAX);
        let bytes = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let record = read
            .map_err(|e| EngineError::with_source(EngineErrorKind::Io, "cannot be read", e))
            .and_then(|bytes| parse(&bytes, &path).map(|(record, _)| record));
        found.push(Listed { path, bytes, record });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A key in 16 bits.
    pub(in crate::engine::tensorrt) fn key() -> PlanKey {
        PlanKey {
            model_sha256: "0123456789abcdef".repeat(4),
            library: "TensorRT 10.3.0".to_owned(),
            device: DeviceInfo {
                name: "Orin".to_owned(),
                compute_capability: (8, 7),
                driver: 12_060,
                multiprocessors: 8,
                memory_bytes: 8 << 30,
                tegra_release: Some("R36, REVISION: 4.3".to_owned()),
            },
            precision: Precision::Fp16,
            workspace_bytes_max: 1 << 30,
            frames: None,
            half_sha256: Some("a".repeat(64)),
        }
    }

    fn key_in_32_bits() -> PlanKey {
        PlanKey { precision: Precision::Fp32, half_sha256: None, ..key() }
    }

    fn for_frames(frames: &str, graph_sha256: &str) -> PlanKey {
        let (frames, graph_sha256) = (frames.to_owned(), graph_sha256.to_owned());
        PlanKey { frames: Some(FramesKey { frames, graph_sha256 }), ..key() }
    }

    fn record(key: PlanKey) -> PlanRecord {
        PlanRecord { key, kept_fp32: vec!["head".to_owned()], golden_diff_max: 0.25 }
    }

    #[test]
    fn a_plan_comes_back_for_its_key_and_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("plans");
        assert!(read(&folder, &key()).unwrap().is_none());
        assert!(list(&folder).unwrap().is_empty());
        let path = write(&folder, &record(key()), b"the plan").unwrap();
        assert_eq!(read(&folder, &key()).unwrap().unwrap(), b"the plan");
        let others = [
            PlanKey { model_sha256: "f".repeat(64), ..key() },
            PlanKey { library: "TensorRT 10.7.0".to_owned(), ..key() },
            PlanKey { device: DeviceInfo { driver: 13_000, ..key().device }, ..key() },
            PlanKey { precision: Precision::Fp32, ..key() },
            PlanKey { device: DeviceInfo { memory_bytes: 16 << 30, ..key().device }, ..key() },
            PlanKey { device: DeviceInfo { tegra_release: None, ..key().device }, ..key() },
            PlanKey { workspace_bytes_max: 1, ..key() },
            PlanKey { half_sha256: Some("b".repeat(64)), ..key() },
            PlanKey { half_sha256: None, ..key() },
            for_frames("Mono8 64x48", "a"),
            for_frames("Mono8 64x48", "b"),
            for_frames("Mono8 64x49", "b"),
        ];
        for other in others {
            assert!(read(&folder, &other).unwrap().is_none(), "{other:?}");
            // Even under its name it is refused.
            std::fs::copy(&path, other.file(&folder)).unwrap();
            let error = read(&folder, &other).unwrap_err();
            assert_eq!(error.kind(), EngineErrorKind::Foreign);
            assert!(error.to_string().contains("delete the file"), "{error}");
            std::fs::remove_file(other.file(&folder)).unwrap();
        }
        // A new key leaves the last good plan where it is.
        let newer = PlanKey { library: "TensorRT 10.7.0".to_owned(), ..key() };
        write(&folder, &record(newer), b"another").unwrap();
        assert_eq!(read(&folder, &key()).unwrap().unwrap(), b"the plan");
        let listed = list(&folder).unwrap();
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().any(|one| *one.record.as_ref().unwrap() == record(key())));
    }

    #[test]
    fn a_plan_says_which_frames_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let key = for_frames("BayerRG8 1920x1200, the whole picture", "a");
        write(dir.path(), &record(key.clone()), b"the plan").unwrap();
        assert_eq!(read(dir.path(), &key).unwrap().unwrap(), b"the plan");
        let listed = list(dir.path()).unwrap().remove(0).record.unwrap();
        let text = listed.key.describe();
        assert!(text.contains("in 16 bits for frames BayerRG8 1920x1200"), "{text}");
    }

    #[test]
    fn plans_of_programs_that_knew_less_stay_good_under_their_names_in_32_bits() {
        let old = format!(
            r#"{{"model_sha256":"{}","library":"TensorRT 10.3.0","device":{{"name":"Orin","compute_capability":[8,7],"driver":12060,"multiprocessors":8,"memory_bytes":8589934592,"tegra_release":"R36, REVISION: 4.3"}},"precision":"fp32","workspace_bytes_max":1073741824}}"#,
            key().model_sha256
        );
        assert_eq!(serde_json::to_string(&key_in_32_bits()).unwrap(), old);
        assert_eq!(serde_json::from_str::<PlanKey>(&old).unwrap(), key_in_32_bits());
        // In 16 bits they do not say of which graph they were built; they can still be listed.
        let old = old.replace("fp32", "fp16");
        assert_eq!(
            serde_json::from_str::<PlanKey>(&old).unwrap(),
            PlanKey { half_sha256: None, ..key() }
        );
    }

    #[test]
    fn a_damaged_plan_is_refused_wherever_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), &record(key()), b"the plan").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(
                read(dir.path(), &key()).unwrap_err().kind(),
                EngineErrorKind::Corrupt,
                "{len}"
            );
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(read(dir.path(), &key()).is_err(), "byte {at}");
        }
        assert!(list(dir.path()).unwrap()[0].record.is_err());
    }
}
