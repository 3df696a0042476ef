//! A data set of good parts: the MVTec layout `CLASS/train/good/*` below one folder.
//!
//! Pictures are decoded, cut, turned and resized by the station's own code and as its configuration
//! says, so that training sees what production will see. One that the station shows the model in
//! tiles becomes as many training pictures. Files are read in name order: the same folder gives the
//! same data set on every machine. A file that cannot be decoded is left out with a warning and counted; a class
//! without a single usable picture is an error, because the model would silently lack it.

mod error;
mod look;
mod scan;
mod sight;

use std::path::{Path, PathBuf};

use crrd::config::Framings;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use error::{DatasetError, DatasetErrorKind};
pub(crate) use look::read;
pub use look::{GLANCE_PX, Look, Pixels};
pub(crate) use scan::is_picture;
use scan::{ClassFolder, classes};
pub(crate) use sight::load_rgb;
pub use sight::{Seen, Sight};

/// Memory that decoded pictures may take. At 256 px this is about 40 000 pictures; more need a
/// cache on disk, which does not exist.
const PICTURE_BYTES_MAX: usize = 8 << 30;

/// One training picture at model size: a picture of the data set, or a tile of one.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it was read from.
    pub path: PathBuf,
    /// Index into [`Dataset::classes`].
    pub class: usize,
    /// Which of the picture's tiles; 0 for one that is seen at once.
    pub tile: usize,
    /// `size * size * 3` bytes, RGB, row-major.
    pub rgb: Vec<u8>,
    /// What the whole picture looks like at a glance.
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

