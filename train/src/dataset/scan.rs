//! Finds the classes and their picture files, in an order that does not depend on the machine.

use std::path::{Path, PathBuf};

use super::{DatasetError, DatasetErrorKind};

/// File name endings of pictures the station can decode, lower case.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];

/// One class: its name, its folder of good pictures and the files in it.
pub(super) struct ClassFolder {
    pub(super) name: String,
    pub(super) good: PathBuf,
    pub(super) files: Vec<PathBuf>,
}

/// Whether the file's name ends like a picture's.
pub(crate) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    // Names that start with a dot are other programs' scraps (thumbnails, resource forks).
    let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    !hidden && ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// All folders `dir/CLASS/train/good`, sorted by class name.
pub(super) fn classes(dir: &Path) -> Result<Vec<ClassFolder>, DatasetError> {
    let mut found = Vec::new();
    for class in list(dir)? {
        let good = class.join("train").join("good");
        if !good.is_dir() {
            continue;
        }
        let Some(name) = class.file_name().and_then(|n| n.to_str()) else {
            tracing::warn!(folder = %class.display(), "class left out: its name is not UTF-8");
            continue;
        };
        let files = list(&good)?.into_iter().filter(|f| f.is_file() && is_picture(f)).collect();
        found.push(ClassFolder { name: name.to_owned(), good, files });
    }
    if found.is_empty() {
        return Err(DatasetError::new(
            DatasetErrorKind::NoClass,
            dir,
            "no class found; good pictures are expected in CLASS/train/good/ below this folder"
                .to_owned(),
        ));
    }
    Ok(found)
}

/// Folder entries sorted by name.
fn list(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect()
    };
    let mut paths = read().map_err(|e| DatasetError::unreadable(dir, e))?;
    paths.sort();
    Ok(paths)
}
