use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::{CameraFrames, for_camera, picture};
use crate::frame::{Geometry, ImageView, PixelFormat};
use crate::image::Preprocessor;

/// The formats of uncompressed cameras, some of 10 to 16 bits among them.
const FORMATS: [PixelFormat; 14] = [
    PixelFormat::Mono8,
    PixelFormat::BayerRG8,
    PixelFormat::BayerGR8,
    PixelFormat::BayerGB8,
    PixelFormat::BayerBG8,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::Mono10,
    PixelFormat::Mono16,
    PixelFormat::BayerRG12,
    PixelFormat::BayerBG16,
];

fn frames(format: PixelFormat, (width, height): (usize, usize)) -> CameraFrames {
    CameraFrames { format, width, height, row_bytes: None, geometry: Geometry::WHOLE }
}

/// Smooth shades with an edge and noise.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 7u32;
    let noise = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 26) as usize
    };
    (0..count).map(|i| (i / 7 % 170 + i / 900 % 2 * 20 + noise(&mut state)) as u8).collect()
}

fn run(model: &pb::ModelProto, shape: &[usize], input: &[u8]) -> Vec<Vec<f32>> {
    let plan = tract_onnx::onnx()
        .model_for_proto_model(model)
        .and_then(|m| m.into_optimized())
        .and_then(|m| m.into_runnable())
        .unwrap();
    let answer = plan.run(tvec!(Tensor::from_shape(shape, input).unwrap().into())).unwrap();
    let floats = |v: &TValue| v.to_plain_array_view::<f32>().unwrap().iter().copied().collect();
    answer.iter().map(floats).collect()
}

/// What the station's preprocessing makes of the frame.
fn by_image(frames: &CameraFrames, to: (usize, usize), bytes: &[u8]) -> Vec<u8> {
    let row = frames.shape()[2];
    let view = ImageView::new(bytes, frames.width, frames.height, row, frames.format).unwrap();
    let mut preprocessor = Preprocessor::new(to.0, to.1);
    let mut rgb = vec![0; preprocessor.output_bytes()];
    preprocessor.run_in(&frames.geometry, view, &mut rgb).unwrap();
    rgb
}

/// At most a level apart, and that seldom.
#[track_caller]
fn same_picture(frames: &CameraFrames, to: (usize, usize)) {
    let shape = frames.shape();
    let bytes = bytes(shape.iter().product());
    let want = by_image(frames, to, &bytes);
    let got = run(&picture("image", to, frames).unwrap(), &shape, &bytes);
    let off: Vec<f32> = got[0].iter().zip(&want).map(|(a, b)| (a - f32::from(*b)).abs()).collect();
    assert_eq!(off.len(), want.len());
    let worst = off.iter().copied().fold(0.0, f32::max);
    let share = off.iter().filter(|d| **d > 0.0).count() as f64 / off.len() as f64;
    println!("{} {}: {:.2} % differ by {worst}", frames.format, frames.geometry, 100.0 * share);
    assert!(worst <= 1.0 && share < 0.02, "{frames:?}: {share} differ, by up to {worst}");
}

#[test]
fn every_format_becomes_the_picture_of_the_preprocessing() {
    for format in FORMATS {
        for (size, to) in [((160, 120), (32, 24)), ((70, 46), (64, 64)), ((40, 30), (96, 80))] {
            same_picture(&frames(format, size), to);
        }
    }
}

#[test]
fn odd_sizes_and_padded_rows_are_read_where_they_lie() {
    for format in FORMATS.into_iter().filter(|f| !f.width_is_even()) {
        let mut odd = frames(format, (75, 53));
        same_picture(&odd, (32, 32));
        odd.row_bytes = Some(format.row_bytes(75).next_multiple_of(64));
        same_picture(&odd, (32, 32));
    }
}

#[test]
fn region_mirror_and_turn_are_those_of_the_preprocessing() {
    for format in [PixelFormat::BayerGB8, PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Rgb8] {
        for rotate in [0, 90, 180, 270] {
            for mirror in [false, true] {
                let roi = Some([11, 7, 61, 40]);
                let geometry = Geometry { roi, mirror, rotate, corners: None };
                same_picture(&CameraFrames { geometry, ..frames(format, (96, 64)) }, (40, 24));
            }
        }
    }
}

#[test]
fn the_demo_engine_on_a_frame_answers_as_on_its_picture() {
    let model = &include_bytes!("../../../engines/demo/model.onnx")[..];
    let model = pb::ModelProto::decode(model).unwrap();
    for format in [PixelFormat::BayerRG8, PixelFormat::Nv12] {
        let frames = frames(format, (480, 400));
        let bytes = bytes(frames.shape().iter().product());
        let composed = for_camera(&model, "image", (256, 256), &frames).unwrap();
        let got = run(&composed, &frames.shape(), &bytes);
        let want = run(&model, &[1, 256, 256, 3], &by_image(&frames, (256, 256), &bytes));
        let range = want[0].iter().copied().fold(0.0, f32::max);
        for (got, want) in got.iter().zip(&want) {
            let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{format}: {worst:.2e} of {range:.2e}");
            assert!(worst < 0.005 * range, "{format}: {worst} of {range}");
        }
    }
}

#[test]
fn what_no_graph_can_do_is_refused_with_the_reason() {
    let corners = Some([[1.0, 1.0], [30.0, 2.0], [29.0, 30.0], [2.0, 28.0]]);
    let whole = frames(PixelFormat::Rgb8, (32, 32));
    let geometry = |geometry| CameraFrames { geometry, ..whole };
    for (frames, says) in [
        (frames(PixelFormat::Mjpeg, (32, 32)), "on the CPU"),
        (geometry(Geometry { corners, ..Geometry::WHOLE }), "on the CPU"),
        (geometry(Geometry { roi: Some([9, 9, 30, 30]), ..Geometry::WHOLE }), "outside"),
        (CameraFrames { row_bytes: Some(95), ..whole }, "too few"),
    ] {
        let error = picture("image", (16, 16), &frames).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let model = &include_bytes!("../../../engines/demo/model.onnx")[..];
    let model = pb::ModelProto::decode(model).unwrap();
    let error = for_camera(&model, "photo", (256, 256), &whole).unwrap_err().to_string();
    assert!(error.contains("`photo`"), "{error}");
    let once = for_camera(&model, "image", (256, 256), &whole).unwrap();
    assert!(for_camera(&once, "image", (256, 256), &whole).is_err());
}
