//! 16-bit engines: built, proved, and mended where the device computes wrongly.
//!
//! Where an engine in 16 bits misses the golden answers, the layers at fault are searched and keep 32
//! bits; each step of the search builds an engine.

use std::borrow::Cow;
use std::collections::BTreeSet;

use prost::Message;

use super::target::{Proof, Target};
use super::{Built, TensorRt, TensorRtEngine};
use crate::engine::bundle::Bundle;
use crate::engine::graph::{Layer, SearchError, layers, search};
use crate::engine::{EngineError, EngineErrorKind};
use crate::frame::Precision;

/// Most engines built in one search; on a Jetson each may take minutes.
const CHECKS_MAX: usize = 24;

impl Precision {
    /// How far an engine of this arithmetic may be from the bundle's golden answers.
    pub fn diff_allowed(self, bundle: &Bundle) -> f32 {
        match self {
            Self::Fp16 => bundle.half_diff_allowed(),
            Self::Fp32 => bundle.manifest().golden.tolerance * bundle.golden().range(),
        }
    }

    /// The ONNX file of this arithmetic; the named nodes keep 32 bits.
    pub(super) fn onnx<'a>(
        self,
        bundle: &'a Bundle,
        keep: &BTreeSet<String>,
    ) -> Result<Cow<'a, [u8]>, EngineError> {
        match self {
            Self::Fp16 => Ok(Cow::Owned(bundle.half_graph(keep)?.encode_to_vec())),
            Self::Fp32 => Ok(Cow::Borrowed(bundle.model())),
        }
    }
}

/// A proved engine and how it came to be.
pub(super) struct Proved {
    pub(super) engine: TensorRtEngine,
    pub(super) built: Built,
    /// Layers that keep 32 bits.
    pub(super) kept_fp32: Vec<String>,
    /// Worst difference to the golden answers.
    pub(super) golden_diff_max: f32,
}

/// Builds an engine and proves it.
///
/// # Errors
/// `SelfCheck` when the golden answers are missed, with every layer in 32 bits, too; else as
/// [`TensorRt::build`] and [`TensorRt::load`].
pub(super) fn build(
    tensorrt: &TensorRt,
    target: Target<'_>,
    timings: Vec<u8>,
) -> Result<Proved, EngineError> {
    let Target { bundle, precision, .. } = target;
    let layers = match precision {
        Precision::Fp16 => layers(&bundle.graph()?).map_err(|e| {
            let what = format!("{}: the layers of the model cannot be told apart", bundle.place());
            EngineError::with_source(EngineErrorKind::Backend, what, e)
        })?,
        // Nothing to search for.
        Precision::Fp32 => Vec::new(),
    };
    let proof = target.proof()?;
    let allowed = proof.diff_allowed;
    let mut timings = timings;
    let mut best: Option<(BTreeSet<usize>, Proved)> = None;
    let found = search(layers.len(), allowed, CHECKS_MAX, |kept: &BTreeSet<usize>| {
        let proved = one(tensorrt, (target, &proof), (&layers, kept), &timings)?;
        let diff = proved.golden_diff_max;
        timings.clone_from(&proved.built.timings);
        tracing::info!(
            layers_in_fp32 = kept.len(),
            golden_diff = diff,
            allowed,
            "an engine was tried"
        );
        if diff <= allowed {
            best = Some((kept.clone(), proved));
        }
        Ok::<f32, EngineError>(diff)
    });
    let found = found.map_err(|e| match e {
        SearchError::Check(e) => e,
        e @ SearchError::NotPrecision { .. } => EngineError::new(
            EngineErrorKind::SelfCheck,
            format!(
                "{}: {e}; this GPU does not run the model correctly: use the backend `cpu`",
                bundle.place()
            ),
        ),
    })?;
    let proved = match best {
        Some((kept, proved)) if kept == found.kept => proved,
        // Of several that were right another one was chosen: it is made again, and proved again.
        _ => one(tensorrt, (target, &proof), (&layers, &found.kept), &timings)?,
    };
    // `<=` is false for NaN.
    if proved.golden_diff_max <= allowed { Ok(proved) } else { Err(changed(bundle)) }
}

fn changed(bundle: &Bundle) -> EngineError {
    EngineError::new(
        EngineErrorKind::SelfCheck,
        format!(
            "{}: an engine built twice gave the golden answers once: use the backend `cpu`",
            bundle.place()
        ),
    )
}

fn one(
    tensorrt: &TensorRt,
    (target, proof): (Target<'_>, &Proof<'_>),
    (layers, kept): (&[Layer], &BTreeSet<usize>),
    timings: &[u8],
) -> Result<Proved, EngineError> {
    let kept: Vec<&Layer> = kept.iter().filter_map(|at| layers.get(*at)).collect();
    let nodes = kept.iter().flat_map(|layer| layer.nodes.iter().cloned()).collect();
    let built = tensorrt.build(target, &nodes, timings)?;
    let mut engine = tensorrt.load(target, &built.plan)?;
    let found = proof.measure(&mut engine).inspect_err(|e| {
        tracing::warn!(error = %e.chain(), "an engine that was built does not run");
    })?;
    Ok(Proved {
        engine,
        built,
        kept_fp32: kept.iter().map(|layer| layer.name.clone()).collect(),
        golden_diff_max: found.diff_max(),
    })
}
