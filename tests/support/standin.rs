//! A stand-in engine bundle: a real ONNX file with a real manifest and golden answers, small
//! enough to write in a test and simple enough to compute by hand.
//!
//! The model: `map = mean over 5x5 (border: what is there) of |mean(R, G, B) / 255 - 0.5|`,
//! `score` = mean of the largest 1 % of the map. A grey part (128, 128, 128) is good; every
//! brighter or darker spot is a defect, e.g. a white 8x8 square scores about 0.5.

use std::path::{Path, PathBuf};

use crrd::engine::bundle::{
    FORMAT, GOLDEN_FILE, GoldenSpec, InputSpec, LicenceRecord, MANIFEST_FILE, MODEL_FILE, Manifest,
    MethodRecord, ModelFile, OutputSpec, TrainingRecord,
};
use crrd::sys::hash::sha256_hex;
use prost::Message;
use safetensors::tensor::{Dtype, TensorView};
use tract_onnx::pb;

/// Side of the picture and of the map.
pub const SIDE: usize = 64;
/// Pixels whose mean is the score: 1 % of 64 x 64, rounded up.
pub const SCORE_PIXELS: usize = 41;
/// Side of the averaging window.
const WINDOW: usize = 5;

/// Writes the stand-in bundle into `dir` (created) for the given classes.
pub fn write_bundle(dir: &Path, classes: &[&str]) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let model = model_bytes();
    let pictures = [grey(), with_square(255, 20, 30, 8), with_square(0, 3, 3, 5)];
    let golden = golden_bytes(&pictures);
    let manifest = manifest(classes, &model, &golden, pictures.len());
    std::fs::write(dir.join(MODEL_FILE), &model).unwrap();
    std::fs::write(dir.join(GOLDEN_FILE), &golden).unwrap();
    std::fs::write(dir.join(MANIFEST_FILE), toml::to_string(&manifest).unwrap()).unwrap();
    dir.to_owned()
}

/// A good part.
pub fn grey() -> Vec<u8> {
    vec![128; SIDE * SIDE * 3]
}

/// A bad part: a `side` x `side` square of `value` with its corner at (x, y).
pub fn with_square(value: u8, x: usize, y: usize, side: usize) -> Vec<u8> {
    let mut rgb = grey();
    for row in y..y + side {
        let at = (row * SIDE + x) * 3;
        rgb[at..at + side * 3].fill(value);
    }
    rgb
}

/// The model's answer computed by hand: map and score.
pub fn by_hand(rgb: &[u8]) -> (Vec<f32>, f32) {
    let grey: Vec<f64> = rgb
        .chunks_exact(3)
        .map(|p| {
            let mean = p.iter().map(|v| f64::from(*v)).sum::<f64>() / 3.0;
            (mean / 255.0 - 0.5).abs()
        })
        .collect();
    let reach = WINDOW / 2;
    let near = |c: usize| c.saturating_sub(reach)..(c + reach + 1).min(SIDE);
    let mut map = Vec::with_capacity(SIDE * SIDE);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let values: Vec<f64> = near(y)
                .flat_map(|v| near(x).map(move |u| (v, u)))
                .map(|(v, u)| grey[v * SIDE + u])
                .collect();
            map.push((values.iter().sum::<f64>() / values.len() as f64) as f32);
        }
    }
    let mut sorted = map.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let score = sorted[..SCORE_PIXELS].iter().sum::<f32>() / SCORE_PIXELS as f32;
    (map, score)
}

/// The manifest that belongs to these bytes.
pub fn manifest(classes: &[&str], model: &[u8], golden: &[u8], count: usize) -> Manifest {
    Manifest {
        format: FORMAT,
        name: "stand-in".to_owned(),
        created_utc: "2026-01-01T00:00:00Z".to_owned(),
        classes: classes.iter().map(|c| (*c).to_owned()).collect(),
        model: ModelFile {
            file: MODEL_FILE.to_owned(),
            sha256: sha256_hex(model),
            opset: 17,
            precision: "fp32".to_owned(),
            storage: "fp32".to_owned(),
        },
        input: InputSpec { name: "image".to_owned(), width: SIDE, height: SIDE },
        output: OutputSpec {
            anomaly_map: "anomaly_map".to_owned(),
            score: "score".to_owned(),
            map_width: SIDE,
            map_height: SIDE,
        },
        method: MethodRecord {
            name: "stand-in".to_owned(),
            preset: "none".to_owned(),
            encoder: "none".to_owned(),
            encoder_sha256: String::new(),
            distance_weight: 1.0,
            score_fraction: 0.01,
        },
        golden: GoldenSpec {
            file: GOLDEN_FILE.to_owned(),
            sha256: sha256_hex(golden),
            count,
            tolerance: 1e-3,
        },
        training: TrainingRecord {
            command: "none".to_owned(),
            program: "tests/support/standin.rs".to_owned(),
            seed: 0,
            images: 0,
            iterations: 0,
            minutes: 0.0,
            dataset_sha256: String::new(),
        },
        licence: LicenceRecord { spdx: "Apache-2.0 OR MIT".to_owned(), notice: String::new() },
    }
}

