//! The encoder alone, run for training: pictures in, unstandardised features on the grid out.

use tract_onnx::pb::ModelProto;

use super::nodes::encoder;
use super::{EncoderError, EncoderErrorKind, EncoderWeights, Result};
use crate::arch::Architecture;
use crate::onnx::{GraphBuilder, Storage};
use crate::plan::Plan;

/// A frozen encoder: `Send + Sync`, cheap to clone, one picture a call on the caller's thread.
#[derive(Clone)]
pub struct FrozenEncoder {
    plan: Plan,
    features: usize,
    /// By memory: what those that look closer than the grid are shown, and its number of values.
    fine: Vec<Option<(Plan, usize)>>,
}

impl FrozenEncoder {
    /// Prepares the encoder for the taps, input side and grid of `arch`, weights in 32 bits.
    ///
    /// # Errors
    /// When the weights do not serve the architecture.
    pub fn new(weights: &EncoderWeights, arch: &Architecture) -> Result<Self> {
        Self::with_storage(weights, arch, Storage::Fp32)
    }

    /// The same with weights rounded as a model exported with `storage` has them, so that a
    /// decoder is trained on the very features it will see.
    ///
    /// # Errors
    /// When the weights do not serve the architecture.
    pub fn with_storage(
        weights: &EncoderWeights,
        arch: &Architecture,
        storage: Storage,
    ) -> Result<Self> {
        let plan = |arch: &Architecture| {
            Plan::new(&encoder_model(weights, arch, storage)?, arch.input).map_err(backend)
        };
        let fine = arch.memories.iter().map(|memory| {
            let seen = arch.seen_by(memory);
            (memory.scale > 1).then(|| Ok((plan(&seen)?, seen.features()))).transpose()
        });
        Ok(Self {
            plan: plan(arch)?,
            features: arch.features(),
            fine: fine.collect::<Result<_>>()?,
        })
    }

    /// Encodes `rgb` (`input * input * 3` bytes) into `out` (`rows * channels`, channels last,
    /// taps in order, not standardised).
    ///
    /// # Errors
    /// When a length is wrong or the runtime fails; `out` is then undefined.
    pub fn encode(&self, rgb: &[u8], out: &mut [f32]) -> Result<()> {
        run(&self.plan, self.features, rgb, out)
    }

    /// The same for memory `memory` of the architecture, which looks closer than the grid: its own
    /// taps on its own grid, `places * channels`.
    ///
    /// # Errors
    /// As [`Self::encode`], and when that memory is shown the grid.
    pub fn encode_fine(&self, memory: usize, rgb: &[u8], out: &mut [f32]) -> Result<()> {
        let Some(Some((plan, features))) = self.fine.get(memory) else {
            return Err(EncoderError::no_finer(memory));
        };
        run(plan, *features, rgb, out)
    }

    /// Features of one picture: `rows * channels`.
    pub fn features(&self) -> usize {
        self.features
    }
}

fn run(plan: &Plan, features: usize, rgb: &[u8], out: &mut [f32]) -> Result<()> {
    let bytes = plan.input_bytes();
    if rgb.len() != bytes || out.len() != features {
        let text = format!(
            "{} bytes for {} features given; the encoder takes {bytes} for {features}",
            rgb.len(),
            out.len()
        );
        return Err(EncoderError::new(EncoderErrorKind::Architecture, text));
    }
    plan.run(rgb, |_, values| out.copy_from_slice(values)).map_err(backend)
}

/// The encoder-only graph: `image` in, `features` `[rows, channels]` out.
///
/// # Errors
/// When the weights do not serve the architecture.
pub fn encoder_model(
    weights: &EncoderWeights,
    arch: &Architecture,
    storage: Storage,
) -> Result<ModelProto> {
    let mut g = GraphBuilder::new("encoder", storage);
    let taps = encoder(&mut g, arch, weights, None)?.grid;
    let features = g.concat("features", &taps.iter().collect::<Vec<_>>(), 1);
    g.output(&features);
    g.finish(vec![("encoder".to_owned(), weights.name().to_owned())]).map_err(backend)
}

fn backend(e: impl std::error::Error + Send + Sync + 'static) -> EncoderError {
    EncoderError::with_source(EncoderErrorKind::Backend, "the frozen encoder failed", e)
}
