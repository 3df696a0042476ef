//! NVIDIA's real builder without a GPU: TensorRT for RTX parses and builds what is shipped.
//!
//! Ignored by default: the library is 220 MB and comes from PyPI. `tests/rtx/run.sh` fetches it and
//! runs `cargo test --test rtx -- --ignored --nocapture --test-threads 1`.

// Helpers of tests may unwrap: a panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crrd::engine::bundle::{Bundle, BundleSource};
use crrd::engine::graph::{CameraFrames, with_mask};
use crrd::engine::tensorrt::{BuildControl, Family, Target, TensorRt};
use crrd::engine::{EngineErrorKind, in_use};
use crrd::frame::{Geometry, PixelFormat, Precision};
use crrd::sys::shutdown;
use prost::Message;

/// Folder of `libtensorrt_rtx.so.1` and its ONNX parser.
const LIBRARIES: &str = "CRRD_RTX_LIBS";
/// Bundles to build beside the shipped one, separated by colons.
const BUNDLES: &str = "CRRD_RTX_BUNDLES";

fn libraries() -> PathBuf {
    std::env::var_os(LIBRARIES).expect("CRRD_RTX_LIBS names the folder of the libraries").into()
}

/// The shipped bundle.
fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/demo")
}

fn load(folder: PathBuf) -> Bundle {
    Bundle::load(&BundleSource::Dir(folder)).unwrap()
}

