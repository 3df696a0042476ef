//! Training pictures against what the station shows its engine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crrd::engine::{Eye, Held, ModelSpec, ScriptedEngine};
use crrd::frame::{AnomalyMap, Precision};

use super::*;
use crate::dataset::{Dataset, DatasetErrorKind};
use crate::survey::Survey;

const INPUT: usize = 32;
const MAP: usize = 16;

/// A picture of which no two places look alike.
fn write_picture(path: &Path, number: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| {
        image::Rgb([(x * 3 + number * 40) as u8, (y * 4) as u8, (x * y / 16) as u8])
    };
    image::RgbImage::from_fn(80, 60, pixel).save(path).unwrap();
}

/// Four pictures of a bolt, two of a nut that no recipe names.
fn data(dir: &Path) {
    for (class, count) in [("bolt", 4), ("nut", 2)] {
        for i in 0..count {
            write_picture(&dir.join(format!("{class}/train/good/{i}.png")), i);
        }
    }
}

fn framings(dir: &Path, recipe: &str, geometry: &str) -> Framings {
    let file: PathBuf = dir.join("crrd.toml");
    let text = format!(
        "station = \"line1\"\nengine = \"engine\"\ncalibration = \"calibration.toml\"\n[[recipe]]\n\
         id = 1\nclass = \"bolt\"\n{recipe}\n[camera]\nfolder = \"parts\"\n[camera.geometry]\n{geometry}\n"
    );
    std::fs::write(&file, text).unwrap();
    Framings::of_file(Some(&file)).unwrap()
}

fn load(dir: &Path, framings: &Framings) -> Dataset {
    Dataset::load_as_seen(dir, &Sight { input: INPUT, map: MAP, framings }).unwrap()
}

/// What the station's engine is given of a picture file.
fn given(file: &Path, framing: &Framing) -> Vec<Vec<u8>> {
    let spec = ModelSpec {
        input_width: INPUT,
        input_height: INPUT,
        map_width: MAP,
        map_height: MAP,
        classes: vec!["bolt".to_owned()],
        sha256: "0".repeat(64),
        precision: Precision::Fp32,
    };
    let inputs = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&inputs);
    let keep = move |input: &[u8], _: &mut AnomalyMap| {
        kept.lock().unwrap().push(input.to_vec());
        Ok(())
    };
    let mut eye = Eye::new(Box::new(ScriptedEngine::new(spec, keep)));
    let (_, picture) = read(file).unwrap();
    assert_eq!(eye.prepare(framing, picture.view().unwrap()).unwrap(), Held::Nothing);
    eye.look(None, || true).unwrap();
    std::mem::take(&mut inputs.lock().unwrap())
}

#[test]
fn training_pictures_are_what_the_engine_of_the_station_is_given() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    for (recipe, geometry, tiles) in [
        ("", "", 1),
        ("", "roi = [10, 6, 40, 30]", 1),
        ("", "mirror = true\nrotate = 90", 1),
        ("tiles = \"3x2\"\noverlap = 0.2", "", 6),
        ("tiles = \"2x1\"", "roi = [10, 6, 40, 30]\nmirror = true\nrotate = 270", 2),
        ("tiles = \"2x2\"", "corners = [[8, 5], [70, 9], [64, 55], [4, 50]]", 4),
    ] {
        let framings = framings(dir.path(), recipe, geometry);
        let set = load(dir.path(), &framings);
        let bolts: Vec<_> = set.images.iter().filter(|image| image.class == 0).collect();
        assert_eq!(bolts.len(), 4 * tiles, "{recipe} {geometry}");
        for (at, shown) in bolts.chunks(tiles).enumerate() {
            let file = dir.path().join(format!("bolt/train/good/{at}.png"));
            let rgb: Vec<_> = shown.iter().map(|image| image.rgb.clone()).collect();
            assert_eq!(rgb, given(&file, &framings.of_class("bolt")), "{recipe} {geometry}");
            assert!(shown.iter().all(|image| image.path == file));
            assert!(shown.iter().enumerate().all(|(tile, image)| image.tile == tile));
        }
        let whole = Dataset::load(dir.path(), INPUT).unwrap();
        let is_whole = recipe.is_empty() && geometry.is_empty();
        assert_eq!(set.images[0].rgb == whole.images[0].rgb, is_whole, "{recipe} {geometry}");
        assert_eq!(set.sha256, whole.sha256, "the files are the same");
    }
}

