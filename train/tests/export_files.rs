//! Bundles on disk, and the exported model in another runtime.
#![allow(clippy::unwrap_used, reason = "clippy does not see that helpers are test code")]

mod export_support;

use std::path::Path;
use std::process::Command;

use crrd::engine::bundle::{BundleSource, GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, Manifest};
use crrd::engine::{Backend, EngineErrorKind, open};
use crrd::frame::AnomalyMap;
use crrd_train::arch::{self, Architecture};
use crrd_train::encoder::frozen::encoder_model;
use crrd_train::export::{
    BundleFacts, ExportErrorKind, HALF_MODEL_FILE, WEIGHTS_FILE, export, write_bundle,
};
use crrd_train::onnx::Storage;
use crrd_train::plan::Plan;
use export_support::{difference_and_range, encoder_weights, picture, weights};
use prost::Message;
use safetensors::SafeTensors;
use tract_onnx::pb::ModelProto;

fn small() -> Architecture {
    Architecture { input: 64, grid: 8, map: 32, ..arch::tiny() }
}

fn facts(name: &str) -> BundleFacts {
    BundleFacts {
        name: name.to_owned(),
        preset: "tiny".to_owned(),
        command: "crrd-train fit --data parts --out engines/parts --preset tiny".to_owned(),
        seed: 7,
        images: 12,
        iterations: 100,
        minutes: 0.5,
        dataset_sha256: "ab".repeat(32),
        created_utc: "2026-01-02T03:04:05Z".to_owned(),
        storage: Storage::Fp16,
        classes: vec!["bolt".to_owned(), "nut".to_owned()],
        spdx: "Apache-2.0".to_owned(),
        notice: "EfficientNet-Lite0, Apache-2.0".to_owned(),
    }
}

fn write(dir: &Path, name: &str) -> Result<Manifest, crrd_train::export::ExportError> {
    let arch = small();
    let golden = [picture(64, 0), picture(64, 1)];
    write_bundle(dir, &arch, &encoder_weights(&arch.encoder), &weights(&arch), &golden, facts(name))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_bundle_holds_what_its_manifest_says() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("engines/parts");
    let written = write(&dir, "parts").unwrap();
    let expected = [GOLDEN_FILE, MANIFEST_FILE, HALF_MODEL_FILE, MODEL_FILE, WEIGHTS_FILE];
    assert_eq!(names(&dir), expected);
    let text = std::fs::read_to_string(dir.join(MANIFEST_FILE)).unwrap();
    assert_eq!(toml::from_str::<Manifest>(&text).unwrap(), written);
    let hash = |name: &str| crrd::sys::hash::sha256_file_hex(&dir.join(name)).unwrap();
    assert_eq!(
        (hash(MODEL_FILE), hash(GOLDEN_FILE)),
        (written.model.sha256, written.golden.sha256)
    );
    assert_eq!((written.golden.count, written.model.storage.as_str()), (2, "fp16"));
    assert_eq!(names(dir.parent().unwrap()), ["parts"], "nothing is left beside the bundle");
}

#[test]
fn golden_tensors_are_what_the_written_model_gives() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("b"), "b").unwrap();
    let read = |name: &str| std::fs::read(folder.path().join("b").join(name)).unwrap();
    let model = ModelProto::decode(&read(MODEL_FILE)[..]).unwrap();
    let plan = Plan::new(&model, 64).unwrap();
    let golden = read(GOLDEN_FILE);
    let golden = SafeTensors::deserialize(&golden).unwrap();
    for n in 0..2 {
        let image = golden.tensor(&format!("image.{n}")).unwrap();
        assert_eq!((image.shape(), image.data()), (&[64, 64, 3][..], &picture(64, n)[..]));
        let mut got = vec![];
        plan.run(image.data(), |_, v| got.push(v.to_vec())).unwrap();
        for (name, shape, got) in
            [("anomaly_map", &[32, 32][..], &got[0]), ("score", &[1][..], &got[1])]
        {
            let tensor = golden.tensor(&format!("{name}.{n}")).unwrap();
            let bytes: Vec<u8> = got.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!((tensor.shape(), tensor.data()), (shape, &bytes[..]));
        }
    }
}

