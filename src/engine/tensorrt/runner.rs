//! Runs a plan, picture by picture.
//!
//! Outputs lie in memory that processor and GPU share, at addresses that never change; the input lies in
//! such memory of the engine's own, or where a camera wrote it. [`super::runs`] says in which order
//! the device is called. The processor waits once a picture, for the result. What the picture before left in
//! the outputs is overwritten by what is no number before each run: one that is said to be done and wrote
//! nothing must not answer for another part.

use std::sync::Arc;

use super::cuda::{Device, Recorded, Shared, Stream};
use super::ffi::{Context, Tensor};
use super::runs::{Driver, Runs};
use crate::engine::bundle::Bundle;
use crate::engine::{Engine, EngineError, EngineErrorKind, ModelSpec};
use crate::frame::{AnomalyMap, Precision};

/// A 32-bit float of four such bytes is NaN.
const NO_NUMBER: u8 = 0xff;

/// What runs one picture: the GPU, or a script in tests.
trait Run: Send {
    /// The engine's own input.
    fn input(&mut self) -> &mut [u8];
    /// Runs the model on its own input and waits for its answer.
    fn run(&mut self) -> Result<(), EngineError>;
    /// The same on input that lies where the device sees it at `address`, as long as this runs.
    fn run_at(&mut self, address: u64) -> Result<(), EngineError>;
    /// Map and score of the last run, as 32-bit floats in memory.
    fn outputs(&self) -> (&[u8], &[u8]);
    /// The same to write to, before a run.
    fn outputs_mut(&mut self) -> (&mut [u8], &mut [u8]);
}

/// An engine on a GPU.
pub struct TensorRtEngine {
    spec: ModelSpec,
    run: Box<dyn Run>,
}

impl TensorRtEngine {
    /// `input` is the tensor that the engine takes.
    pub(super) fn on_gpu(
        bundle: &Bundle,
        (input, precision): (Tensor, Precision),
        context: Context,
        device: &Arc<Device>,
    ) -> Result<Self, EngineError> {
        let spec = ModelSpec { precision, ..bundle.spec() };
        let output = &bundle.manifest().output;
        let bytes = input.shape.iter().map(|side| *side as usize).product();
        let map_bytes = spec.map_width * spec.map_height * size_of::<f32>();
        let mut gpu = Gpu {
            input: Shared::new(device, bytes)?,
            map: Shared::new(device, map_bytes)?,
            score: Shared::new(device, size_of::<f32>())?,
            runs: Runs::new(Cuda {
                stream: Stream::new(device)?,
                context,
                input: input.name,
                device: Arc::clone(device),
            }),
        };
        let context = &mut gpu.runs.driver_mut().context;
        context.set_address(&output.anomaly_map, gpu.map.address())?;
        context.set_address(&output.score, gpu.score.address())?;
        Ok(Self { spec, run: Box::new(gpu) })
    }

    /// Runs the model on `input`, the bytes of its input tensor: a picture of the model's size, or a
    /// frame. Overwrites `out`, which is all NaN when that fails.
    ///
    /// # Errors
    /// `Input` when the tensor has another length, `Backend` when the GPU fails.
    pub(super) fn answer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.spec.clear(out);
        let own = self.run.input();
        if own.len() != input.len() {
            let what = format!("{} bytes, but the engine takes {}", input.len(), own.len());
            return Err(EngineError::new(EngineErrorKind::Input, what));
        }
        own.copy_from_slice(input);
        self.forget_answer();
        self.run.run()?;
        self.take_answer(out)
    }

    /// The same on an input tensor that lies where the device sees it at `address`; it is not read any
    /// more when this returns.
    ///
    /// # Errors
    /// `Backend` when the GPU fails.
    pub(super) fn answer_at(
        &mut self,
        address: u64,
        out: &mut AnomalyMap,
    ) -> Result<(), EngineError> {
        self.spec.clear(out);
        self.forget_answer();
        self.run.run_at(address)?;
        self.take_answer(out)
    }

    /// Nothing is left of the answer before.
    fn forget_answer(&mut self) {
        let (map, score) = self.run.outputs_mut();
        map.fill(NO_NUMBER);
        score.fill(NO_NUMBER);
    }

    fn take_answer(&self, out: &mut AnomalyMap) -> Result<(), EngineError> {
        let (map, score) = self.run.outputs();
        let (map, map_rest) = map.as_chunks();
        let (score, score_rest) = score.as_chunks();
        let ([score], true, true) = (score, map_rest.is_empty(), score_rest.is_empty()) else {
            return Err(short());
        };
        if map.len() != out.values.len() {
            return Err(short());
        }
        for (value, bytes) in out.values.iter_mut().zip(map) {
            *value = f32::from_ne_bytes(*bytes);
        }
        out.score = f32::from_ne_bytes(*score);
        Ok(())
    }
}

