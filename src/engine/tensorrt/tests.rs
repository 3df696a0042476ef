//! What can be said without a GPU and without the library.

use super::*;
use crate::engine::bundle::{Bundle, BundleSource};
use crate::engine::graph::CameraFrames;
use crate::frame::{Geometry, PixelFormat, Precision};

fn demo() -> Bundle {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
    Bundle::load(&BundleSource::Dir(folder.into())).unwrap()
}

fn tensors() -> [Tensor; 3] {
    let tensor = |name: &str, shape: &[i64], data_type| Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        data_type,
    };
    [
        tensor("image", &[1, 256, 256, 3], DataType::Uint8),
        tensor("score", &[1], DataType::Float),
        tensor("anomaly_map", &[1, 1, 256, 256], DataType::Float),
    ]
}

#[test]
fn a_model_with_other_tensors_than_its_manifest_says_is_foreign() {
    let bundle = demo();
    let target = Target::pictures(&bundle, Precision::Fp32);
    let [input, score, map] = tensors();
    let outputs = [score.clone(), map.clone()];
    check(target, std::slice::from_ref(&input), &outputs).unwrap();
    let half = Tensor { data_type: DataType::Half, ..score.clone() };
    let small = Tensor { shape: vec![1, 1, 128, 128], ..map.clone() };
    for (inputs, outputs) in [
        (vec![], outputs.to_vec()),
        (vec![input.clone(), score.clone()], outputs.to_vec()),
        (vec![input.clone()], vec![score.clone()]),
        (vec![input.clone()], vec![half, map.clone()]),
        (vec![input.clone()], vec![score.clone(), small]),
        (vec![Tensor { data_type: DataType::Float, ..input.clone() }], outputs.to_vec()),
    ] {
        let error = check(target, &inputs, &outputs).unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Foreign);
        assert!(error.to_string().contains("export the bundle again"), "{error}");
    }
}

#[test]
fn without_the_library_the_error_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let Err(error) = TensorRt::open(Some(empty.path())) else { panic!("opened nothing") };
    assert_eq!(error.kind(), EngineErrorKind::Backend);
    let text = error.to_string();
    assert!(text.contains("libnvinfer.so.10") && text.contains("use the backend `cpu`"), "{text}");
}

#[test]
fn a_damaged_library_is_an_error_and_not_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("libnvinfer.so.10"), b"\x7fELF no library").unwrap();
    let Err(error) = TensorRt::open(Some(dir.path())) else { panic!("opened garbage") };
    assert_eq!(error.kind(), EngineErrorKind::Backend);
}

#[test]
fn an_engine_for_frames_has_their_bytes_as_its_input_and_a_key_of_its_own() {
    let bundle = demo();
    let frames = |row_bytes| CameraFrames {
        format: PixelFormat::BayerRG8,
        width: 480,
        height: 400,
        row_bytes,
        geometry: Geometry::WHOLE,
    };
    let packed = frames(None);
    let target = Target { frames: Some(&packed), ..Target::pictures(&bundle, Precision::Fp16) };
    let [picture, score, map] = tensors();
    let frame = Tensor { name: "frame".to_owned(), shape: vec![1, 400, 480], ..picture.clone() };
    let outputs = [map, score];
    check(target, &[frame], &outputs).unwrap();
    check(target, &[picture], &outputs).unwrap_err();
    let key = |frames: &CameraFrames, precision| {
        let target = Target { bundle: &bundle, precision, frames: Some(frames) };
        target.frames_key().unwrap().unwrap()
    };
    let told = key(&packed, Precision::Fp16);
    assert_eq!(told.frames, "BayerRG8 480x400, the whole picture");
    // Rows without padding are the same frames, whether that is said or not.
    assert_eq!(key(&frames(Some(480)), Precision::Fp32), told);
    assert_ne!(key(&frames(Some(512)), Precision::Fp16), told);
    let mjpeg = CameraFrames { format: PixelFormat::Mjpeg, ..packed };
    let target = Target { frames: Some(&mjpeg), ..target };
    assert_eq!(target.frames_key().unwrap_err().kind(), EngineErrorKind::Input);
    assert_eq!(Target::pictures(&bundle, Precision::Fp16).frames_key().unwrap(), None);
}

#[test]
fn in_16_bits_the_key_has_the_hash_of_the_graph_that_is_built() {
    let bundle = demo();
    let half = Target::pictures(&bundle, Precision::Fp16);
    let built = sha256_hex(&half.onnx(&BTreeSet::new()).unwrap());
    for _ in 0..2 {
        assert_eq!(half.half_sha256().unwrap().unwrap(), built);
    }
    // The same in every process, or no plan would ever be found again.
    assert_eq!(demo().half_sha256().unwrap(), built);
    assert_ne!(built, bundle.manifest().model.sha256);
    assert_eq!(Target::pictures(&bundle, Precision::Fp32).half_sha256().unwrap(), None);
}

#[test]
fn the_file_that_is_built_reads_the_frames_in_either_arithmetic() {
    let bundle = demo();
    let frames = CameraFrames {
        format: PixelFormat::Yuyv,
        width: 320,
        height: 240,
        row_bytes: None,
        geometry: Geometry::WHOLE,
    };
    for precision in [Precision::Fp32, Precision::Fp16] {
        let pictures = Target::pictures(&bundle, precision);
        let target = Target { frames: Some(&frames), ..pictures };
        let onnx = target.onnx(&BTreeSet::new()).unwrap();
        let model = <tract_onnx::pb::ModelProto as prost::Message>::decode(&*onnx).unwrap();
        let inputs = model.graph.unwrap().input;
        assert_eq!(inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["frame"]);
        assert!(target.diff_allowed() > pictures.diff_allowed());
    }
}
