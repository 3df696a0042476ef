//! The MVTec layout: `CLASS/{train,test,calibration}/good/*`, `CLASS/test/DEFECT/*`,
//! `CLASS/ground_truth/DEFECT/NAME_mask.png`.

use std::path::{Path, PathBuf};

/// File name endings of pictures, lower case.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];
/// Folder of the good parts inside a split.
pub const GOOD: &str = "good";

/// A test set cannot be read or is not in the expected layout.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DatasetError {
    message: String,
    #[source]
    source: Option<std::io::Error>,
}

impl DatasetError {
    fn layout(message: String) -> Self {
        Self { message, source: None }
    }
}

/// A folder of one product class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassDir {
    /// Product class: the folder's name.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
}

/// The test pictures of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSet {
    /// Product class.
    pub class: String,
    /// Pictures in a fixed order: good ones, then defect by defect.
    pub pictures: Vec<TestPicture>,
}

/// One labelled picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPicture {
    /// The file.
    pub path: PathBuf,
    /// Folder of the defect; `None` for a good part.
    pub defect: Option<String>,
    /// The file that marks the defect.
    pub mask: Option<PathBuf>,
}

impl TestSet {
    /// Whether any picture has a mask, so that pixel metrics exist.
    pub fn has_masks(&self) -> bool {
        self.pictures.iter().any(|p| p.mask.is_some())
    }
}

/// The class folders in `data`, sorted by name; `data` may itself be one.
///
/// # Errors
/// When the folder cannot be read, has no class, or a class of `only` is not there.
pub fn class_dirs(data: &Path, only: Option<&[String]>) -> Result<Vec<ClassDir>, DatasetError> {
    let mut found: Vec<ClassDir> = if is_class(data) {
        class_dir(data.to_owned()).into_iter().collect()
    } else {
        let dirs = entries(data)?.into_iter().filter(|p| is_class(p));
        dirs.filter_map(class_dir).collect()
    };
    if let Some(only) = only {
        if let Some(missing) = only.iter().find(|o| !found.iter().any(|f| f.name == **o)) {
            let names: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
            return Err(DatasetError::layout(format!(
                "{}: there is no class {missing:?}; there are {names:?}",
                data.display()
            )));
        }
        found.retain(|f| only.contains(&f.name));
    }
    if found.is_empty() {
        return Err(DatasetError::layout(format!(
            "{}: no product class found: expected folders CLASS/train/good, CLASS/test/good, \
             CLASS/test/DEFECT",
            data.display()
        )));
    }
    Ok(found)
}

/// The test pictures of a class with their masks.
///
/// # Errors
/// When a folder cannot be read or `test` has no picture.
pub fn test_set(class: &ClassDir) -> Result<TestSet, DatasetError> {
    let test = class.path.join("test");
    let mut folders: Vec<PathBuf> = entries(&test)?.into_iter().filter(|p| p.is_dir()).collect();
    // Good parts first, so that reports and ties read alike everywhere.
    folders.sort_by_key(|p| (name(p) != GOOD, p.clone()));
    let mut found = Vec::new();
    for folder in folders {
        let defect = Some(name(&folder)).filter(|n| n != GOOD);
        for path in pictures(&folder)? {
            let mask = defect.as_ref().and_then(|d| mask_of(&class.path, d, &path));
            found.push(TestPicture { path, defect: defect.clone(), mask });
        }
    }
    if found.is_empty() {
        return Err(DatasetError::layout(format!(
            "{}: no pictures: expected {GOOD}/*.png and DEFECT/*.png",
            test.display()
        )));
    }
    Ok(TestSet { class: class.name.clone(), pictures: found })
}

/// The pictures directly in a folder, sorted by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn pictures(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    Ok(entries(dir)?.into_iter().filter(|p| p.is_file() && is_picture(p)).collect())
}

/// Whether the file's name ends like a picture's.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

fn mask_of(class: &Path, defect: &str, picture: &Path) -> Option<PathBuf> {
    let stem = picture.file_stem()?.to_str()?;
    let folder = class.join("ground_truth").join(defect);
    ["_mask.png", ".png"].iter().map(|e| folder.join(format!("{stem}{e}"))).find(|p| p.is_file())
}

fn class_dir(path: PathBuf) -> Option<ClassDir> {
    // `data/.` and `.` have no name of their own.
    let named = if name(&path).is_empty() { path.canonicalize().ok()? } else { path.clone() };
    Some(ClassDir { name: name(&named), path })
}

fn is_class(path: &Path) -> bool {
    ["train", "test", "calibration"].iter().any(|split| path.join(split).is_dir())
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is in a folder, sorted by name, hidden things left out.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let fail = |source: std::io::Error| DatasetError {
        message: format!("cannot read the folder {}: check the path", dir.display()),
        source: Some(source),
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if !name(&path).starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, file: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    fn data() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "bolt/train/good/0.png",
            "bolt/test/good/b.PNG",
            "bolt/test/good/a.jpg",
            "bolt/test/good/notes.txt",
            "bolt/test/bent/0.png",
            "bolt/test/bent/1.png",
            "bolt/ground_truth/bent/0_mask.png",
            "nut/test/good/0.bmp",
            "readme/x.png",
            ".hidden/test/good/0.png",
        ] {
            touch(dir.path(), file);
        }
        dir
    }

    #[test]
    fn classes_and_pictures_are_found_sorted_with_their_masks() {
        let dir = data();
        let classes = class_dirs(dir.path(), None).unwrap();
        let names: Vec<&str> = classes.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["bolt", "nut"]);
        let set = test_set(&classes[0]).unwrap();
        let short: Vec<(String, Option<&str>, bool)> = set
            .pictures
            .iter()
            .map(|p| (name(&p.path), p.defect.as_deref(), p.mask.is_some()))
            .collect();
        assert_eq!(
            short,
            [
                ("a.jpg".to_owned(), None, false),
                ("b.PNG".to_owned(), None, false),
                ("0.png".to_owned(), Some("bent"), true),
                ("1.png".to_owned(), Some("bent"), false),
            ]
        );
        assert!(set.has_masks());
        assert!(!test_set(&classes[1]).unwrap().has_masks());
    }

    #[test]
    fn a_class_folder_given_directly_is_one_class() {
        let dir = data();
        let classes = class_dirs(&dir.path().join("nut"), None).unwrap();
        assert_eq!((classes.len(), classes[0].name.as_str()), (1, "nut"));
    }

    #[test]
    fn mistakes_are_named_with_what_is_there() {
        let dir = data();
        let only = vec!["screw".to_owned()];
        let e = class_dirs(dir.path(), Some(&only)).unwrap_err().to_string();
        assert!(e.contains("screw") && e.contains("bolt"), "{e}");
        let e = class_dirs(&dir.path().join("readme"), None).unwrap_err().to_string();
        assert!(e.contains("CLASS/test/good"), "{e}");
        let e = class_dirs(&dir.path().join("nowhere"), None).unwrap_err().to_string();
        assert!(e.contains("nowhere"), "{e}");
    }
}