impl Engine for TensorRtEngine {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.spec.clear(out);
        self.spec.check_input(input)?;
        self.answer(input, out)
    }
}

fn short() -> EngineError {
    EngineError::new(EngineErrorKind::Backend, "the GPU's answer has another size than the map")
}

/// The fields are freed in their order: runs with their recordings, then the memory that they read
/// and write.
struct Gpu {
    runs: Runs<Cuda>,
    input: Shared,
    map: Shared,
    score: Shared,
}

impl Run for Gpu {
    fn input(&mut self) -> &mut [u8] {
        self.input.bytes_mut()
    }

    fn run(&mut self) -> Result<(), EngineError> {
        self.runs.run(self.input.address())
    }

    fn run_at(&mut self, address: u64) -> Result<(), EngineError> {
        self.runs.run(address)
    }

    fn outputs(&self) -> (&[u8], &[u8]) {
        (self.map.bytes(), self.score.bytes())
    }

    fn outputs_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.map.bytes_mut(), self.score.bytes_mut())
    }
}

/// The real device. The stream is freed first, which waits for its work.
struct Cuda {
    stream: Stream,
    context: Context,
    /// Name of the input tensor.
    input: String,
    device: Arc<Device>,
}

impl Driver for Cuda {
    type Recording = Recorded;

    fn enter(&mut self) -> Result<(), EngineError> {
        self.device.enter()
    }

    fn bind(&mut self, address: u64) -> Result<(), EngineError> {
        self.context.set_address(&self.input, address)
    }

    fn enqueue(&mut self) -> Result<(), EngineError> {
        self.context.enqueue(self.stream.as_ptr())
    }

    fn record(&mut self) -> Result<Recorded, EngineError> {
        let context = &mut self.context;
        self.stream.record(|stream| context.enqueue(stream))
    }

    fn launch(&mut self, recording: &Recorded) -> Result<(), EngineError> {
        self.stream.launch(recording)
    }

