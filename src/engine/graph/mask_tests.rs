use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::*;
use crate::calibrate::ClassLimit;
use crate::engine::bundle::{Bundle, BundleSource};
use crate::engine::graph::{CameraFrames, FRAME, for_camera};
use crate::frame::{AnomalyMap, Geometry, PixelFormat, Tiling};
use crate::judge::{Judge, Mask, Question};

fn demo() -> Bundle {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
    Bundle::load(&BundleSource::Dir(folder.into())).unwrap()
}

fn runnable(model: &pb::ModelProto) -> std::sync::Arc<TypedRunnableModel> {
    let model = tract_onnx::onnx().model_for_proto_model(model).unwrap();
    model.into_optimized().unwrap().into_runnable().unwrap()
}

fn floats(value: &TValue) -> Vec<f32> {
    value.to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

fn bytes(value: &TValue) -> Vec<u8> {
    value.to_plain_array_view::<u8>().unwrap().iter().copied().collect()
}

/// The judge's mask of the map, packed in the same way.
fn by_the_judge(map: &AnomalyMap, pixel_threshold: f32) -> Vec<u8> {
    let limit = ClassLimit {
        // So high that no reject asks for the area around the maximum.
        image_threshold: f32::MAX,
        pixel_threshold,
        n: 1,
        k: 0,
        dataset_sha256: "0".repeat(64),
        scores: vec![0.0],
        geometry: Geometry::WHOLE,
        tiling: Tiling::WHOLE,
    };
    let question = Question { map, limit: Some(&limit), calibration_valid: true, in_time: true };
    let mut mask = Mask::default();
    Judge::new(map.width, map.height).judge(&question, &mut mask);
    let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << at);
    mask.pixels().chunks(8).map(byte).collect()
}

#[test]
fn the_mask_of_the_demo_engine_is_that_of_the_judge_at_every_limit() {
    let bundle = demo();
    let model = pb::ModelProto::decode(bundle.model()).unwrap();
    let plan = runnable(&with_mask(&model, "anomaly_map", (256, 256)).unwrap());
    let (mut some, mut range) = (0, 0.0f32);
    for case in bundle.golden().cases().iter().take(3) {
        let limits = [-1.0, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0, 2.0];
        let least = case.map.iter().copied().fold(f32::INFINITY, f32::min);
        let most = case.map.iter().copied().fold(0.0, f32::max);
        range = range.max(most - least);
        for limit in limits.map(|share| least + share * (most - least)) {
            let picture = Tensor::from_shape(&[1, 256, 256, 3], &case.image).unwrap();
            let answer = plan.run(tvec!(picture.into(), tensor1(&[limit]).into())).unwrap();
            let [values, score, mask, figures] = &answer[..] else { panic!("{answer:?}") };
            let values = floats(values);
            let map = AnomalyMap { width: 256, height: 256, values, score: floats(score)[0] };
            let mask = bytes(mask);
            assert_eq!(mask.len(), 256 * 256 / 8);
            assert!(mask == by_the_judge(&map, limit), "at {limit}");
            let above = map.values.iter().filter(|v| **v > limit).count();
            some += usize::from(above > 0 && above < map.values.len());
            let figures = floats(figures);
            let mean = map.values.iter().sum::<f32>() / map.values.len() as f32;
            assert_eq!((figures[0], figures[2]), (map.max(), above as f32), "at {limit}");
            assert!((figures[1] - mean).abs() <= 1e-4 * map.max(), "{} {mean}", figures[1]);
        }
    }
    assert!(some > 10 && range > 0.0, "limits between the values: {some}");
}

/// A model whose map is its input, of so many pixels.
fn echo(width: usize, height: usize) -> pb::ModelProto {
    let mut g = GraphBuilder::new("echo", Storage::Fp32);
    let x = g.input_f32("values", &[1, 1, height, width]);
    let one = g.constant("one", &[], &[1.0]);
    let map = g.mul("map", &x, &one);
    g.output(&map);
    g.finish(vec![]).unwrap()
}

#[test]
fn pixels_that_fill_no_byte_and_values_that_are_none_are_told_apart() {
    let plan = runnable(&with_mask(&echo(5, 3), "map", (5, 3)).unwrap());
    let run = |values: &[f32; 15]| {
        let map = Tensor::from_shape(&[1, 1, 3, 5], values).unwrap();
        let answer = plan.run(tvec!(map.into(), tensor1(&[0.5f32]).into())).unwrap();
        (bytes(&answer[1]), floats(&answer[2]))
    };
    let mut values = [0.0; 15];
    (values[0], values[9], values[14], values[3]) = (0.6, 0.7, 1.0, 0.5);
    let (mask, figures) = run(&values);
    assert_eq!(mask, [0b0000_0001, 0b0100_0010], "the limit itself is not above");
    assert_eq!((figures[0], figures[2]), (1.0, 3.0));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        values[5] = bad;
        assert!(!run(&values).1[1].is_finite(), "{bad}");
    }
}

#[test]
fn it_goes_with_the_frames_of_a_camera_and_not_twice() {
    let model = pb::ModelProto::decode(demo().model()).unwrap();
    let geometry = Geometry::WHOLE;
    let (format, row_bytes) = (PixelFormat::Mono8, None);
    let frames = CameraFrames { format, width: 64, height: 48, row_bytes, geometry };
    let composed = for_camera(&model, "image", (256, 256), &frames).unwrap();
    let masked = with_mask(&composed, "anomaly_map", (256, 256)).unwrap();
    let names: Vec<_> = masked.graph.as_ref().unwrap().input.iter().map(|i| &*i.name).collect();
    assert_eq!(names, [FRAME, LIMIT]);
    let error = with_mask(&masked, "anomaly_map", (256, 256)).unwrap_err().to_string();
    assert!(error.contains("kept for the mask"), "{error}");
    let error = with_mask(&model, "heat", (256, 256)).unwrap_err().to_string();
    assert!(error.contains("`heat`"), "{error}");
    // The model itself refuses a map of another size, when it is built.
    let wrong = with_mask(&model, "anomaly_map", (100, 100)).unwrap();
    assert!(tract_onnx::onnx().model_for_proto_model(&wrong).unwrap().into_optimized().is_err());
}
