//! A data set of good parts: the MVTec layout `CLASS/train/good/*` below one folder.
//!
//! Pictures are decoded and resized by the station's own code, so that training sees what
//! production will see. Files are read in name order: the same folder gives the same data set on
//! every machine. A file that cannot be decoded is left out with a warning and counted; a class
//! without a single usable picture is an error, because the model would silently lack it.

mod error;
mod look;
mod scan;

use std::path::{Path, PathBuf};

use crrd::image::Preprocessor;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use error::{DatasetError, DatasetErrorKind};
pub(crate) use look::read;
pub use look::{GLANCE_PX, Look, Pixels};
pub(crate) use scan::is_picture;
use scan::{ClassFolder, classes};

/// Memory that decoded pictures may take. At 256 px this is about 40 000 pictures; more need a
/// cache on disk, which does not exist.
const PICTURE_BYTES_MAX: usize = 8 << 30;

/// One picture at model size.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it was read from.
    pub path: PathBuf,
    /// Index into [`Dataset::classes`].
    pub class: usize,
    /// `size * size * 3` bytes, RGB, row-major.
    pub rgb: Vec<u8>,
    /// What it looks like at a glance.
    pub look: Look,
}

/// A file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// Why, as a sentence.
    pub reason: String,
}

/// All good training pictures, in class order, then name order.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// The pictures.
    pub images: Vec<Image>,
    /// Files that were left out because they could not be decoded.
    pub left_out: Vec<LeftOut>,
    /// SHA-256 (hex) over the names and hashes of all files read.
    pub sha256: String,
    /// Side of the pictures in pixels.
    pub size: usize,
}

/// Which pictures train and which are held out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Indices into [`Dataset::images`], ascending.
    pub train: Vec<usize>,
    /// Indices into [`Dataset::images`], ascending.
    pub held_out: Vec<usize>,
}

impl Dataset {
    /// Reads `dir/CLASS/train/good/*` and stretches every picture to `size` x `size`.
    ///
    /// # Errors
    /// When the folder cannot be listed, holds no class, a class has no usable picture, or the
    /// pictures would not fit into memory.
    pub fn load(dir: &Path, size: usize) -> Result<Self, DatasetError> {
        let folders = classes(dir)?;
        let count: usize = folders.iter().map(|f| f.files.len()).sum();
        let bytes = count.saturating_mul(size * size * 3);
        if bytes > PICTURE_BYTES_MAX {
            return Err(DatasetError::new(
                DatasetErrorKind::TooLarge,
                dir,
                format!(
                    "{count} pictures at {size} px take {} GiB of memory, {} GiB are allowed; \
                     use fewer pictures",
                    bytes >> 30,
                    PICTURE_BYTES_MAX >> 30
                ),
            ));
        }
        let mut set = Self {
            classes: Vec::new(),
            images: Vec::with_capacity(count),
            left_out: Vec::new(),
            sha256: String::new(),
            size,
        };
        let mut hash = Sha256::new();
        for folder in &folders {
            set.add_class(folder, &mut hash)?;
        }
        set.sha256 = hex(&hash.finalize());
        Ok(set)
    }

    fn add_class(&mut self, folder: &ClassFolder, hash: &mut Sha256) -> Result<(), DatasetError> {
        let class = self.classes.len();
        let size = self.size;
        let read: Vec<_> = folder.files.par_iter().map(|file| load(file, size)).collect();
        let before = self.images.len();
        for (path, result) in folder.files.iter().zip(read) {
            match result {
                Ok((rgb, look)) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    hash.update(folder.name.as_bytes());
                    hash.update([0]);
                    hash.update(name.as_bytes());
                    hash.update([0]);
                    hash.update(look.sha256);
                    self.images.push(Image { path: path.clone(), class, rgb, look });
                }
                Err(reason) => {
                    tracing::info!(file = %path.display(), %reason, "picture left out");
                    self.left_out.push(LeftOut { path: path.clone(), reason });
                }
            }
        }
        if self.images.len() == before {
            return Err(DatasetError::new(
                DatasetErrorKind::EmptyClass,
                &folder.good,
                format!(
                    "class {:?} has no picture that can be read ({} files tried); add PNG, JPEG, \
                     BMP or TIFF pictures of good parts or remove the class folder",
                    folder.name,
                    folder.files.len()
                ),
            ));
        }
        self.classes.push(folder.name.clone());
        Ok(())
    }

    /// Number of pictures of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.images.iter().for_each(|image| counts[image.class] += 1);
        counts
    }

    /// Holds out about `fraction` of every class, at least one picture of classes with two or
    /// more, never the last one. The choice depends on the seed and on each file's own name:
    /// a picture that is added later does not reshuffle the others.
    pub fn split(&self, fraction: f32, seed: u64) -> Split {
        let mut split = Split::default();
        for class in 0..self.classes.len() {
            let mut order: Vec<(Vec<u8>, usize)> = self
                .images
                .iter()
                .enumerate()
                .filter(|(_, image)| image.class == class)
                .map(|(i, image)| (self.rank(image, seed), i))
                .collect();
            order.sort();
            let wanted = (order.len() as f32 * fraction.clamp(0.0, 1.0)).round() as usize;
            let least = usize::from(fraction > 0.0 && order.len() > 1);
            let held = wanted.max(least).min(order.len().saturating_sub(1));
            split.held_out.extend(order[..held].iter().map(|(_, i)| i));
            split.train.extend(order[held..].iter().map(|(_, i)| i));
        }
        split.train.sort_unstable();
        split.held_out.sort_unstable();
        split
    }

    fn rank(&self, image: &Image, seed: u64) -> Vec<u8> {
        let name = image.path.file_name().unwrap_or_default().to_string_lossy();
        Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(self.classes[image.class].as_bytes())
            .chain_update([0])
            .chain_update(name.as_bytes())
            .finalize()
            .to_vec()
    }
}

/// Reads one picture and stretches it to `size` x `size` RGB. The error is a sentence.
fn load(path: &Path, size: usize) -> Result<(Vec<u8>, Look), String> {
    let (bytes, picture) = read(path)?;
    let look = Look::of(&bytes, &picture)?;
    let mut rgb = vec![0; size * size * 3];
    let view = picture.view().map_err(|e| e.to_string())?;
    Preprocessor::new(size, size).run(view, &mut rgb).map_err(|e| e.to_string())?;
    Ok((rgb, look))
}

/// The same without a glance, with the file's SHA-256.
pub(crate) fn load_rgb(path: &Path, size: usize) -> Result<(Vec<u8>, [u8; 32]), String> {
    let (bytes, picture) = read(path)?;
    let mut rgb = vec![0; size * size * 3];
    let view = picture.view().map_err(|e| e.to_string())?;
    Preprocessor::new(size, size).run(view, &mut rgb).map_err(|e| e.to_string())?;
    Ok((rgb, Sha256::digest(&bytes).into()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
