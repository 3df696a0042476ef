//! Presets on other encoders than their usual one, weights by formula.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crrd::engine::bundle::BundleSource;
use crrd::engine::{Backend, open};
use crrd_train::progress::Progress;
use crrd_train::trainer::{FitOptions, Fitted, Preset, TrainErrorKind, fit};

use crate::export_support::encoder_tensors;
use crate::fit::{add_pictures, failure, options, write_encoder};

/// Options for an encoder that is written to `dir`.
fn on(dir: &Path, name: &str) -> FitOptions {
    let file = dir.join(format!("{name}.safetensors"));
    let encoder = write_encoder(&file, encoder_tensors(name));
    FitOptions { encoder, iterations: Some(1), ..options(dir) }
}

#[test]
fn a_fit_on_resnet18_becomes_a_bundle_that_passes_its_golden_check() {
    let dir = tempfile::tempdir().unwrap();
    add_pictures(&dir.path().join("data"), "bolt", 3);
    let options = on(dir.path(), "resnet18");
    // Encoding asks for both training pictures, then the iteration asks.
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 2;
    let fitted = fit(&options, &Progress::silent(), &stop).unwrap();
    assert!(matches!(fitted, Fitted::Interrupted(_)));

    // The checkpoint is that of one encoder: neither of another one ...
    let other = on(dir.path(), "efficientnet_lite0");
    assert_eq!(failure(&other).kind(), TrainErrorKind::Checkpoint);
    // ... nor of one with other weights.
    let mut tensors = encoder_tensors("resnet18");
    tensors.get_mut("conv1.weight").unwrap().values[0] += 1.0;
    let encoder = write_encoder(&dir.path().join("other.safetensors"), tensors);
    let other = FitOptions { encoder, ..options.clone() };
    assert_eq!(failure(&other).kind(), TrainErrorKind::Checkpoint);

    let fitted = fit(&options, &Progress::silent(), &|| false).unwrap();
    let Fitted::Bundle(manifest) = fitted else { panic!("nobody stopped the run") };
    assert_eq!((&*manifest.method.preset, &*manifest.method.encoder), ("tiny", "resnet18"));
    assert!(manifest.licence.spdx.contains("LicenseRef-encoder-weights"));
    // The station proves an engine by the golden pictures before it serves.
    open(&BundleSource::Dir(options.out), Backend::Cpu).unwrap();
}

#[test]
fn an_encoder_that_the_preset_does_not_take_is_refused_before_pictures_are_read() {
    let dir = tempfile::tempdir().unwrap();
    // There is no data set: whoever looked for it first would say so.
    let options = FitOptions { preset: Preset::PaperS, ..on(dir.path(), "resnet18") };
    let error = failure(&options);
    assert_eq!(error.kind(), TrainErrorKind::Encoder);
    for says in ["paper-s takes vit_small", "is resnet18", "--preset accurate, edge or tiny"] {
        assert!(error.to_string().contains(says), "{error}");
    }
    let options = FitOptions { preset: Preset::Tiny, ..options };
    assert_eq!(failure(&options).kind(), TrainErrorKind::Data);
}

#[test]
fn a_data_set_is_looked_at_with_any_encoder_and_what_is_none_is_said_first() {
    let dir = tempfile::tempdir().unwrap();
    let check = |encoder: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crrd-train"));
        let command = command.arg("check").arg(dir.path().join("data"));
        command.arg("--encoder").arg(encoder).output().unwrap()
    };
    let none = check(&dir.path().join("none.safetensors"));
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && said.contains("leave --encoder out"), "{said}");
    add_pictures(&dir.path().join("data"), "bolt", 9);
    let looked = check(&on(dir.path(), "resnet18").encoder);
    let said = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
    assert!(said.contains("bolt: 9 good pictures to train on"), "{said}");
}
