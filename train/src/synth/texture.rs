//! Foreign textures: a folder of pictures, or procedural ones when the user has none.

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::procedural;
use crate::dataset::load_rgb;

/// Textures kept in memory; at 256 px this is 118 MB. A larger folder is thinned out evenly.
const TEXTURES_MAX: usize = 600;
/// Folder levels searched below the given one.
const DEPTH_MAX: usize = 4;

/// Why a texture folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("texture folder {}: {reason}", path.display())]
pub struct TextureError {
    kind: TextureErrorKind,
    path: PathBuf,
    reason: String,
    source: Option<std::io::Error>,
}

/// What is wrong with a texture folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextureErrorKind {
    /// The folder cannot be listed.
    Unreadable,
    /// No picture in it could be decoded.
    Empty,
}

impl TextureError {
    /// What is wrong.
    pub fn kind(&self) -> TextureErrorKind {
        self.kind
    }
}

/// Texture pictures of one size, RGB.
#[derive(Clone, Debug)]
pub struct Textures {
    size: usize,
    pictures: Vec<Vec<u8>>,
    identity: String,
}

impl Textures {
    /// Reads the pictures in `dir` and its subfolders, stretched to `size` x `size`.
    /// Files that cannot be decoded are left out with a warning.
    ///
    /// # Errors
    /// When the folder cannot be listed or holds no picture that can be decoded.
    pub fn from_dir(dir: &Path, size: usize) -> Result<Self, TextureError> {
        let mut files = Vec::new();
        list(dir, DEPTH_MAX, &mut files).map_err(|source| TextureError {
            kind: TextureErrorKind::Unreadable,
            path: dir.to_owned(),
            reason: "cannot be listed; check the path and its permissions".to_owned(),
            source: Some(source),
        })?;
        files.sort();
        let step = files.len().div_ceil(TEXTURES_MAX).max(1);
        let (mut pictures, mut hash) = (Vec::new(), Sha256::new());
        for file in files.iter().step_by(step) {
            match load_rgb(file, size) {
                Ok((rgb, sha256)) => {
                    pictures.push(rgb);
                    hash.update(sha256);
                }
                Err(reason) => tracing::warn!(file = %file.display(), %reason, "texture left out"),
            }
        }
        if pictures.is_empty() {
            return Err(TextureError {
                kind: TextureErrorKind::Empty,
                path: dir.to_owned(),
                reason: "no picture could be read; give a folder of PNG, JPEG, BMP or TIFF files \
                         or leave the option out for procedural textures"
                    .to_owned(),
                source: None,
            });
        }
        let identity = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { size, pictures, identity })
    }

    /// `count` (at least one) procedural textures; the same seed gives the same textures.
    pub fn procedural(seed: u64, size: usize, count: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pictures = (0..count.max(1)).map(|_| procedural::texture(size, &mut rng)).collect();
        Self { size, pictures, identity: format!("procedural {seed} {count}") }
    }

    /// Side of the pictures in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of pictures, at least one.
    pub fn count(&self) -> usize {
        self.pictures.len()
    }

    /// Tells these textures from others: by the files that were read, in their order, wherever they lie.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// A random picture: `size * size * 3` bytes.
    pub(super) fn pick(&self, rng: &mut ChaCha8Rng) -> &[u8] {
        &self.pictures[rng.random_range(0..self.pictures.len())]
    }
}

fn list(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, files)?;
            }
        } else if crate::dataset::is_picture(&path) {
            files.push(path);
        }
    }
    Ok(())
}
