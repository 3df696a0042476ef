use std::collections::BTreeSet;

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;

use super::facts::Facts;
use super::{layers, to_half};
use crate::engine::graph::{Conv2d, GraphBuilder, GraphError, Storage, Value};

const NOTHING: BTreeSet<String> = BTreeSet::new();

fn half(model: &pb::ModelProto) -> pb::ModelProto {
    to_half(model, &NOTHING).unwrap()
}

/// Runs a graph on one UINT8 input and gives its outputs.
fn run(model: &pb::ModelProto, shape: &[usize], input: &[u8]) -> Vec<Vec<f32>> {
    answer(&plan(model), shape, input)
}

fn plan(model: &pb::ModelProto) -> std::sync::Arc<TypedRunnableModel> {
    tract_onnx::onnx()
        .model_for_proto_model(model)
        .and_then(|m| m.into_optimized())
        .and_then(|m| m.into_runnable())
        .unwrap()
}

fn answer(
    plan: &std::sync::Arc<TypedRunnableModel>,
    shape: &[usize],
    input: &[u8],
) -> Vec<Vec<f32>> {
    let answer = plan.run(tvec!(Tensor::from_shape(shape, input).unwrap().into())).unwrap();
    let floats = |v: &TValue| v.to_plain_array_view::<f32>().unwrap().iter().copied().collect();
    answer.iter().map(floats).collect()
}

/// Element type in which a node gives its result.
fn kind(model: &pb::ModelProto, name: &str) -> DataType {
    Facts::of(model).unwrap().kind(name).unwrap_or_else(|| panic!("no tensor {name}"))
}

/// A small network with one of everything that must be told apart.
fn network(storage: Storage) -> pb::ModelProto {
    let mut g = GraphBuilder::new("test", storage);
    let image = g.input_u8("image", &[1, 8, 8, 3]);
    let x = g.cast_f32("bytes", &image);
    let x = g.transpose("planes", &x, &[0, 3, 1, 2]);
    let weight: Vec<f32> = (0..64 * 27).map(|i| ((i * 37 % 101) as f32 - 50.0) / 500.0).collect();
    let kernel = g.weight("conv.weight", &[64, 3, 3, 3], &weight);
    let bias = g.weight("conv.bias", &[64], &[0.25; 64]);
    let x = g.conv("conv", &x, &kernel, &bias, Conv2d { stride: 1, pads: (1, 1), groups: 1 });
    let x = g.reshape("flat", &x, &[64, 64]);
    let x = g.transpose("tokens", &x, &[1, 0]);
    let x = g.gelu("gelu", &x);
    let x = linear(&mut g, "fc", &x);
    let ones = g.constant("ones", &[64], &[1.0; 64]);
    let normed = g.layer_norm("norm", &x, &ones, 1e-6);
    let q = linear(&mut g, "q", &normed);
    let k = g.transpose("k", &q, &[1, 0]);
    let accumulated = g.matmul("accumulated", &k, &q);
    let out = linear(&mut g, "proj", &accumulated);
    let sum = g.add("residual", &x, &out);
    let squares = g.mul("squares", &sum, &sum);
    let compared = linear(&mut g, "compared", &squares);
    let norm = g.sum("norm2", &squares, 1);
    let eps = g.constant("eps", &[], &[1e-12]);
    let norm = g.add("norm2.eps", &norm, &eps);
    let ratio = g.div("ratio", &compared, &norm);
    let map = g.reshape("anomaly_map", &ratio, &[1, 1, 64, 64]);
    g.output(&map);
    let score = g.max_over("score.rows", &ratio, 0);
    let score = g.mean_over("score", &score, 0);
    g.output(&score);
    g.finish(vec![]).unwrap()
}

fn linear(g: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let values: Vec<f32> = (0..4096).map(|i| ((i * 53 % 97) as f32 - 48.0) / 300.0).collect();
    let weight = g.weight(&format!("{name}.weight"), &[64, 64], &values);
    g.matmul(name, x, &weight)
}

fn picture() -> Vec<u8> {
    (0..192u32).map(|i| (i * 89 % 256) as u8).collect()
}

#[test]
fn layers_become_16_bit_and_what_needs_digits_keeps_32() {
    for storage in [Storage::Fp32, Storage::Fp16] {
        let model = half(&network(storage));
        for name in ["bytes", "planes", "conv", "tokens", "gelu", "fc", "q", "k", "proj"] {
            assert_eq!(kind(&model, name), DataType::Float16, "{name}, {storage:?}");
        }
        for name in ["norm", "accumulated", "squares", "compared", "norm2", "norm2.eps", "ratio"] {
            assert_eq!(kind(&model, name), DataType::Float, "{name}, {storage:?}");
        }
        for name in ["anomaly_map", "score.rows", "score"] {
            assert_eq!(kind(&model, name), DataType::Float, "{name}, {storage:?}");
        }
    }
}

