//! A graph made ready to run on the CPU: what training and golden tensors are computed with.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// A graph that could not be prepared or run.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    message: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// An optimised graph with one UINT8 input `[1, side, side, 3]` and float outputs. Shared by
/// reference among threads; each run has its own state and uses one thread.
#[derive(Clone)]
pub struct Plan {
    runnable: Arc<TypedRunnableModel>,
    input: [usize; 4],
}

impl Plan {
    /// Prepares a model whose input is a square picture of `side` pixels.
    ///
    /// # Errors
    /// When the graph has an operator or a shape that the runtime refuses.
    pub fn new(model: &ModelProto, side: usize) -> Result<Self, PlanError> {
        let runnable = tract_onnx::onnx()
            .model_for_proto_model(model)
            .and_then(|m| m.into_optimized())
            .and_then(|m| m.into_runnable())
            .map_err(|e| PlanError {
                message: "the graph could not be prepared",
                source: e.into(),
            })?;
        Ok(Self { runnable, input: [1, side, side, 3] })
    }

    /// Bytes of one input picture.
    pub fn input_bytes(&self) -> usize {
        self.input.iter().product()
    }

    /// Runs the graph on one picture and hands each output's values to `take` in order.
    ///
    /// # Errors
    /// When `rgb` has the wrong length or the runtime fails.
    pub fn run(&self, rgb: &[u8], mut take: impl FnMut(usize, &[f32])) -> Result<(), PlanError> {
        let outputs = Tensor::from_shape(&self.input, rgb)
            .and_then(|image| self.runnable.run(tvec!(image.into())))
            .map_err(failed)?;
        for (i, output) in outputs.iter().enumerate() {
            let values = output.to_plain_array_view::<f32>().map_err(failed)?;
            match values.as_slice() {
                Some(values) => take(i, values),
                None => take(i, &values.iter().copied().collect::<Vec<_>>()),
            }
        }
        Ok(())
    }

    /// The prepared graph, for measurements.
    pub fn runnable(&self) -> &Arc<TypedRunnableModel> {
        &self.runnable
    }
}

fn failed(e: TractError) -> PlanError {
    PlanError { message: "the graph could not be run", source: e.into() }
}
