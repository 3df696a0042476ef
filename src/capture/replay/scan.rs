//! Which files are played, in which order, for which recipe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ReplayOptions, Source};
use crate::capture::{CameraError, CameraErrorKind, part_id_of};
use crate::frame::{PartId, RecipeId};

/// Folders below the replay folder: a link loop ends here. MVTec layout needs 3.
const DEPTH_MAX: usize = 8;
/// Files of one replay: the list stays below 100 MB.
const FILES_MAX: usize = 500_000;
/// Masks of the MVTec layout: no parts.
const NOT_PARTS: &str = "ground_truth";
const IMAGE_ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];
const RAW_ENDINGS: [&str; 2] = ["raw", "bin"];

/// Which recipe a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeChoice {
    /// The station's current recipe.
    Current,
    /// All files, this one.
    Fixed(RecipeId),
    /// The first folder name on the way to the file that is a class in this table (as in the
    /// MVTec layout `CLASS/test/KIND/FILE`, from whichever level the replay folder is). A file
    /// with no such folder has no recipe, and its part cannot pass.
    Folder(BTreeMap<String, RecipeId>),
}

impl RecipeChoice {
    fn of(&self, root: &Path, file: &Path) -> Option<RecipeId> {
        let table = match self {
            RecipeChoice::Current => return None,
            RecipeChoice::Fixed(recipe) => return Some(*recipe),
            RecipeChoice::Folder(table) => table,
        };
        let known =
            |path: &Path| path.parent()?.iter().find_map(|name| table.get(name.to_str()?).copied());
        // Below the folder first; a replay of CLASS/test alone finds its class above it.
        let below = file.strip_prefix(root).ok().and_then(known);
        below
            .or_else(|| root.ancestors().find_map(|p| table.get(p.file_name()?.to_str()?).copied()))
    }
}

/// One file of the replay.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) part: PartId,
    pub(super) recipe: Option<RecipeId>,
}

/// Lists the files in sorted order.
pub(super) fn scan(options: &ReplayOptions) -> Result<Vec<Item>, CameraError> {
    let endings: &[&str] = match options.source {
        Source::Images => &IMAGE_ENDINGS,
        Source::Raw { .. } => &RAW_ENDINGS,
    };
    let root = &options.folder;
    let mut files = vec![];
    walk(root, endings, DEPTH_MAX, &mut files)?;
    if files.is_empty() {
        return Err(CameraError::new(
            CameraErrorKind::Empty,
            format!(
                "replay folder {} holds no file ending in {}: put frames there or name another \
                 folder",
                root.display(),
                endings.join(", ")
            ),
        ));
    }
    files.sort();
    // Names relative to a canonical root, so that `.` and links find their class, too.
    let real_root = root.canonicalize().unwrap_or_else(|_| root.clone());
    let items = files.into_iter().map(|path| {
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let recipe = options.recipe.of(&real_root, &real_root.join(relative));
        Item { part: part_of(relative), recipe, path }
    });
    Ok(items.collect())
}

/// `good/017.png` -> `good-017`: the folder tells kinds apart, the name the parts.
fn part_of(relative: &Path) -> PartId {
    let stem = relative.file_stem().unwrap_or_default().to_string_lossy();
    match relative.parent().and_then(Path::file_name) {
        Some(folder) => part_id_of(&format!("{}-{stem}", folder.to_string_lossy())),
        None => part_id_of(&stem),
    }
}

fn walk(
    folder: &Path,
    endings: &[&str],
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), CameraError> {
    let failed = |source| {
        let message = format!(
            "cannot read replay folder {}: check that it exists and may be read",
            folder.display()
        );
        CameraError::with_source(CameraErrorKind::Open, message, source)
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if depth > 0 && path.file_name().is_some_and(|n| n != NOT_PARTS) {
                walk(&path, endings, depth - 1, files)?;
            }
            continue;
        }
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if endings.iter().any(|e| e.eq_ignore_ascii_case(ending)) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(CameraError::new(
                CameraErrorKind::Settings,
                format!("more than {FILES_MAX} files to replay: name a smaller folder"),
            ));
        }
    }
    Ok(())
}
