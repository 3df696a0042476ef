//! The page as a reader finds it.

use std::collections::BTreeMap;

use crrd::engine::bundle::{
    FORMAT, GoldenSpec, InputSpec, LicenceRecord, MethodRecord, ModelFile, OutputSpec,
    TrainingRecord,
};

use super::*;
use crate::survey::{ClassSurvey, Part};

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        name: "line <1>".into(),
        created_utc: "2026-01-01T00:00:00Z".into(),
        classes: vec!["bolt".into(), "nut".into()],
        model: ModelFile {
            file: "model.onnx".into(),
            sha256: "ab".repeat(32),
            opset: 18,
            precision: "fp32".into(),
            storage: "fp32".into(),
        },
        input: InputSpec { name: "image".into(), width: 256, height: 256 },
        output: OutputSpec {
            anomaly_map: "anomaly_map".into(),
            score: "score".into(),
            map_width: 256,
            map_height: 256,
        },
        method: MethodRecord {
            name: "crr".into(),
            preset: "edge".into(),
            encoder: "efficientnet_lite0".into(),
            encoder_sha256: "cd".repeat(32),
            distance_weight: 0.7,
            score_fraction: 0.01,
        },
        golden: GoldenSpec {
            file: "golden.safetensors".into(),
            sha256: "ef".repeat(32),
            count: 4,
            tolerance: 1e-3,
        },
        training: TrainingRecord {
            command: "crrd-train fit --data parts --seed 7".into(),
            program: "crrd-train 0.1.0".into(),
            seed: 7,
            images: 31,
            iterations: 900,
            minutes: 7.8,
            dataset_sha256: "01".repeat(32),
        },
        licence: LicenceRecord { spdx: "Apache-2.0".into(), notice: String::new() },
    }
}

fn case(class: usize, is_damaged: bool, score: f32) -> Case {
    let (is_held_out, scores, overlay) = (class == 0, Vec::new(), None);
    Case { class, is_damaged, is_held_out, scores, score, pixels: Vec::new(), overlay }
}

#[test]
fn the_page_tells_the_run_by_its_own_records_and_needs_nothing_else() {
    let (mut decoder, mut head) = (Curve::default(), Curve::default());
    (0..50).for_each(|i| decoder.push(1.0 / f64::from(i + 1)));
    (0..20).for_each(|i| head.push(0.5 - f64::from(i) * 0.01));
    let class = |name: &str| ClassSurvey {
        name: name.into(),
        counts: BTreeMap::from([(Part::Train, 40)]),
        ..ClassSurvey::default()
    };
    let survey = Survey { classes: vec![class("bolt"), class("nut")], ..Survey::default() };
    let tried = |weight| Tried { weight, image_auroc: 0.9, pixel_ap: 0.4 + weight / 10.0 };
    let validation = Validation {
        cases: vec![
            case(0, false, 0.1),
            case(0, true, 0.8),
            case(1, false, 0.2),
            case(1, true, 0.9),
        ],
        tried: vec![tried(0.0), tried(0.5), tried(1.0)],
    };
    let manifest = manifest();
    let page = page(&Records {
        survey: &survey,
        data: Path::new("parts"),
        decoder_loss: &decoder,
        head_loss: &head,
        spent_s: vec![("time in all", 467.0)],
        threads: 2,
        settings: vec![("batch.pairs".into(), "8".into())],
        scheme: Scheme::Projected,
        validation: &validation,
        notes: &["20 of 40 pictures are used".into()],
        manifest: &manifest,
    })
    .unwrap();
    for says in [
        "<title>line &lt;1&gt;: training report</title>",
        "width=device-width",
        &manifest.model.sha256,
        "<td>7 min 47 s</td>",
        "<th>seed</th><td>7</td>",
        "crrd-train 0.1.0",
        "from 1.0000 to 0.0200",
        "from 0.5000 to 0.3100",
        "20 of 40 pictures are used",
        "bolt: 40 good pictures to train on",
        "<td>0.5</td><td>0.900</td><td>0.450</td>",
        "median score 0.2000, of the damaged ones 0.9000",
        "<th>batch.pairs</th><td>8</td>",
    ] {
        assert!(page.contains(says), "{says}:\n{page}");
    }
    // Two losses, two histograms, the weights.
    assert_eq!(page.matches("<svg").count(), 5);
    assert!(page.contains("viewBox"), "plots shrink with the screen");
    for outside in ["http:", "https:", "<script", "<link", "src=\"/"] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
}

#[test]
fn a_run_without_anything_to_show_still_has_a_page() {
    let (survey, validation) = (Survey::default(), Validation::default());
    let manifest = Manifest { classes: Vec::new(), ..manifest() };
    let page = page(&Records {
        survey: &survey,
        data: Path::new("parts"),
        decoder_loss: &Curve::default(),
        head_loss: &Curve::default(),
        spent_s: Vec::new(),
        threads: 1,
        settings: Vec::new(),
        scheme: Scheme::Projected,
        validation: &validation,
        notes: &[],
        manifest: &manifest,
    })
    .unwrap();
    assert!(page.ends_with("</html>\n"));
}

#[test]
fn the_page_says_how_the_model_joins_its_maps() {
    let (survey, manifest) = (Survey::default(), manifest());
    let tried = |weight| Tried { weight, image_auroc: 0.9, pixel_ap: 0.4 };
    let validation = Validation { cases: Vec::new(), tried: vec![tried(0.0), tried(1.0)] };
    let page = |scheme| {
        let records = Records {
            survey: &survey,
            data: Path::new("parts"),
            decoder_loss: &Curve::default(),
            head_loss: &Curve::default(),
            spent_s: Vec::new(),
            threads: 1,
            settings: Vec::new(),
            scheme,
            validation: &validation,
            notes: &[],
            manifest: &manifest,
        };
        page(&records).unwrap()
    };
    assert!(page(Scheme::Projected).contains("map is a geometric mean, weighted, of"));
    assert!(
        page(Scheme::Averaged { extra: 5, dropout: 0.2 }).contains("map is a mean, weighted, of")
    );
}