/// Golden file for these pictures, answers computed by hand.
pub fn golden_bytes(pictures: &[Vec<u8>]) -> Vec<u8> {
    let answers: Vec<(Vec<u8>, Vec<u8>)> = pictures
        .iter()
        .map(|p| {
            let (map, score) = by_hand(p);
            let bytes = map.iter().flat_map(|v| v.to_le_bytes()).collect();
            (bytes, score.to_le_bytes().to_vec())
        })
        .collect();
    let mut views = Vec::new();
    for (i, (picture, (map, score))) in pictures.iter().zip(&answers).enumerate() {
        let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data);
        views.push((format!("image.{i}"), view(Dtype::U8, &[SIDE, SIDE, 3], picture).unwrap()));
        views.push((format!("anomaly_map.{i}"), view(Dtype::F32, &[SIDE, SIDE], map).unwrap()));
        views.push((format!("score.{i}"), view(Dtype::F32, &[1], score).unwrap()));
    }
    safetensors::serialize(views, None).unwrap()
}

/// The ONNX file.
pub fn model_bytes() -> Vec<u8> {
    let side = SIDE as i64;
    let pad = (WINDOW / 2) as i64;
    let window = WINDOW as i64;
    let node = vec![
        op("Cast", &["image"], "float", vec![int("to", 1)]),
        op("Transpose", &["float"], "planes", vec![ints("perm", &[0, 3, 1, 2])]),
        op("ReduceMean", &["planes"], "grey", vec![ints("axes", &[1]), int("keepdims", 1)]),
        op("Mul", &["grey", "scale"], "unit", vec![]),
        op("Sub", &["unit", "half"], "centred", vec![]),
        op("Abs", &["centred"], "contrast", vec![]),
        op(
            "AveragePool",
            &["contrast"],
            "anomaly_map",
            vec![
                ints("kernel_shape", &[window, window]),
                ints("strides", &[1, 1]),
                ints("pads", &[pad, pad, pad, pad]),
            ],
        ),
        op("Reshape", &["anomaly_map", "flat_shape"], "flat", vec![]),
        pb::NodeProto {
            output: vec!["top".to_owned(), "top_at".to_owned()],
            ..op("TopK", &["flat", "k"], "top", vec![int("axis", 1)])
        },
        op("ReduceMean", &["top"], "score", vec![ints("axes", &[1]), int("keepdims", 0)]),
    ];
    let graph = pb::GraphProto {
        name: "standin".to_owned(),
        node,
        initializer: vec![
            floats_tensor("scale", 1.0 / 255.0),
            floats_tensor("half", 0.5),
            ints_tensor("flat_shape", &[1, side * side]),
            ints_tensor("k", &[SCORE_PIXELS as i64]),
        ],
        input: vec![value("image", 2, &[1, side, side, 3])],
        output: vec![value("anomaly_map", 1, &[1, 1, side, side]), value("score", 1, &[1])],
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
        producer_name: "crrd-tests".to_owned(),
        graph: Some(graph),
        ..Default::default()
    }
    .encode_to_vec()
}

fn op(
    kind: &str,
    inputs: &[&str],
    output: &str,
    attribute: Vec<pb::AttributeProto>,
) -> pb::NodeProto {
    pb::NodeProto {
        name: format!("{kind}_{output}"),
        op_type: kind.to_owned(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..Default::default()
    }
}

fn int(name: &str, i: i64) -> pb::AttributeProto {
    // 2 = INT
    pb::AttributeProto { name: name.to_owned(), i, r#type: 2, ..Default::default() }
}

fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    // 7 = INTS
    pb::AttributeProto {
        name: name.to_owned(),
        ints: ints.to_vec(),
        r#type: 7,
        ..Default::default()
    }
}

fn floats_tensor(name: &str, v: f32) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_owned(),
        data_type: 1,
        dims: vec![],
        float_data: vec![v],
        ..Default::default()
    }
}

fn ints_tensor(name: &str, v: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_owned(),
        data_type: 7,
        dims: vec![v.len() as i64],
        int64_data: v.to_vec(),
        ..Default::default()
    }
}

/// `element`: 1 = FLOAT, 2 = UINT8.
fn value(name: &str, element: i32, dims: &[i64]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension};
    let dim = dims
        .iter()
        .map(|d| Dimension {
            denotation: String::new(),
            value: Some(dimension::Value::DimValue(*d)),
        })
        .collect();
    let tensor =
        pb::type_proto::Tensor { elem_type: element, shape: Some(pb::TensorShapeProto { dim }) };
    pb::ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(pb::TypeProto {
            denotation: String::new(),
            value: Some(pb::type_proto::Value::TensorType(tensor)),
        }),
        doc_string: String::new(),
    }
}
