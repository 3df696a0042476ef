//! Runs a plan, picture by picture.
//!
//! Input and outputs lie in memory that processor and GPU share, at addresses that never change. The
//! first run warms the engine up; the next one is recorded as a CUDA graph, and all later ones launch
//! that. The processor waits once a picture, for the result.

use std::ffi::c_void;
use std::sync::Arc;

use super::cuda::{Device, Shared, Stream};
use super::ffi::Context;
use crate::engine::bundle::Bundle;
use crate::engine::{Engine, EngineError, EngineErrorKind, ModelSpec};
use crate::frame::{AnomalyMap, Precision};

/// What runs one picture: the GPU, or a script in tests.
trait Run: Send {
    /// Where the picture goes.
    fn input(&mut self) -> &mut [u8];
    /// Runs the model and waits for its answer.
    fn run(&mut self) -> Result<(), EngineError>;
    /// Map and score of the last run, as 32-bit floats in memory.
    fn outputs(&self) -> (&[u8], &[u8]);
}

/// An engine on a GPU.
pub struct TensorRtEngine {
    spec: ModelSpec,
    run: Box<dyn Run>,
}

impl TensorRtEngine {
    pub(super) fn on_gpu(
        bundle: &Bundle,
        precision: Precision,
        context: Context,
        device: &Arc<Device>,
    ) -> Result<Self, EngineError> {
        let spec = ModelSpec { precision, ..bundle.spec() };
        let output = &bundle.manifest().output;
        let float = size_of::<f32>();
        let mut gpu = Gpu {
            context,
            input: Shared::new(device, spec.input_bytes())?,
            map: Shared::new(device, spec.map_width * spec.map_height * float)?,
            score: Shared::new(device, float)?,
            stream: Stream::new(device)?,
            runs: 0,
            device: Arc::clone(device),
        };
        gpu.context.set_address(&bundle.manifest().input.name, gpu.input.address())?;
        gpu.context.set_address(&output.anomaly_map, gpu.map.address())?;
        gpu.context.set_address(&output.score, gpu.score.address())?;
        Ok(Self { spec, run: Box::new(gpu) })
    }
}

impl Engine for TensorRtEngine {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.spec.clear(out);
        self.spec.check_input(input)?;
        self.run.input().copy_from_slice(input);
        self.run.run()?;
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

fn short() -> EngineError {
    EngineError::new(EngineErrorKind::Backend, "the GPU's answer has another size than the map")
}

/// The fields are freed in their order: the stream first, which waits for its work, then the context,
/// then the memory it reads.
struct Gpu {
    stream: Stream,
    context: Context,
    input: Shared,
    map: Shared,
    score: Shared,
    runs: u64,
    device: Arc<Device>,
}

impl Gpu {
    /// TensorRT may allocate in the first run, which a recording cannot hold; so the second one is
    /// recorded. One that cannot be recorded is no fault: runs are then put in one by one.
    fn record(&mut self) {
        let context = &mut self.context;
        if let Err(error) = self.stream.record(|stream: *mut c_void| context.enqueue(stream)) {
            tracing::info!(%error, "runs without a CUDA graph");
        }
    }
}

impl Run for Gpu {
    fn input(&mut self) -> &mut [u8] {
        self.input.bytes_mut()
    }

    fn run(&mut self) -> Result<(), EngineError> {
        self.device.enter()?;
        if self.runs == 1 {
            self.record();
        }
        self.runs += 1;
        if !self.stream.run_recorded()? {
            self.context.enqueue(self.stream.as_ptr())?;
        }
        self.stream.wait()
    }

    fn outputs(&self) -> (&[u8], &[u8]) {
        (self.map.bytes(), self.score.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scripted {
        input: Vec<u8>,
        map: Vec<u8>,
        score: Vec<u8>,
        fails: bool,
    }

    impl Run for Scripted {
        fn input(&mut self) -> &mut [u8] {
            &mut self.input
        }

        fn run(&mut self) -> Result<(), EngineError> {
            if self.fails {
                return Err(EngineError::new(EngineErrorKind::Backend, "scripted"));
            }
            // The mean of the picture is what the script answers.
            let mean = self.input.iter().map(|v| f32::from(*v)).sum::<f32>();
            let mean = mean / self.input.len() as f32;
            self.map.chunks_exact_mut(4).for_each(|v| v.copy_from_slice(&mean.to_ne_bytes()));
            if self.score.len() == 4 {
                self.score.copy_from_slice(&(mean * 2.0).to_ne_bytes());
            }
            Ok(())
        }

        fn outputs(&self) -> (&[u8], &[u8]) {
            (&self.map, &self.score)
        }
    }

    fn engine(map_bytes: usize, score_bytes: usize, fails: bool) -> TensorRtEngine {
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
        }
    }
}
