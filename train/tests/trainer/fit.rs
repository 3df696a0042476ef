//! `fit` from a folder of pictures to a bundle, with an encoder by formula.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crrd_train::arch::HostTensor;
use crrd_train::onnx::Storage;
use crrd_train::progress::Progress;
use crrd_train::trainer::{
    Compute, FitOptions, Fitted, HeadChoice, MixChoice, Part, Preset, TrainError, TrainErrorKind,
    fit,
};
use safetensors::tensor::{Dtype, TensorView};

use crate::export_support::{encoder_tensors, picture};

pub(crate) fn encoder_file(dir: &Path) -> PathBuf {
    write_encoder(&dir.join("encoder.safetensors"), encoder_tensors("efficientnet_lite0"))
}

pub(crate) fn write_encoder(file: &Path, tensors: BTreeMap<String, HostTensor>) -> PathBuf {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, t)| (name, t.shape, t.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, raw)| (name, TensorView::new(Dtype::F32, shape.clone(), raw).unwrap()));
    fs::write(file, safetensors::serialize(views, None).unwrap()).unwrap();
    file.to_owned()
}

pub(crate) fn add_pictures(data: &Path, class: &str, count: usize) {
    let good = data.join(class).join("train/good");
    fs::create_dir_all(&good).unwrap();
    for i in 0..count {
        let file = good.join(format!("{i:03}.png"));
        image::save_buffer(&file, &picture(64, i), 64, 64, image::ColorType::Rgb8).unwrap();
    }
}

pub(crate) fn options(dir: &Path) -> FitOptions {
    FitOptions {
        data: dir.join("data"),
        config: None,
        out: dir.join("model"),
        preset: Preset::Tiny,
        head: HeadChoice::Slim,
        without: vec![],
        mask_probability: None,
        mix: None,
        seed: 1,
        minutes: None,
        iterations: Some(2),
        encoder: dir.join("encoder.safetensors"),
        textures: None,
        threads: 2,
        compute: Compute::Cpu,
        memory_bytes: None,
        storage: Storage::Fp16,
        name: "toy".into(),
        restart: false,
        command: "crrd-train fit".into(),
        created_utc: "2020-01-01T00:00:00Z".into(),
    }
}

pub(crate) fn failure(options: &FitOptions) -> TrainError {
    fit(options, &Progress::silent(), &|| false).unwrap_err()
}

#[test]
fn a_folder_of_pictures_becomes_a_bundle_and_an_unreadable_file_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 3);
    // A class of a single picture must work too.
    add_pictures(&dir.path().join("data"), "nut", 1);
    fs::write(dir.path().join("data/bolt/train/good/zzz.png"), b"no picture").unwrap();
    let options = options(dir.path());
    let fitted = fit(&options, &Progress::silent(), &|| false).unwrap();
    let Fitted::Bundle(manifest) = fitted else { panic!("nobody stopped the run") };
    assert_eq!(manifest.classes, ["bolt", "nut"]);
    assert_eq!(manifest.training.iterations, 2);
    assert_eq!(manifest.training.images, 3, "one bolt is held out");
    assert_eq!(manifest.golden.count, 3);
    for file in [
        "manifest.toml",
        "model.onnx",
        "model.fp16.onnx",
        "golden.safetensors",
        "weights.safetensors",
        "report.html",
    ] {
        assert!(options.out.join(file).is_file(), "{file}");
    }
    assert!(!dir.path().join("model.checkpoint").exists());
}