fn bundles() -> Vec<PathBuf> {
    let more = std::env::var_os(BUNDLES).unwrap_or_default();
    std::iter::once(demo())
        .chain(std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty()))
        .collect()
}

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn every_bundle_is_parsed_and_built_by_nvidias_builder() {
    let rtx = TensorRt::open(Some(&libraries())).unwrap();
    assert_eq!(rtx.version().family, Family::Rtx);
    println!("{}, GPU: {:?}", rtx.version(), rtx.device());
    for folder in bundles() {
        let bundle = load(folder);
        let manifest = bundle.manifest();
        for precision in [Precision::Fp32, Precision::Fp16] {
            let started = Instant::now();
            let built =
                rtx.build(Target::pictures(&bundle, precision), &BTreeSet::new(), &[]).unwrap();
            println!(
                "{} ({}, {precision}, opset {}, {} bytes): built in {:.1} s, plan of {} bytes, sha256 of the model {}",
                manifest.name,
                manifest.method.preset,
                manifest.model.opset,
                bundle.model().len(),
                started.elapsed().as_secs_f64(),
                built.plan.len(),
                &manifest.model.sha256[..16],
            );
            assert!(built.plan.len() > 100_000, "a plan holds the weights");
        }
    }
}

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn a_model_that_reads_the_frames_of_a_camera_is_built_for_every_kind_of_format() {
    let rtx = TensorRt::open(Some(&libraries())).unwrap();
    let bundle = load(demo());
    let whole = Geometry::WHOLE;
    let turned = Geometry { roi: Some([100, 60, 800, 600]), rotate: 90, mirror: true, ..whole };
    for (format, geometry) in [
        (PixelFormat::BayerRG8, whole),
        (PixelFormat::BayerGB12, whole),
        (PixelFormat::Mono8, whole),
        (PixelFormat::Rgb8, turned),
        (PixelFormat::Yuyv, turned),
        (PixelFormat::Nv12, whole),
    ] {
        let frames = CameraFrames { format, width: 1920, height: 1200, row_bytes: None, geometry };
        for precision in [Precision::Fp32, Precision::Fp16] {
            let started = Instant::now();
            let target = Target { bundle: &bundle, precision, frames: Some(&frames) };
            let built = rtx.build(target, &BTreeSet::new(), &[]).unwrap();
            println!(
                "frames {frames}, {precision}: built in {:.1} s, plan of {} bytes",
                started.elapsed().as_secs_f64(),
                built.plan.len(),
            );
            assert!(built.plan.len() > 100_000, "a plan holds the weights");
        }
    }
}

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn a_model_with_the_limit_as_an_input_and_the_mask_as_an_output_is_built() {
    let rtx = TensorRt::open(Some(&libraries())).unwrap();
    let bundle = load(demo());
    let output = &bundle.manifest().output;
    let size = (output.map_width, output.map_height);
    for (name, model) in [
        ("32 bits", bundle.graph().unwrap()),
        ("16 bits", bundle.half_graph(&BTreeSet::new()).unwrap()),
    ] {
        let masked = with_mask(&model, &output.anomaly_map, size).unwrap();
        let bytes = rtx.try_build(&masked.encode_to_vec()).unwrap();
        println!("with limit and mask, {name}: plan of {bytes} bytes");
    }
}

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn a_build_tells_its_phases_and_ends_when_it_is_told_to() {
    let bundle = load(demo());
    let target = Target::pictures(&bundle, Precision::Fp32);
    for cancels in [false, true] {
        let control = BuildControl::default();
        let rtx = TensorRt::open(Some(&libraries())).unwrap().controlled_by(control.clone());
        let mut seen = BTreeMap::new();
        let started = Instant::now();
        let built = std::thread::scope(|scope| {
            let build = scope.spawn(|| rtx.build(target, &BTreeSet::new(), &[]));
            while !build.is_finished() {
                for phase in control.phases() {
                    seen.insert(phase.name, phase.steps);
                }
                if cancels && !seen.is_empty() {
                    control.cancel();
                }
                std::thread::yield_now();
            }
            build.join().unwrap()
        });
        println!("cancelled: {cancels}, {:.2} s, phases {seen:?}", started.elapsed().as_secs_f64());
        assert!(!seen.is_empty() && seen.values().all(|steps| *steps > 0), "{seen:?}");
        assert!(control.phases().is_empty(), "nothing is under way any more");
        match built {
            Ok(_) => assert!(!cancels, "it was built to its end"),
            Err(e) => assert_eq!((cancels, e.kind()), (true, EngineErrorKind::Cancelled), "{e}"),
        }
        if cancels {
            let again = rtx.build(target, &BTreeSet::new(), &[]).unwrap_err();
            assert_eq!(again.kind(), EngineErrorKind::Cancelled);
        }
    }
}

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn without_a_gpu_a_plan_is_refused_in_words_and_not_by_a_crash() {
    let rtx = TensorRt::open(Some(&libraries())).unwrap();
    if rtx.device().is_some() {
        println!("there is a GPU: nothing to see");
        return;
    }
    let bundle = load(demo());
    let target = Target::pictures(&bundle, Precision::Fp16);
    assert_eq!(rtx.key(target).unwrap_err().kind(), EngineErrorKind::Backend);
    let plan = rtx.build(target, &BTreeSet::new(), &[]).unwrap().plan;
    for plan in [&plan[..], &plan[..1000], b"nonsense"] {
        let Err(error) = rtx.load(target, plan) else { panic!("a plan runs without a GPU") };
        println!("{error}");
        assert_eq!(error.kind(), EngineErrorKind::Backend);
        assert!(error.to_string().contains("TensorRT-RTX 1."), "{error}");
    }
}

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn a_model_that_is_none_is_refused_with_the_parsers_words() {
    let rtx = TensorRt::open(Some(&libraries())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(demo()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let model = dir.path().join("model.onnx");
    let whole = std::fs::read(&model).unwrap();
    let broken = &whole[..whole.len() / 2];
    std::fs::write(&model, broken).unwrap();
    // The bundle's hash is corrected, so that only the parser can notice.
    let manifest = dir.path().join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text =
        text.replace(&crrd::sys::hash::sha256_hex(&whole), &crrd::sys::hash::sha256_hex(broken));
    std::fs::write(&manifest, text).unwrap();
    let bundle = load(dir.path().into());
    let error =
        rtx.build(Target::pictures(&bundle, Precision::Fp32), &BTreeSet::new(), &[]).unwrap_err();
    println!("{error}");
    assert_eq!(error.kind(), EngineErrorKind::Backend);
    assert!(error.to_string().contains("cannot parse the model"), "{error}");
}

/// Set for a test that plays the child in a process of its own: after how many milliseconds of the build
/// it leaves.
const CHILD_LEAVES_AFTER_MS: &str = "CRRD_RTX_LEAVES_AFTER_MS";

#[test]
#[ignore = "needs NVIDIA's libraries: tests/rtx/run.sh"]
fn a_process_that_is_left_while_the_builder_works_ends_at_once_with_its_own_code() {
    if let Some(after) = std::env::var_os(CHILD_LEAVES_AFTER_MS) {
        let after = after.into_string().unwrap().parse().unwrap();
        // Never ended: as a builder whose step does not end.
        let build = || {
            let rtx = TensorRt::open(Some(&libraries())).unwrap();
            let bundle = load(demo());
            loop {
                let target = Target::pictures(&bundle, Precision::Fp16);
                rtx.build(target, &BTreeSet::new(), &[]).unwrap();
            }
        };
        std::thread::Builder::new().name("builder".to_owned()).spawn(build).unwrap();
        std::thread::sleep(Duration::from_millis(after));
        shutdown::leave(ExitCode::from(7), in_use());
        return;
    }
    let this = "a_process_that_is_left_while_the_builder_works_ends_at_once_with_its_own_code";
    for at in 0..20 {
        let after = 300 + 50 * at;
        let begin = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--ignored"])
            .env(CHILD_LEAVES_AFTER_MS, after.to_string())
            .spawn()
            .unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > Duration::from_secs(15) {
                child.kill().unwrap();
                panic!("left after {after} ms, it hangs");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(status.code(), Some(7), "left after {after} ms: {status}");
    }
}