    fn wait(&mut self) -> Result<(), EngineError> {
        self.stream.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bundle::GoldenCase;
    use crate::engine::tensorrt::target::Proof;

    struct Scripted {
        input: Vec<u8>,
        map: Vec<u8>,
        score: Vec<u8>,
        fails: bool,
        /// What the next runs write, of map and score; the last one goes on.
        writes: Vec<(bool, bool)>,
        /// Runs so far, of the own input and elsewhere.
        ran: usize,
    }

    impl Run for Scripted {
        fn input(&mut self) -> &mut [u8] {
            &mut self.input
        }

        fn run_at(&mut self, address: u64) -> Result<(), EngineError> {
            self.input.fill(address as u8);
            self.run()
        }

        fn run(&mut self) -> Result<(), EngineError> {
            if self.fails {
                return Err(EngineError::new(EngineErrorKind::Backend, "scripted"));
            }
            let (map, score) = self.writes[self.ran.min(self.writes.len() - 1)];
            self.ran += 1;
            // The mean of the picture is what the script answers.
            let mean = self.input.iter().map(|v| f32::from(*v)).sum::<f32>();
            let mean = mean / self.input.len() as f32;
            if map {
                self.map.chunks_exact_mut(4).for_each(|v| v.copy_from_slice(&mean.to_ne_bytes()));
            }
            if score && self.score.len() == 4 {
                self.score.copy_from_slice(&(mean * 2.0).to_ne_bytes());
            }
            Ok(())
        }

        fn outputs(&self) -> (&[u8], &[u8]) {
            (&self.map, &self.score)
        }

        fn outputs_mut(&mut self) -> (&mut [u8], &mut [u8]) {
            (&mut self.map, &mut self.score)
        }
    }

    fn engine(map_bytes: usize, score_bytes: usize, fails: bool) -> TensorRtEngine {
        engine_that((map_bytes, score_bytes, fails), vec![(true, true)])
    }

    fn engine_that(
        (map_bytes, score_bytes, fails): (usize, usize, bool),
        writes: Vec<(bool, bool)>,
    ) -> TensorRtEngine {
        let spec = ModelSpec {
            input_width: 2,
            input_height: 1,
            map_width: 2,
            map_height: 2,
            classes: vec!["a".to_owned()],
            sha256: String::new(),
            precision: Precision::Fp32,
        };
        let run = Scripted {
            input: vec![0; 6],
            map: vec![0; map_bytes],
            score: vec![0; score_bytes],
            fails,
            writes,
            ran: 0,
        };
        TensorRtEngine { spec, run: Box::new(run) }
    }

    #[test]
    fn a_picture_goes_in_and_map_and_score_come_out() {
        let mut engine = engine(16, 4, false);
        let mut map = AnomalyMap::unwritten(2, 2);
        for value in [3, 7] {
            engine.infer(&[value; 6], &mut map).unwrap();
            assert_eq!(
                (map.values.as_slice(), map.score),
                ([f32::from(value); 4].as_slice(), f32::from(value) * 2.0)
            );
        }
    }

    #[test]
    fn a_run_that_writes_nothing_does_not_answer_for_the_part_before() {
        for writes in [(false, false), (false, true), (true, false)] {
            for elsewhere in [false, true] {
                let mut engine = engine_that((16, 4, false), vec![(true, true), writes]);
                let mut map = AnomalyMap::unwritten(2, 2);
                let mut look = |map: &mut AnomalyMap| match elsewhere {
                    true => engine.answer_at(3, map),
                    false => engine.infer(&[3; 6], map),
                };
                look(&mut map).unwrap();
                assert!(map.is_finite() && map.is_complete());
                // It says that it is done. The judge takes nothing that is no number.
                look(&mut map).unwrap();
                assert!(!map.is_finite(), "{writes:?}, elsewhere: {elsewhere}");
                assert_eq!(map.score.is_nan(), !writes.1);
                assert!(map.values.iter().all(|value| value.is_nan() != writes.0));
            }
        }
    }

    #[test]
    fn one_golden_picture_proves_the_recorded_run_as_well() {
        let case = GoldenCase { image: vec![3; 6], map: vec![3.0; 4], score: 6.0 };
        let proof = Proof { cases: vec![case].into(), diff_allowed: 0.0 };
        for (second, right) in
            [((true, true), true), ((false, true), false), ((true, false), false)]
        {
            let mut engine = engine_that((16, 4, false), vec![(true, true), second]);
            let found = proof.measure(&mut engine).unwrap();
            assert_eq!((found.check("here").is_ok(), found.pictures), (right, 1), "{second:?}");
        }
    }

    #[test]
    fn whatever_goes_wrong_leaves_a_map_that_cannot_pass() {
        for (mut engine, input) in [
            (engine(16, 4, true), vec![1; 6]),
            (engine(16, 4, false), vec![1; 5]),
            (engine(12, 4, false), vec![1; 6]),
            (engine(15, 4, false), vec![1; 6]),
            (engine(16, 3, false), vec![1; 6]),
        ] {
            let mut map = AnomalyMap::unwritten(2, 2);
            map.values.fill(0.0);
            map.score = 0.0;
            assert!(engine.infer(&input, &mut map).is_err());
            assert!(map.score.is_nan() && map.values.iter().all(|value| value.is_nan()));
            (map.score, map.values) = (0.0, vec![0.0; 4]);
            // A picture of another length has no place of its own.
            let elsewhere = if input.len() == 6 { engine.answer_at(3, &mut map) } else { continue };
            assert!(elsewhere.is_err());
            assert!(map.score.is_nan() && map.values.iter().all(|value| value.is_nan()));
        }
    }
}