#[test]
fn the_model_in_16_bits_is_half_as_large_and_scores_alike() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("b");
    let arch = small();
    let golden = [picture(64, 0), picture(64, 1)];
    let facts = BundleFacts { storage: Storage::Fp32, ..facts("b") };
    let encoder = encoder_weights(&arch.encoder);
    write_bundle(&dir, &arch, &encoder, &weights(&arch), &golden, facts).unwrap();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let (full, half) = (read(MODEL_FILE), read(HALF_MODEL_FILE));
    assert!(half.len() * 10 < full.len() * 7, "{} of {} bytes", half.len(), full.len());
    let score = |bytes: &[u8], picture: &[u8]| {
        let plan = Plan::new(&ModelProto::decode(bytes).unwrap(), 64).unwrap();
        let mut outputs = vec![];
        plan.run(picture, |_, v| outputs.push(v.to_vec())).unwrap();
        outputs[1][0]
    };
    for picture in &golden {
        let (a, b) = (score(&full, picture), score(&half, picture));
        assert!(a != b && (a - b).abs() < 0.02 * a, "{a} and {b}");
    }
}

#[test]
fn the_station_loads_a_bundle_and_gives_the_golden_map() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(&folder.path().join("b"), "b").unwrap();
    let source = BundleSource::Dir(folder.path().join("b"));
    let mut engine = open(&source, Backend::Cpu).unwrap();
    assert_eq!(engine.spec().sha256, written.model.sha256);
    assert_eq!(engine.spec().classes, ["bolt", "nut"]);
    let mut map = AnomalyMap::unwritten(32, 32);
    engine.infer(&picture(64, 9), &mut map).unwrap();
    assert!(map.is_complete() && map.score <= map.max() && map.score > 0.0);
    // One wrong byte in the weights, and the station refuses the bundle.
    let path = folder.path().join("b").join(MODEL_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(open(&source, Backend::Cpu).err().unwrap().kind(), EngineErrorKind::Corrupt);
}

#[test]
fn an_existing_bundle_is_replaced_and_anything_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("b");
    write(&dir, "first").unwrap();
    write(&dir, "second").unwrap();
    let text = || std::fs::read_to_string(dir.join(MANIFEST_FILE)).unwrap();
    assert!(text().contains("name = \"second\""));
    assert_eq!(names(folder.path()), ["b"]);
    std::fs::write(dir.join("holiday.jpg"), b"keep me").unwrap();
    let error = write(&dir, "third").unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Io);
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert!(text().contains("second") && dir.join("holiday.jpg").exists());
}

#[test]
fn a_failed_export_leaves_the_old_bundle_and_no_litter() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("b");
    write(&dir, "first").unwrap();
    let arch = small();
    let encoder = encoder_weights(&arch.encoder);
    for golden in [vec![], vec![vec![0; 5]]] {
        let error = write_bundle(&dir, &arch, &encoder, &weights(&arch), &golden, facts("bad"))
            .unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Golden);
    }
    // A hidden folder of that name is in the way: the attempt fails before the bundle is touched.
    let blocked = folder.path().join(format!(".b.new-{}", std::process::id()));
    std::fs::write(&blocked, b"").unwrap();
    assert_eq!(write(&dir, "bad").unwrap_err().kind(), ExportErrorKind::Io);
    std::fs::remove_file(&blocked).unwrap();
    assert_eq!(names(folder.path()), ["b"]);
    assert!(std::fs::read_to_string(dir.join(MANIFEST_FILE)).unwrap().contains("first"));
}