#[test]
fn every_operand_has_the_type_of_its_neighbours() {
    for storage in [Storage::Fp32, Storage::Fp16] {
        let model = half(&network(storage));
        let facts = Facts::of(&model).unwrap();
        for node in facts.graph.node.iter().filter(|n| n.op_type != "Cast") {
            let kinds: BTreeSet<_> = node
                .input
                .iter()
                .filter_map(|i| facts.kind(i))
                .filter(|k| matches!(k, DataType::Float | DataType::Float16))
                .map(|k| k as i32)
                .collect();
            assert!(kinds.len() <= 1, "{} mixes {kinds:?}", node.name);
        }
    }
}

#[test]
fn weights_are_stored_in_the_precision_they_are_used_in_and_once() {
    let (full, stored) = (network(Storage::Fp32), network(Storage::Fp16));
    let bytes = |m: &pb::ModelProto| m.encoded_len();
    assert!(bytes(&half(&full)) * 10 < bytes(&full) * 8, "{}", bytes(&half(&full)));
    let model = half(&stored);
    let graph = model.graph.as_ref().unwrap();
    let names: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    // The layer behind the squares keeps 32 bits: its weights are widened as before.
    let widened: Vec<&str> = graph
        .node
        .iter()
        .filter(|n| n.op_type == "Cast" && n.input[0].ends_with(".fp16"))
        .map(|n| n.name.as_str())
        .collect();
    assert_eq!(widened, ["compared.weight"]);
}

#[test]
fn answers_stay_close_although_squares_overflow_16_bits() {
    let model = network(Storage::Fp32);
    let (shape, picture) = ([1, 8, 8, 3], picture());
    let want = run(&model, &shape, &picture);
    let got = run(&half(&model), &shape, &picture);
    let range = |v: &[f32]| v.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    for (got, want) in got.iter().zip(&want) {
        let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.01 * range(want), "{worst} of {}", range(want));
    }
    assert!(want[1][0] > 0.0 && want[0].iter().any(|v| *v != want[0][0]));
}

#[test]
fn what_the_caller_keeps_stays_in_32_bits_up_to_the_next_layer() {
    let model = network(Storage::Fp16);
    let kept = to_half(&model, &["fc".to_owned(), "no such node".to_owned()].into()).unwrap();
    assert_eq!(kind(&kept, "fc"), DataType::Float);
    assert_eq!(kind(&kept, "q"), DataType::Float16);
    let stated = kept.metadata_props.iter().find(|p| p.key == "kept_fp32").unwrap();
    assert_eq!(stated.value, "fc,no such node");
    // Everything kept: the answers of 32 bits, exactly.
    let all = layers(&model).unwrap().into_iter().flat_map(|l| l.nodes).collect();
    let (shape, picture) = ([1, 8, 8, 3], picture());
    let back = to_half(&model, &all).unwrap();
    assert_eq!(run(&back, &shape, &picture), run(&model, &shape, &picture));
}

#[test]
fn layers_come_in_order_and_name_every_16_bit_node_once() {
    let model = network(Storage::Fp16);
    let found = layers(&model).unwrap();
    let names: Vec<&str> = found.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["bytes", "conv", "fc", "q", "proj"]);
    let nodes: Vec<&String> = found.iter().flat_map(|l| &l.nodes).collect();
    assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len());
    assert!(nodes.iter().any(|n| *n == "gelu.erf") && !nodes.iter().any(|n| *n == "squares"));
}

#[test]
fn attention_with_a_softmax_keeps_only_the_softmax() {
    let mut g = GraphBuilder::new("test", Storage::Fp32);
    let image = g.input_u8("image", &[8, 64]);
    let x = g.cast_f32("x", &image);
    let q = linear(&mut g, "q", &x);
    let k = g.transpose("k", &q, &[1, 0]);
    let products = g.matmul("products", &q, &k);
    let scale = g.constant("scale", &[], &[0.125]);
    let scaled = g.mul("scaled", &products, &scale);
    let weights = g.softmax("softmax", &scaled);
    let v = g.matmul("attended", &weights, &q);
    let out = linear(&mut g, "out", &v);
    let squares = g.mul("squares", &out, &out);
    let last = g.sum("last", &squares, 1);
    g.output(&last);
    let model = half(&g.finish(vec![]).unwrap());
    for (name, want) in [
        ("products", DataType::Float16),
        ("scaled", DataType::Float16),
        ("softmax", DataType::Float),
        ("attended", DataType::Float16),
        ("last", DataType::Float),
    ] {
        assert_eq!(kind(&model, name), want, "{name}");
    }
}

