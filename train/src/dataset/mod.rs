//! A data set of good parts: the MVTec layout `CLASS/train/good/*` below one folder.
//!
//! Pictures are decoded and resized by the station's own code, so that training sees what
//! production will see. Files are read in name order: the same folder gives the same data set on
//! every machine. A file that cannot be decoded is left out with a warning and counted; a class
//! without a single usable picture is an error, because the model would silently lack it.

mod error;
mod scan;

use std::path::{Path, PathBuf};

use crrd::frame::{ImageView, PixelFormat};
use crrd::image::{Preprocessor, decode};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use error::{DatasetError, DatasetErrorKind};
pub(crate) use scan::is_picture;
use scan::{ClassFolder, classes};

/// Memory that decoded pictures may take. At 256 px this is about 40 000 pictures; more need a
/// cache on disk, which does not exist.
const PICTURE_BYTES_MAX: usize = 8 << 30;
/// Largest picture file; a larger one is no camera picture.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// One picture at model size.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it was read from.
    pub path: PathBuf,
    /// Index into [`Dataset::classes`].
    pub class: usize,
    /// `size * size * 3` bytes, RGB, row-major.
    pub rgb: Vec<u8>,
}

/// All good training pictures, in class order, then name order.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// The pictures.
    pub images: Vec<Image>,
    /// Files that were left out because they could not be decoded.
    pub skipped: usize,
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
            skipped: 0,
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
        let read: Vec<_> = folder.files.par_iter().map(|file| load_rgb(file, size)).collect();
        let before = self.images.len();
        for (path, result) in folder.files.iter().zip(read) {
            match result {
                Ok((rgb, digest)) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    hash.update(folder.name.as_bytes());
                    hash.update([0]);
                    hash.update(name.as_bytes());
                    hash.update([0]);
                    hash.update(digest);
                    self.images.push(Image { path: path.clone(), class, rgb });
                }
                Err(reason) => {
                    tracing::warn!(file = %path.display(), %reason, "picture left out");
                    self.skipped += 1;
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

/// Reads one picture and stretches it to `size` x `size` RGB; also returns the file's SHA-256.
/// The error is a sentence for the log.
pub(crate) fn load_rgb(path: &Path, size: usize) -> Result<(Vec<u8>, [u8; 32]), String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{length} bytes, {FILE_BYTES_MAX} are allowed"));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let picture = decode(&bytes).map_err(|e| e.to_string())?;
    let (width, height) = (picture.width, picture.height);
    let view = ImageView::new(&picture.data, width, height, width * 3, PixelFormat::Rgb8)
        .map_err(|e| e.to_string())?;
    let mut rgb = vec![0; size * size * 3];
    Preprocessor::new(size, size).run(view, &mut rgb).map_err(|e| e.to_string())?;
    Ok((rgb, Sha256::digest(&bytes).into()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