/// Set `CRRD_ORT_PYTHON` to a Python that has `onnxruntime`, `onnx` and `numpy`.
#[test]
fn onnxruntime_gives_the_same_map() {
    let Some(python) = std::env::var_os("CRRD_ORT_PYTHON") else {
        println!("skipped: CRRD_ORT_PYTHON not set");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/ort_parity.py");
    let folder = tempfile::tempdir().unwrap();
    for (name, arch) in [("tiny", arch::tiny()), ("edge", arch::edge())] {
        for storage in [Storage::Fp32, Storage::Fp16] {
            let path = |what: &str| folder.path().join(what);
            let rgb = picture(arch.input, 5);
            let encoder = encoder_weights(&arch.encoder);
            export(&arch, &encoder, &weights(&arch), storage, &path("model.onnx")).unwrap();
            std::fs::write(path("image.bin"), &rgb).unwrap();
            let run = Command::new(&python)
                .arg(&script)
                .args([path("model.onnx"), path("image.bin"), path("out.bin")])
                .output()
                .unwrap();
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            let bytes = std::fs::read(path("out.bin")).unwrap();
            let theirs: Vec<f64> = bytes
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect();
            let model =
                ModelProto::decode(&std::fs::read(path("model.onnx")).unwrap()[..]).unwrap();
            let mut ours = vec![];
            let plan = Plan::new(&model, arch.input).unwrap();
            plan.run(&rgb, |_, v| ours.extend_from_slice(v)).unwrap();
            let (off, range) = difference_and_range(&ours, &theirs);
            println!("{name} {storage:?}: difference {off:.2e} of range {range:.3}");
            assert!(off < 1e-3 * range, "{name} {storage:?}: {off} of {range}");
        }
    }
}

/// `CRRD_EXPORT_DIR=DIR cargo test -p crrd-train --test export_files -- --ignored` writes the
/// presets with random weights, for measuring them in other programs and trying the station.
#[test]
#[ignore = "writes files for measurements"]
fn write_the_presets() {
    let dir = std::env::var_os("CRRD_EXPORT_DIR").unwrap();
    for (name, arch) in [("tiny", arch::tiny()), ("edge", arch::edge())] {
        let path = Path::new(&dir).join(format!("{name}.onnx"));
        let encoder = encoder_weights(&arch.encoder);
        export(&arch, &encoder, &weights(&arch), Storage::Fp32, &path).unwrap();
        let alone = encoder_model(&encoder, &arch, Storage::Fp32).unwrap().encode_to_vec();
        std::fs::write(Path::new(&dir).join(format!("{name}.encoder.onnx")), alone).unwrap();
        let golden = [picture(arch.input, 0)];
        let bundle = Path::new(&dir).join(name);
        write_bundle(&bundle, &arch, &encoder, &weights(&arch), &golden, facts(name)).unwrap();
    }
}

/// Names the folder of a small disk to the copy of this test that runs in its namespace.
const SMALL_DISK: &str = "CRRD_TEST_SMALL_DISK";

#[test]
fn a_full_disk_leaves_the_old_bundle_and_nothing_half_written() {
    if let Ok(disk) = std::env::var(SMALL_DISK) {
        return fill(Path::new(&disk));
    }
    let folder = tempfile::tempdir().unwrap();
    // Room for one bundle of this size (about 8 MB), not for two.
    let script = "mount -t tmpfs -o size=12m tmpfs \"$0\" && exec \"$@\"";
    let may = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(folder.path())
        .arg("true")
        .output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount a small disk in a namespace of its own");
        return;
    }
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_leaves_the_old_bundle_and_nothing_half_written"])
        .arg("--nocapture")
        .env(SMALL_DISK, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("disk was full"), "{said}");
}

fn fill(disk: &Path) {
    let dir = disk.join("parts");
    let first = write(&dir, "first").unwrap();
    let size: u64 = names(&dir).iter().map(|n| dir.join(n).metadata().unwrap().len()).sum();
    // Whatever a bundle's size is: half of one is left.
    let room = rustix::fs::statvfs(disk).unwrap();
    let filler = room.f_bavail * room.f_frsize - size / 2;
    std::fs::write(disk.join("filler"), vec![1; filler as usize]).unwrap();
    for target in [dir.clone(), disk.join("other")] {
        let error = write(&target, "second").unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Io);
        let text = error.to_string();
        assert!(text.contains("disk is full") && text.contains("same command again"), "{text}");
    }
    assert_eq!(names(disk), ["filler", "parts"], "nothing half written is left");
    let text = std::fs::read_to_string(dir.join(MANIFEST_FILE)).unwrap();
    assert_eq!(toml::from_str::<Manifest>(&text).unwrap(), first, "the old bundle is whole");
    std::fs::remove_file(disk.join("filler")).unwrap();
    println!("disk was full");
}