#[test]
fn good_pictures_unlike_the_others_are_named_and_shown_before_training_begins() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    let good = dir.path().join("data/bolt/train/good");
    fs::create_dir_all(&good).unwrap();
    for i in 0..12 {
        // Like parts are those of one parity; the odd one is a negative.
        let mut rgb = picture(64, 2 * i);
        if i == 7 {
            rgb.iter_mut().for_each(|v| *v = 255 - *v);
        }
        let file = good.join(format!("{i:02}.png"));
        image::save_buffer(file, &rgb, 64, 64, image::ColorType::Rgb8).unwrap();
    }
    let options = FitOptions { iterations: Some(1), ..options(dir.path()) };
    let sheet = dir.path().join("model.checkpoint/odd.png");
    // Encoding asks for each of eleven pictures, then the first iteration.
    let (asked, shown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = || {
        let encoded = asked.fetch_add(1, Ordering::Relaxed) >= 11;
        shown.fetch_add(usize::from(encoded && sheet.is_file()), Ordering::Relaxed);
        false
    };
    let progress = Progress::kept();
    let fitted = fit(&options, &progress, &stop).unwrap();
    assert!(matches!(fitted, Fitted::Bundle(_)));
    let lines = progress.lines();
    let at = |says: &str| lines.iter().position(|line| line.contains(says));
    let (encoded, trained) = (at("[encoding]").unwrap(), at("[decoder]").unwrap());
    for says in ["1 good pictures look unlike", "bolt/train/good/07.png (", "odd.png"] {
        assert!(at(says).is_some_and(|at| at > encoded && at < trained), "{says}: {lines:#?}");
    }
    assert!(shown.into_inner() > 0, "the sheet can be looked at while the run is under way");
    assert!(!sheet.exists(), "and then is in the report");
    let report = fs::read_to_string(options.out.join("report.html")).unwrap();
    assert!(report.contains("bolt/train/good/07.png ("));
}

#[test]
fn an_interrupted_fit_keeps_a_checkpoint_that_only_its_own_settings_resume() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 2);
    let options = options(dir.path());
    // Encoding asks once for the only training picture, then each iteration asks.
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
    let fitted = fit(&options, &Progress::silent(), &stop).unwrap();
    let folder = dir.path().join("model.checkpoint");
    assert!(matches!(fitted, Fitted::Interrupted(Some(kept)) if kept == folder));
    assert!(!options.out.exists());
    assert!(folder.join("state.safetensors").is_file());
    // Stopped again while it encodes, it still has that.
    let fitted = fit(&options, &Progress::silent(), &|| true).unwrap();
    assert!(matches!(fitted, Fitted::Interrupted(Some(kept)) if kept == folder));

    let other = FitOptions { seed: 2, ..options.clone() };
    let error = failure(&other);
    assert_eq!(error.kind(), TrainErrorKind::Checkpoint);
    let restarted = FitOptions { restart: true, iterations: Some(1), ..other };
    let fitted = fit(&restarted, &Progress::silent(), &|| false).unwrap();
    assert!(matches!(fitted, Fitted::Bundle(_)));
}

#[test]
fn a_fit_interrupted_before_training_began_says_that_it_kept_nothing() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 2);
    let fitted = fit(&options(dir.path()), &Progress::silent(), &|| true).unwrap();
    assert!(matches!(fitted, Fitted::Interrupted(None)));
    assert!(!dir.path().join("model.checkpoint").exists());
}

#[test]
fn a_checkpoint_goes_on_with_the_same_textures_only_wherever_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 2);
    let texture = |folder: &str, number: usize| {
        let folder = dir.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let rgb = picture(32, number);
        image::save_buffer(folder.join("a.png"), &rgb, 32, 32, image::ColorType::Rgb8).unwrap();
        Some(folder)
    };
    let textures = texture("textures", 1);
    let options = FitOptions { textures, iterations: Some(1), ..options(dir.path()) };
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
    let fitted = fit(&options, &Progress::silent(), &stop).unwrap();
    assert!(matches!(fitted, Fitted::Interrupted(Some(_))));

    texture("textures", 2);
    assert_eq!(failure(&options).kind(), TrainErrorKind::Checkpoint, "another texture");
    let procedural = FitOptions { textures: None, ..options.clone() };
    assert_eq!(failure(&procedural).kind(), TrainErrorKind::Checkpoint, "no textures");
    let moved = FitOptions { textures: texture("moved", 1), ..options };
    let fitted = fit(&moved, &Progress::silent(), &|| false).unwrap();
    assert!(matches!(fitted, Fitted::Bundle(_)));
}

