//! Frames with known answers, by which an engine that reads a camera's frames is proved.
//!
//! The golden pictures of a bundle are pictures of the model's size. Laid out as the camera's frames
//! they have other pixels, so their answers are asked of the engine that serves on every machine: `image`
//! makes the model's input of the frame, and the CPU, itself proved by the golden pictures, runs
//! the model. Where the frame is the golden picture byte by byte, its own answer stands.

use super::bundle::{Bundle, GoldenCase};
use super::graph::CameraFrames;
use super::{CpuEngine, Engine, EngineError, EngineErrorKind};
use crate::frame::{AnomalyMap, ImageView, PixelFormat};
use crate::image::{Preprocessor, RgbImage, lay_out};

/// How far the map may move because the graph rounds some pixels to the level beside that of `image`,
/// as a fraction of the golden maps' range, beside what the arithmetic is allowed. Under one of a
/// hundred values is off, by one level; the map of the demo engine was seen to move by 0.7 to 0.9 %.
pub const FRAME_TOLERANCE: f32 = 0.01;
/// Frames run in one proof: each costs an inference on the CPU.
const CASES_MAX: usize = 4;

/// Frames of a camera, the padding of rows included, with what the model says of them.
///
/// # Errors
/// `Input` when there are no such frames or the geometry does not fit them; as [`CpuEngine::load`].
pub fn frame_cases(bundle: &Bundle, frames: &CameraFrames) -> Result<Vec<GoldenCase>, EngineError> {
    let golden = bundle.golden().cases();
    let spec = bundle.spec();
    let (width, height) = (spec.input_width, spec.input_height);
    let unpadded = frames.bytes() == spec.input_bytes();
    let size = (frames.width, frames.height) == (width, height);
    if frames.format == PixelFormat::Rgb8 && size && unpadded && frames.geometry.is_whole() {
        return Ok(golden.iter().take(CASES_MAX).cloned().collect());
    }
    let mut engine = CpuEngine::load(bundle)?;
    let mut preprocessor = Preprocessor::new(width, height);
    let mut input = vec![0; preprocessor.output_bytes()];
    let mut map = AnomalyMap::default();
    let cases = golden.iter().take(CASES_MAX).map(|case| {
        let picture = RgbImage { width, height, data: case.image.clone() };
        let image = framed(&picture, frames, &mut preprocessor, &mut input).map_err(|e| {
            let what = format!("{frames}: no frames to prove an engine with");
            EngineError::with_source(EngineErrorKind::Input, what, e)
        })?;
        engine.infer(&input, &mut map)?;
        Ok(GoldenCase { image, map: map.values.clone(), score: map.score })
    });
    cases.collect()
}

/// The picture as a frame, and in `input` what the station makes of that.
fn framed(
    picture: &RgbImage,
    frames: &CameraFrames,
    preprocessor: &mut Preprocessor,
    input: &mut [u8],
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let CameraFrames { format, width, height, geometry, .. } = *frames;
    let [_, _, row] = frames.shape();
    let bytes = lay_out(picture, format, (width, height), row)?;
    let view = ImageView::new(&bytes, width, height, row, format)?;
    preprocessor.run_in(&geometry, view, input)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tract_onnx::prelude::*;

    use super::*;
    use crate::engine::bundle::BundleSource;
    use crate::engine::graph::for_camera;
    use crate::engine::selfcheck::compare;
    use crate::frame::Geometry;

    fn demo() -> Bundle {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
        Bundle::load(&BundleSource::Dir(folder.into())).unwrap()
    }

    fn frames(format: PixelFormat, width: usize, height: usize) -> CameraFrames {
        CameraFrames { format, width, height, row_bytes: None, geometry: Geometry::WHOLE }
    }

    /// Runs the composed graph on the CPU.
    fn composed(bundle: &Bundle, frames: &CameraFrames) -> impl FnMut(&[u8], &mut AnomalyMap) {
        let model = tract_onnx::pb::ModelProto::decode(bundle.model()).unwrap();
        let composed = for_camera(&model, "image", (256, 256), frames).unwrap();
        let plan = tract_onnx::onnx().model_for_proto_model(&composed).unwrap();
        let plan = plan.into_optimized().unwrap().into_runnable().unwrap();
        let shape = frames.shape();
        move |input, out| {
            let frame = Tensor::from_shape(&shape, input).unwrap();
            let answer = plan.run(tvec!(frame.into())).unwrap();
            let floats = |at: usize| -> Vec<f32> {
                answer[at].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
            };
            (out.values, out.score) = (floats(0), floats(1)[0]);
        }
    }

    #[test]
    fn the_graph_of_a_camera_passes_the_proof_and_one_of_another_camera_does_not() {
        let bundle = demo();
        let geometry = Geometry { roi: Some([40, 20, 300, 280]), mirror: true, ..Geometry::WHOLE };
        for frames in [
            frames(PixelFormat::BayerRG8, 480, 400),
            frames(PixelFormat::Nv12, 320, 240),
            CameraFrames { geometry, row_bytes: Some(768), ..frames(PixelFormat::Yuyv, 360, 320) },
        ] {
            let cases = frame_cases(&bundle, &frames).unwrap();
            assert!(cases.iter().all(|case| case.image.len() == frames.bytes()));
            let allowed =
                (bundle.manifest().golden.tolerance + FRAME_TOLERANCE) * bundle.golden().range();
            let diff = |frames: &CameraFrames| {
                let mut run = composed(&bundle, frames);
                let found = compare(&cases, allowed, |input, map| {
                    run(input, map);
                    Ok(())
                });
                found.unwrap().diff_max()
            };
            let found = diff(&frames);
            println!("{frames}: {:.3} % of the range", 100.0 * found / bundle.golden().range());
            assert!(found <= allowed, "{frames}: {found}, allowed {allowed}");
            // Mirrored, it is another picture.
            let mirror = !frames.geometry.mirror;
            let geometry = Geometry { mirror, ..frames.geometry };
            assert!(diff(&CameraFrames { geometry, ..frames }) > allowed, "{frames}");
        }
    }

    #[test]
    fn a_frame_that_is_the_golden_picture_has_its_answer() {
        let bundle = demo();
        let cases = frame_cases(&bundle, &frames(PixelFormat::Rgb8, 256, 256)).unwrap();
        assert_eq!(cases, bundle.golden().cases()[..cases.len()]);
        assert!(!cases.is_empty());
        let error = frame_cases(&bundle, &frames(PixelFormat::Mjpeg, 64, 64)).unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Input);
    }
}