#[test]
fn all_tiles_of_a_picture_are_on_one_side_of_the_split_that_pictures_have_without_tiles() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let set = load(dir.path(), &framings(dir.path(), "tiles = \"3x2\"", ""));
    let whole = Dataset::load(dir.path(), INPUT).unwrap();
    let paths = |set: &Dataset, side: &[usize]| -> Vec<PathBuf> {
        side.iter().map(|&i| set.images[i].path.clone()).collect()
    };
    let (split, expected) = (set.split(0.3, 5), whole.split(0.3, 5));
    assert_eq!((split.held_out.len(), split.train.len()), (6 + 1, 3 * 6 + 1));
    for (side, expected) in [(split.held_out, expected.held_out), (split.train, expected.train)] {
        let mut found = paths(&set, &side);
        found.dedup();
        assert_eq!(found, paths(&whole, &expected));
    }
}

#[test]
fn the_survey_counts_pictures_and_says_what_the_model_sees_of_them() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let set = load(dir.path(), &framings(dir.path(), "tiles = \"3x2\"", "roi = [10, 6, 40, 30]"));
    let words = Survey::of(&set, dir.path()).words(dir.path());
    for says in [
        "bolt: 4 good pictures to train on",
        "of each picture the model sees roi = [10, 6, 40, 30] in 3x2 tiles with overlap 0.1",
        "24 tiles to train on",
        "nut: 2 good pictures to train on",
        "no recipe of the configuration names this class",
    ] {
        assert!(words.contains(says), "{says}:\n{words}");
    }
    assert_eq!(words.matches("no recipe").count(), 1, "{words}");
    let views =
        "bolt: roi = [10, 6, 40, 30] in 3x2 tiles with overlap 0.1; nut: roi = [10, 6, 40, 30]";
    assert_eq!(set.views(), views);
    assert_eq!(Dataset::load(dir.path(), INPUT).unwrap().views(), "");
}

#[test]
fn a_picture_without_the_region_is_left_out_and_a_class_of_them_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let small = dir.path().join("bolt/train/good/small.png");
    image::RgbImage::new(20, 20).save(&small).unwrap();
    let set = load(dir.path(), &framings(dir.path(), "", "roi = [10, 6, 40, 30]"));
    assert_eq!((set.images.len(), set.left_out.len()), (6, 1));
    let reason = &set.left_out[0].reason;
    assert!(reason.contains("[10, 6, 40, 30]") && reason.contains("20x20"), "{reason}");
    let framings = framings(dir.path(), "", "roi = [100, 6, 40, 30]");
    let sight = Sight { input: INPUT, map: MAP, framings: &framings };
    let error = Dataset::load_as_seen(dir.path(), &sight).unwrap_err();
    assert_eq!(error.kind(), DatasetErrorKind::EmptyClass);
    assert!(error.to_string().contains("[100, 6, 40, 30]"), "{error}");
}

#[test]
fn memory_is_bounded_by_the_tiles_not_by_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let framings = framings(dir.path(), "tiles = \"8x8\"", "");
    // 256 tiles of four bolts, and two nuts; refused before a picture is read.
    let sight = Sight { input: 4096, map: 4096, framings: &framings };
    let error = Dataset::load_as_seen(dir.path(), &sight).unwrap_err();
    assert_eq!(error.kind(), DatasetErrorKind::TooLarge);
    assert!(error.to_string().contains("258 pictures"), "{error}");
    assert!(error.to_string().contains("fewer pictures or tiles"), "{error}");
}