#[test]
fn without_the_head_no_head_is_trained_and_the_report_shows_none() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 2);
    let whole = FitOptions { iterations: Some(1), ..options(dir.path()) };
    let without = FitOptions { without: vec![Part::Head], ..whole.clone() };
    let out = dir.path().join("whole");
    for (options, has_head) in [(without, false), (FitOptions { out, ..whole }, true)] {
        let fitted = fit(&options, &Progress::silent(), &|| false).unwrap();
        let Fitted::Bundle(manifest) = fitted else { panic!("nobody stopped the run") };
        assert_eq!(manifest.method.distance_weight == 1.0, !has_head);
        let report = fs::read_to_string(options.out.join("report.html")).unwrap();
        assert!(report.contains("Decoder: how far"));
        for says in ["Segmentation head: how badly", "Weight of the two maps"] {
            assert_eq!(report.contains(says), has_head, "{says}");
        }
    }
}

#[test]
fn another_mix_of_damage_gives_another_model() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 2);
    let model = |mix| {
        let options = FitOptions { mix, restart: true, iterations: Some(1), ..options(dir.path()) };
        match fit(&options, &Progress::silent(), &|| false).unwrap() {
            Fitted::Bundle(manifest) => manifest.model.sha256,
            Fitted::Interrupted(_) => panic!("nobody stopped the run"),
        }
    };
    let standard = model(None);
    assert_eq!(model(Some(MixChoice::Standard)), standard, "the preset's");
    assert_ne!(model(Some(MixChoice::Perlin)), standard);
}

/// A station that sees a mirrored region in two tiles.
fn station(dir: &Path, mirror: bool) -> PathBuf {
    let file = dir.join("crrd.toml");
    let text = format!(
        "station = \"line1\"\nengine = \"engine\"\ncalibration = \"calibration.toml\"\n[[recipe]]\n\
         id = 1\nclass = \"bolt\"\ntiles = \"2x1\"\n[camera]\nfolder = \"parts\"\n[camera.geometry]\n\
         roi = [8, 4, 48, 30]\nmirror = {mirror}\n"
    );
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn with_a_configuration_tiles_are_trained_on_and_the_bundle_names_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 3);
    let config = Some(station(dir.path(), true));
    let options = FitOptions { config, iterations: Some(1), ..options(dir.path()) };
    // Encoding asks for each of the four tiles.
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 4;
    let fitted = fit(&options, &Progress::silent(), &stop).unwrap();
    assert!(matches!(fitted, Fitted::Interrupted(_)));

    station(dir.path(), false);
    assert_eq!(failure(&options).kind(), TrainErrorKind::Checkpoint, "another view");
    let whole = FitOptions { config: None, ..options.clone() };
    assert_eq!(failure(&whole).kind(), TrainErrorKind::Checkpoint, "another view");

    station(dir.path(), true);
    let fitted = fit(&options, &Progress::silent(), &|| false).unwrap();
    let Fitted::Bundle(manifest) = fitted else { panic!("nobody stopped the run") };
    assert_eq!(manifest.training.images, 4, "one picture of three is held out");
    let view = "bolt: roi = [8, 4, 48, 30], mirror = true in 2x1 tiles with overlap 0.1";
    assert_eq!(manifest.training.command, format!("crrd-train fit # {view}"));
    let report = fs::read_to_string(options.out.join("report.html")).unwrap();
    for says in ["bolt: 3 good pictures to train on", "6 tiles to train on"] {
        assert!(report.contains(says), "{says}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    let config = dir.path().join("crrd.toml");
    fs::write(&config, "station = 7").unwrap();
    let options = FitOptions { config: Some(config), ..options(dir.path()) };
    assert_eq!(failure(&options).kind(), TrainErrorKind::Config);
}

#[test]
fn a_time_budget_ends_a_run_long_before_its_iteration_limit() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 4);
    // How long this takes by the clock depends on what else the machine does; that it does not
    // run to the preset's limit shows that time ended it.
    let options = FitOptions { iterations: None, minutes: Some(0.05), ..options(dir.path()) };
    let fitted = fit(&options, &Progress::silent(), &|| false).unwrap();
    let Fitted::Bundle(manifest) = fitted else { panic!("nobody stopped the run") };
    let done = manifest.training.iterations;
    assert!((1..Preset::Tiny.settings().iterations_max / 2).contains(&done), "{done}");
}