/// All good training pictures, in class order, then name order, then tile by tile.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// How the pictures of each class are seen.
    pub seen: Vec<Seen>,
    /// The training pictures.
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
    /// As [`Dataset::load_as_seen`].
    pub fn load(dir: &Path, size: usize) -> Result<Self, DatasetError> {
        let framings = Framings::default();
        Self::load_as_seen(dir, &Sight { input: size, map: size, framings: &framings })
    }

    /// Training pictures below `dir`, each tile counted, without reading any: files that cannot be
    /// decoded count, too.
    ///
    /// # Errors
    /// When the folder cannot be listed or holds no class.
    pub fn count(dir: &Path, sight: &Sight<'_>) -> Result<usize, DatasetError> {
        Ok(training_pictures(&classes(dir)?, sight))
    }

    /// Reads `dir/CLASS/train/good/*` and makes of every picture what the model sees of it.
    ///
    /// # Errors
    /// When the folder cannot be listed, holds no class, a class has no usable picture, or the
    /// pictures would not fit into memory.
    pub fn load_as_seen(dir: &Path, sight: &Sight<'_>) -> Result<Self, DatasetError> {
        let folders = classes(dir)?;
        let count = training_pictures(&folders, sight);
        let bytes = count.saturating_mul(sight.bytes());
        if bytes > PICTURE_BYTES_MAX {
            return Err(DatasetError::new(
                DatasetErrorKind::TooLarge,
                dir,
                format!(
                    "{count} pictures at {} px, each tile counted, take {} GiB of memory, {} GiB \
                     are allowed; use fewer pictures or tiles",
                    sight.input,
                    bytes >> 30,
                    PICTURE_BYTES_MAX >> 30
                ),
            ));
        }
        let mut set = Self {
            classes: Vec::new(),
            seen: Vec::new(),
            images: Vec::with_capacity(count),
            left_out: Vec::new(),
            sha256: String::new(),
            size: sight.input,
        };
        let mut hash = Sha256::new();
        for folder in &folders {
            set.add_class(folder, sight, &mut hash)?;
        }
        set.sha256 = hex(&hash.finalize());
        Ok(set)
    }

    fn add_class(
        &mut self,
        folder: &ClassFolder,
        sight: &Sight<'_>,
        hash: &mut Sha256,
    ) -> Result<(), DatasetError> {
        let class = self.classes.len();
        let seen = sight.of_class(&folder.name);
        let load = |file: &PathBuf| sight.load(file, &seen.framing);
        let read: Vec<_> = folder.files.par_iter().map(load).collect();
        let (images_before, left_out_before) = (self.images.len(), self.left_out.len());
        for (path, result) in folder.files.iter().zip(read) {
            match result {
                Ok((tiles, look)) => {
                    hash_file(hash, &folder.name, path, &look);
                    self.images.extend(tiles.into_iter().enumerate().map(|(tile, rgb)| Image {
                        path: path.clone(),
                        class,
                        tile,
                        rgb,
                        look: look.clone(),
                    }));
                }
                Err(reason) => {
                    tracing::info!(file = %path.display(), %reason, "picture left out");
                    self.left_out.push(LeftOut { path: path.clone(), reason });
                }
            }
        }
        if self.images.len() == images_before {
            return Err(empty(folder, self.left_out.get(left_out_before)));
        }
        self.classes.push(folder.name.clone());
        self.seen.push(seen);
        Ok(())
    }

    /// The pictures that the training pictures come from: of each its first tile.
    pub fn pictures(&self) -> impl Iterator<Item = (usize, &Image)> {
        self.images.iter().enumerate().filter(|(_, image)| image.tile == 0)
    }

    /// What the model sees of the pictures of each class, on one line; empty when it sees all of
    /// them whole and at once.
    pub fn views(&self) -> String {
        let all = self.classes.iter().zip(&self.seen);
        let cut = all.filter(|(_, seen)| !seen.framing.is_whole());
        cut.map(|(name, seen)| format!("{name}: {}", seen.framing)).collect::<Vec<_>>().join("; ")
    }

    /// Number of training pictures of each class, every tile counted.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.images.iter().for_each(|image| counts[image.class] += 1);
        counts
    }

    /// Holds out about `fraction` of every class, at least one picture of classes with two or
    /// more, never the last one. The choice depends on the seed and on each file's own name:
    /// a picture that is added later does not reshuffle the others. The tiles of a picture stay
    /// together: a model that knows one of them knows much of its neighbours.
    pub fn split(&self, fraction: f32, seed: u64) -> Split {
        let mut split = Split::default();
        for class in 0..self.classes.len() {
            let of_class = self.pictures().filter(|(_, image)| image.class == class);
            let mut order: Vec<(Vec<u8>, usize)> =
                of_class.map(|(i, image)| (self.rank(image, seed), i)).collect();
            order.sort();
            let wanted = (order.len() as f32 * fraction.clamp(0.0, 1.0)).round() as usize;
            let least = usize::from(fraction > 0.0 && order.len() > 1);
            let held = wanted.max(least).min(order.len().saturating_sub(1));
            let tiles = self.seen[class].framing.tiling.count();
            let of_picture = |&(_, first): &(Vec<u8>, usize)| first..first + tiles;
            split.held_out.extend(order[..held].iter().flat_map(of_picture));
            split.train.extend(order[held..].iter().flat_map(of_picture));
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

fn training_pictures(folders: &[ClassFolder], sight: &Sight<'_>) -> usize {
    let tiles = |f: &ClassFolder| sight.of_class(&f.name).framing.tiling.count();
    folders.iter().map(|f| f.files.len() * tiles(f)).sum()
}

fn hash_file(hash: &mut Sha256, class: &str, path: &Path, look: &Look) {
    hash.update(class.as_bytes());
    hash.update([0]);
    hash.update(path.file_name().unwrap_or_default().to_string_lossy().as_bytes());
    hash.update([0]);
    hash.update(look.sha256);
}

/// No file of the class can be used; `first` is one of them.
fn empty(folder: &ClassFolder, first: Option<&LeftOut>) -> DatasetError {
    let (name, tried) = (&folder.name, folder.files.len());
    let why = first.map_or(String::new(), |file| {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        format!(", {name}: {}", file.reason)
    });
    DatasetError::new(
        DatasetErrorKind::EmptyClass,
        &folder.good,
        format!(
            "class {name:?} has no picture that can be used ({tried} files tried{why}); add PNG, \
             JPEG, BMP or TIFF pictures of good parts or remove the class folder"
        ),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
