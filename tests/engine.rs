//! Engine bundles: what loads, what is refused and what the message says; the CPU engine against
//! answers computed by hand.

#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod support;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crrd::engine::bundle::{
    Bundle, BundleSource, EmbeddedBundle, GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE,
};
use crrd::engine::{
    Backend, CpuEngine, Engine, EngineError, EngineErrorKind, InUse, KeptEngine, ModelSpec,
    Retries, Workshop, in_use, open, open_many,
};
use crrd::frame::{AnomalyMap, Precision};
use crrd::sys::shutdown;
use support::standin;

fn bundle_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    standin::write_bundle(dir.path(), &["bolt", "nut"]);
    dir
}

fn open_dir(dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
    open(&BundleSource::Dir(dir.to_owned()), Backend::Cpu)
}

fn edit_manifest(dir: &Path, from: &str, to: &str) {
    let path = dir.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in the manifest:\n{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn refused(dir: &Path, kind: EngineErrorKind, says: &[&str]) {
    let Err(e) = open_dir(dir) else { panic!("accepted, {kind:?} was expected") };
    let mut text = e.to_string();
    let mut source = std::error::Error::source(&e);
    while let Some(s) = source {
        text = format!("{text}: {s}");
        source = s.source();
    }
    assert_eq!(e.kind(), kind, "{text}");
    for part in says {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn the_cpu_engine_answers_as_computed_by_hand() {
    let dir = bundle_dir();
    let mut engine = open_dir(dir.path()).unwrap();
    assert_eq!(engine.spec().classes, ["bolt", "nut"]);
    let mut map = AnomalyMap::default();
    for picture in [standin::with_square(255, 40, 2, 6), standin::grey()] {
        engine.infer(&picture, &mut map).unwrap();
        let (want, score) = standin::by_hand(&picture);
        let worst = map.values.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "map differs by {worst}");
        assert!((map.score - score).abs() < 1e-5, "{} {score}", map.score);
        assert_eq!((map.width, map.height), (standin::SIDE, standin::SIDE));
    }
}

#[test]
fn a_picture_of_the_wrong_size_is_refused_and_the_engine_goes_on() {
    let dir = bundle_dir();
    let mut engine = open_dir(dir.path()).unwrap();
    let mut map = AnomalyMap::default();
    let e = engine.infer(&[0; 10], &mut map).unwrap_err();
    assert_eq!(e.kind(), EngineErrorKind::Input);
    assert!(map.score.is_nan() && map.values.iter().all(|v| v.is_nan()));
    engine.infer(&standin::grey(), &mut map).unwrap();
    assert!(map.is_complete() && map.score.is_finite());
}

#[test]
fn engines_opened_together_give_the_same_answers_on_their_own_threads() {
    let dir = bundle_dir();
    let engines = open_many(&BundleSource::Dir(dir.path().to_owned()), Backend::Cpu, 3).unwrap();
    assert_eq!(engines.len(), 3);
    let picture = standin::with_square(0, 10, 10, 7);
    let (_, score) = standin::by_hand(&picture);
    std::thread::scope(|scope| {
        for mut engine in engines {
            let picture = &picture;
            scope.spawn(move || {
                let mut map = AnomalyMap::default();
                engine.infer(picture, &mut map).unwrap();
                assert!((map.score - score).abs() < 1e-5);
            });
        }
    });
}

#[test]
fn an_embedded_bundle_loads_like_a_folder() {
    let dir = bundle_dir();
    // A test may leak: the program's own bundle is `include_bytes!`.
    let text: &'static str =
        std::fs::read_to_string(dir.path().join(MANIFEST_FILE)).unwrap().leak();
    let embedded = EmbeddedBundle {
        name: "standin",
        manifest: text,
        model: std::fs::read(dir.path().join(MODEL_FILE)).unwrap().leak(),
        golden: std::fs::read(dir.path().join(GOLDEN_FILE)).unwrap().leak(),
    };
    let bundle = Bundle::load(&BundleSource::Embedded(embedded)).unwrap();
    CpuEngine::load(&bundle).unwrap();
    let broken = EmbeddedBundle { model: b"not this", ..embedded };
    let e = Bundle::load(&BundleSource::Embedded(broken)).unwrap_err();
    assert_eq!(e.kind(), EngineErrorKind::Corrupt);
    assert!(e.to_string().contains("embedded engine `standin`"), "{e}");
}

#[test]
fn a_missing_folder_or_file_is_named() {
    let dir = bundle_dir();
    refused(&dir.path().join("nowhere"), EngineErrorKind::Io, &["nowhere", "manifest.toml"]);
    std::fs::remove_file(dir.path().join(MODEL_FILE)).unwrap();
    refused(dir.path(), EngineErrorKind::Io, &["model.onnx", "name the folder"]);
}

#[test]
fn a_flipped_bit_in_any_file_is_found_by_its_hash() {
    for file in [MODEL_FILE, GOLDEN_FILE] {
        let dir = bundle_dir();
        let path = dir.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        refused(dir.path(), EngineErrorKind::Corrupt, &[file, "SHA-256", "copy the whole bundle"]);
    }
}

#[test]
fn a_manifest_that_is_wrong_is_refused_with_its_field() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("format = 1", "format = 2", &["`format` is 2", "this program reads 1"]),
        ("name = \"stand-in\"", "nmae = \"x\"", &["nmae", "manifest.toml"]),
        ("width = 64", "width = 0", &["`input.width` is 0"]),
        ("file = \"model.onnx\"", "file = \"../model.onnx\"", &["`model.file`", "plain file name"]),
        ("score = \"score\"", "score = \"anomaly_map\"", &["name the same tensor"]),
        ("classes = [\"bolt\", \"nut\"]", "classes = []", &["`classes`"]),
        ("classes = [\"bolt\", \"nut\"]", "classes = [\"a\", \"a\"]", &["twice"]),
        ("count = 3", "count = 0", &["`golden.count` is 0"]),
        ("tolerance = 0.001", "tolerance = 0.5", &["`golden.tolerance` is 0.5"]),
        ("tolerance = 0.001", "tolerance = nan", &["`golden.tolerance` is NaN"]),
        ("format = 1", "format = \"", &["manifest.toml"]),
    ];
    for (from, to, says) in cases {
        let dir = bundle_dir();
        // toml prints 1e-3 of an f32 with its binary tail; make it plain first.
        let path = dir.path().join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let plain: Vec<String> = text
            .lines()
            .map(|l| if l.starts_with("tolerance") { "tolerance = 0.001".into() } else { l.into() })
            .collect();
        std::fs::write(&path, plain.join("\n")).unwrap();
        edit_manifest(dir.path(), from, to);
        refused(dir.path(), EngineErrorKind::Manifest, says);
    }
}

#[test]
fn a_model_that_is_not_the_manifests_is_foreign() {
    let cases: &[(&str, &str, &str)] = &[
        ("name = \"image\"", "name = \"picture\"", "its input is `image`, not `picture`"),
        ("score = \"score\"", "score = \"points\"", "no output tensor `points`"),
    ];
    for (from, to, says) in cases {
        let dir = bundle_dir();
        edit_manifest(dir.path(), from, to);
        refused(dir.path(), EngineErrorKind::Foreign, &[says, "model.onnx", "export"]);
    }
}

#[test]
fn golden_pictures_must_have_the_models_sizes() {
    let dir = bundle_dir();
    edit_manifest(dir.path(), "width = 64", "width = 32");
    refused(dir.path(), EngineErrorKind::Corrupt, &["image.0", "[64, 64, 3]", "[64, 32, 3]"]);
    let dir = bundle_dir();
    edit_manifest(dir.path(), "count = 3", "count = 4");
    refused(dir.path(), EngineErrorKind::Corrupt, &["image.3", "missing"]);
}

#[test]
fn an_engine_that_does_not_reproduce_its_golden_answers_is_refused_with_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    standin::write_bundle(dir.path(), &["bolt"]);
    // The right hashes, the wrong answers: every picture's answer is that of the grey part but
    // the range of the maps stays.
    let model = standin::model_bytes();
    let right = standin::golden_bytes(&[standin::with_square(255, 5, 5, 9)]);
    let mut wrong = right.clone();
    let map_value = standin::by_hand(&standin::with_square(255, 5, 5, 9)).0[0];
    let at = find(&wrong, &map_value.to_le_bytes());
    wrong[at..at + 4].copy_from_slice(&(map_value + 0.2_f32).to_le_bytes());
    let manifest = standin::manifest(&["bolt"], &model, &wrong, 1);
    std::fs::write(dir.path().join(GOLDEN_FILE), &wrong).unwrap();
    std::fs::write(dir.path().join(MANIFEST_FILE), toml::to_string(&manifest).unwrap()).unwrap();
    refused(
        dir.path(),
        EngineErrorKind::SelfCheck,
        &["map differs by up to 2.000e-1", "allowed is"],
    );
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

#[test]
fn a_model_that_is_not_onnx_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    standin::write_bundle(dir.path(), &["bolt"]);
    let model = b"this is not a model".to_vec();
    let golden = std::fs::read(dir.path().join(GOLDEN_FILE)).unwrap();
    let manifest = standin::manifest(&["bolt"], &model, &golden, 3);
    std::fs::write(dir.path().join(MODEL_FILE), &model).unwrap();
    std::fs::write(dir.path().join(MANIFEST_FILE), toml::to_string(&manifest).unwrap()).unwrap();
    let e = open_dir(dir.path()).err().unwrap();
    assert!(
        matches!(e.kind(), EngineErrorKind::Backend | EngineErrorKind::Foreign),
        "{:?}: {e}",
        e.kind()
    );
}

