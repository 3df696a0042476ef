//! What can be said without a GPU and without the library.

use super::*;
use crate::engine::bundle::BundleSource;

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
    let [input, score, map] = tensors();
    let outputs = [score.clone(), map.clone()];
    check(&bundle, std::slice::from_ref(&input), &outputs).unwrap();
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
        let error = check(&bundle, &inputs, &outputs).unwrap_err();
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