#[test]
fn what_cannot_work_is_refused_before_training_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let error = failure(&options);
    assert_eq!(error.kind(), TrainErrorKind::Encoder);
    assert!(error.to_string().contains("import-encoder"), "{error}");

    encoder_file(dir.path());
    fs::create_dir_all(dir.path().join("data")).unwrap();
    assert_eq!(failure(&options).kind(), TrainErrorKind::Data);

    add_pictures(&dir.path().join("data"), "bolt", 1);
    let no_textures = FitOptions { textures: Some(dir.path().join("missing")), ..options.clone() };
    assert_eq!(failure(&no_textures).kind(), TrainErrorKind::Textures);

    fs::create_dir_all(&options.out).unwrap();
    fs::write(options.out.join("thesis.tex"), "years of work").unwrap();
    let error = failure(&options);
    assert_eq!(error.kind(), TrainErrorKind::Export);
    assert!(options.out.join("thesis.tex").exists());
}

#[test]
fn a_run_that_memory_or_disk_cannot_hold_is_refused_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 2);
    let options = FitOptions { memory_bytes: Some(1 << 20), ..options(dir.path()) };
    let error = failure(&options);
    assert_eq!(error.kind(), TrainErrorKind::Budget);
    assert!(error.to_string().contains("GiB are free"), "{error}");

    // Counted, not decoded: these are no pictures, and nobody has found out yet.
    let good = dir.path().join("data/nut/train/good");
    fs::create_dir_all(&good).unwrap();
    (0..2000).for_each(|i| fs::write(good.join(format!("{i}.png")), "no picture").unwrap());
    let many = FitOptions { memory_bytes: Some(800 << 20), ..options.clone() };
    let error = failure(&many);
    assert_eq!(error.kind(), TrainErrorKind::Budget);
    assert!(error.to_string().contains("2002 pictures"), "{error}");
    fs::remove_dir_all(dir.path().join("data/nut")).unwrap();
    let few = FitOptions { iterations: Some(1), out: dir.path().join("few"), ..many };
    assert!(matches!(fit(&few, &Progress::silent(), &|| false), Ok(Fitted::Bundle(_))));

    // A folder below a file can never be made.
    fs::write(dir.path().join("file"), "x").unwrap();
    let out = dir.path().join("file/model");
    let error = failure(&FitOptions { memory_bytes: None, out, ..options.clone() });
    assert_eq!(error.kind(), TrainErrorKind::Export);
    assert!(!dir.path().join("model").exists() && !dir.path().join("model.checkpoint").exists());
}

#[test]
fn one_picture_is_enough_and_the_report_says_that_it_is_few() {
    let dir = tempfile::tempdir().unwrap();
    encoder_file(dir.path());
    add_pictures(&dir.path().join("data"), "bolt", 1);
    let options = FitOptions { iterations: Some(1), ..options(dir.path()) };
    let fitted = fit(&options, &Progress::silent(), &|| false).unwrap();
    let Fitted::Bundle(manifest) = fitted else { panic!("nobody stopped the run") };
    let report = fs::read_to_string(options.out.join("report.html")).unwrap();
    for says in
        ["few to train on", &manifest.model.sha256, "1 good pictures, of which 0 were held out"]
    {
        assert!(report.contains(says), "{says}");
    }
    assert!(report.matches("<img").count() >= 1, "a sample with its map");
    // It is no part of the model: with another report, or none, the bundle is as good.
    fs::write(options.out.join("report.html"), "gone").unwrap();
    let source = crrd::engine::bundle::BundleSource::Dir(options.out);
    crrd::engine::bundle::Bundle::load(&source).unwrap();
}