#[cfg(not(feature = "ort"))]
#[test]
fn onnxruntime_is_refused_with_a_remedy_where_it_is_not_built_in() {
    let dir = bundle_dir();
    let e = open(&BundleSource::Dir(dir.path().to_owned()), Backend::Ort).err().unwrap();
    assert!(e.to_string().contains("--features ort"), "{e}");
}

#[cfg(feature = "ort")]
#[test]
fn onnxruntime_answers_as_the_cpu_engine() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        println!("skipped: ORT_DYLIB_PATH not set");
        return;
    }
    let dir = bundle_dir();
    let source = BundleSource::Dir(dir.path().to_owned());
    let mut engines = [open(&source, Backend::Ort).unwrap(), open(&source, Backend::Cpu).unwrap()];
    let picture = standin::with_square(255, 7, 9, 11);
    let mut maps = [AnomalyMap::default(), AnomalyMap::default()];
    for (engine, map) in engines.iter_mut().zip(&mut maps) {
        engine.infer(&picture, map).unwrap();
    }
    let [a, b] = &maps;
    let worst = a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5 && (a.score - b.score).abs() < 1e-5, "{worst}");
    assert_eq!(open_many(&source, Backend::Ort, 2).unwrap().len(), 2);
}

/// Set for a test that plays the child in a process of its own.
const CHILD_VARIABLE: &str = "CRRD_TEST_CHILD";
/// Longest wait for a child: what it waits for itself is three seconds.
const CHILD_TIMEOUT: Duration = Duration::from_secs(30);

/// A builder inside a foreign library that hears nothing.
struct Deaf;

impl Workshop for Deaf {
    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        let _library = InUse::new();
        loop {
            std::thread::park();
        }
    }

    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        unreachable!("nothing has failed")
    }

    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError> {
        Ok(None)
    }
}

#[test]
fn a_builder_that_does_not_end_keeps_no_process_and_changes_no_exit_code() {
    if std::env::var_os(CHILD_VARIABLE).is_some() {
        let spec = ModelSpec {
            input_width: 1,
            input_height: 1,
            map_width: 1,
            map_height: 1,
            classes: vec!["a".to_owned()],
            sha256: String::new(),
            precision: Precision::Fp32,
        };
        assert!(!in_use());
        let kept = KeptEngine::building(spec, None, Deaf, Retries::default()).unwrap();
        while !in_use() {
            std::thread::yield_now();
        }
        drop(kept);
        assert!(in_use(), "it was left behind");
        // Does not come back: the test runner would answer another code.
        shutdown::leave(ExitCode::from(7), in_use());
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_builder_that_does_not_end_keeps_no_process_and_changes_no_exit_code"])
        .env(CHILD_VARIABLE, "1")
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > CHILD_TIMEOUT {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(7), "{status}");
}
