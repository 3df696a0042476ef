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
        let model = encoder_model(weights, arch, storage)?;
        let plan = Plan::new(&model, arch.input).map_err(backend)?;
        Ok(Self { plan, features: arch.features() })
    }

    /// Encodes `rgb` (`input * input * 3` bytes) into `out` (`rows * channels`, channels last,
    /// taps in order, not standardised).
    ///
    /// # Errors
    /// When a length is wrong or the runtime fails; `out` is then undefined.
    pub fn encode(&self, rgb: &[u8], out: &mut [f32]) -> Result<()> {
        let (bytes, features) = (self.plan.input_bytes(), self.features);
        if rgb.len() != bytes || out.len() != features {
            let text = format!(
                "{} bytes for {} features given; the encoder takes {bytes} for {features}",
                rgb.len(),
                out.len()
            );
            return Err(EncoderError::new(EncoderErrorKind::Architecture, text));
        }
        self.plan.run(rgb, |_, values| out.copy_from_slice(values)).map_err(backend)
    }

    /// Features of one picture: `rows * channels`.
    pub fn features(&self) -> usize {
        self.features
    }
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
    let taps = encoder(&mut g, arch, weights, None)?;
    let features = g.concat("features", &taps.iter().collect::<Vec<_>>(), 1);
    g.output(&features);
    g.finish(vec![("encoder".to_owned(), weights.name().to_owned())]).map_err(backend)
}

fn backend(e: impl std::error::Error + Send + Sync + 'static) -> EncoderError {
    EncoderError::with_source(EncoderErrorKind::Backend, "the frozen encoder failed", e)
}