#[test]
fn constants_that_16_bits_cannot_hold_keep_their_node() {
    let mut g = GraphBuilder::new("test", Storage::Fp32);
    let image = g.input_u8("image", &[4, 64]);
    let x = g.cast_f32("x", &image);
    let large = g.constant("large", &[], &[1e6]);
    let tiny = g.constant("tiny", &[], &[1e-7]);
    let fits = g.constant("fits", &[], &[0.5]);
    let a = g.mul("a", &x, &fits);
    let b = g.clip("b", &a, 0.0, 1e5);
    let c = linear(&mut g, "c", &b);
    let d = g.add("d", &c, &tiny);
    let e = linear(&mut g, "e", &d);
    let f = g.mul("f", &e, &large);
    let h = linear(&mut g, "h", &f);
    let last = g.sum("last", &h, 1);
    g.output(&last);
    let model = half(&g.finish(vec![]).unwrap());
    for (name, want) in [
        ("a", DataType::Float16),
        ("b", DataType::Float),
        ("c", DataType::Float16),
        ("d", DataType::Float),
        ("e", DataType::Float16),
        ("f", DataType::Float),
    ] {
        assert_eq!(kind(&model, name), want, "{name}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    type Change = fn(&mut pb::ModelProto);
    fn conv(m: &mut pb::ModelProto) -> &mut pb::NodeProto {
        m.graph.as_mut().unwrap().node.iter_mut().find(|n| n.name == "conv").unwrap()
    }
    let cases: [(Change, &str); 5] = [
        (|m| m.opset_import[0].version = 16, "17 or newer"),
        (|m| m.graph = None, "no graph"),
        (|m| conv(m).domain = "com.example".to_owned(), "`conv`: the operator Conv is of domain"),
        (|m| conv(m).op_type = "QLinearQuantize".to_owned(), "quantised"),
        (|m| conv(m).input[0] = "nowhere".to_owned(), "`conv`: nothing gives `nowhere`"),
    ];
    for (change, says) in cases {
        let mut model = network(Storage::Fp32);
        change(&mut model);
        let error: GraphError = to_half(&model, &NOTHING).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes_with_the_same_names_outside() {
    let model = network(Storage::Fp16);
    assert_eq!(half(&model).encode_to_vec(), half(&model).encode_to_vec());
    let (before, after) = (model.graph.unwrap(), half(&network(Storage::Fp16)).graph.unwrap());
    assert_eq!((before.input, before.output), (after.input, after.output));
}

fn demo() -> pb::ModelProto {
    pb::ModelProto::decode(&include_bytes!("../../../../engines/demo/model.onnx")[..]).unwrap()
}

/// That the score of the demo engine in 16 bits stays within one percent of the range that it has
/// in 32 bits over these pictures (256 x 256 RGB), and each pixel of the map within `map_off_max`.
fn assert_close_in_16_bits(pictures: &[Vec<u8>], map_off_max: f32) {
    let model = demo();
    let (full, half) = (plan(&model), plan(&half(&model)));
    let shape = [1, 256, 256, 3];
    let answers: Vec<_> = pictures
        .iter()
        .map(|picture| (answer(&full, &shape, picture), answer(&half, &shape, picture)))
        .collect();
    let range = |values: &dyn Fn(&Vec<Vec<f32>>) -> Vec<f32>| {
        let all: Vec<f32> = answers.iter().flat_map(|(full, _)| values(full)).collect();
        all.iter().fold(f32::MIN, |a, b| a.max(*b)) - all.iter().fold(f32::MAX, |a, b| a.min(*b))
    };
    for (output, what, off_max) in [(0, "map", map_off_max), (1, "score", 0.01)] {
        let range = range(&|outputs| outputs[output].clone());
        let worst = answers
            .iter()
            .flat_map(|(a, b)| a[output].iter().zip(&b[output]).map(|(a, b)| (a - b).abs()))
            .fold(0.0, f32::max);
        println!("{what}: {worst:.2e} of {range:.2e}");
        assert!(worst > 0.0 && worst < off_max * range, "{what} differs by {worst} of {range}");
    }
}

#[test]
fn the_demo_engine_in_16_bits_scores_its_golden_pictures_within_one_percent_of_the_range() {
    let golden = include_bytes!("../../../../engines/demo/golden.safetensors");
    let golden = safetensors::SafeTensors::deserialize(golden).unwrap();
    let picture = |n: usize| golden.tensor(&format!("image.{n}")).unwrap().data().to_vec();
    assert_close_in_16_bits(&(0..4).map(picture).collect::<Vec<_>>(), 0.01);
}

/// Photographs of real products, when there are some: `CRRD_DATA/images/CLASS/test/*/*.png`.
#[test]
fn the_demo_engine_in_16_bits_scores_real_pictures_within_one_percent_of_the_range() {
    let Some(data) = std::env::var_os("CRRD_DATA").map(std::path::PathBuf::from) else {
        println!("skipped: CRRD_DATA not set");
        return;
    };
    let mut pictures = Vec::new();
    for class in entries(&data.join("images")).filter(|class| class.is_dir()) {
        let mut files: Vec<_> =
            entries(&class.join("test")).flat_map(|kind| entries(&kind)).collect();
        files.sort();
        let step = files.len().div_ceil(3).max(1);
        for file in files.iter().step_by(step) {
            let picture = image::open(file).unwrap();
            let picture = picture.resize_exact(256, 256, image::imageops::FilterType::Triangle);
            pictures.push(picture.to_rgb8().into_raw());
        }
    }
    assert!(pictures.len() >= 6, "{} pictures", pictures.len());
    // The model was not trained on these products: a few pixels among a million are farther off.
    assert_close_in_16_bits(&pictures, 0.02);
}

fn entries(dir: &std::path::Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path())
}
