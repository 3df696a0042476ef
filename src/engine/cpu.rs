//! The engine that runs everywhere: tract, pure Rust, one thread per engine.
//!
//! The input tensor and the session's tables are kept between pictures; what tract itself
//! allocates for intermediate tensors is the inference library's business.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use super::bundle::Bundle;
use super::{Engine, EngineError, EngineErrorKind, ModelSpec, self_check};
use crate::frame::AnomalyMap;

/// A model loaded into tract.
pub struct CpuEngine {
    spec: ModelSpec,
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    input: Arc<Tensor>,
}

impl CpuEngine {
    /// Loads, checks the tensors against the manifest, optimises and runs the self-check.
    ///
    /// # Errors
    /// `Backend` when tract cannot read or run the model, `Foreign` when the model's tensors are
    /// not the manifest's, `SelfCheck` when the golden pictures are not reproduced.
    pub fn load(bundle: &Bundle) -> Result<Self, EngineError> {
        let plan = plan(bundle)?;
        let mut engine = Self::on(bundle.spec(), plan)?;
        self_check(&mut engine, bundle)?;
        Ok(engine)
    }

    /// Another engine on the same weights, for another thread.
    ///
    /// # Errors
    /// `Backend` when tract cannot make a session.
    pub fn fork(&self) -> Result<Self, EngineError> {
        Self::on(self.spec.clone(), Arc::clone(&self.plan))
    }

    fn on(spec: ModelSpec, plan: Arc<TypedRunnableModel>) -> Result<Self, EngineError> {
        let state =
            plan.spawn().map_err(|e| backend("tract cannot start a session of the model", e))?;
        let input = Arc::new(blank_input(&spec)?);
        Ok(Self { spec, plan, state, input })
    }

    /// Copies the picture into the kept tensor. tract gives the tensor back after each run;
    /// after a failed one it may still hold it, then a new one is made.
    fn set_input(&mut self, picture: &[u8]) -> Result<(), EngineError> {
        if Arc::get_mut(&mut self.input).is_none() {
            self.input = Arc::new(blank_input(&self.spec)?);
        }
        let tensor = Arc::get_mut(&mut self.input).ok_or_else(|| {
            EngineError::new(EngineErrorKind::Backend, "a new input tensor is shared already")
        })?;
        let mut view = tensor
            .try_as_plain_ram_mut()
            .map_err(|e| backend("the input tensor is not in memory", e))?;
        let bytes = view
            .as_slice_mut::<u8>()
            .map_err(|e| backend("the input tensor does not hold bytes", e))?;
        bytes.copy_from_slice(picture);
        Ok(())
    }
}

impl Engine for CpuEngine {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.spec.clear(out);
        self.spec.check_input(input)?;
        self.set_input(input)?;
        let answer = self.state.run(tvec!(Arc::clone(&self.input).into_tvalue()));
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                // Half-computed values must not meet the next picture.
                self.state = self
                    .plan
                    .spawn()
                    .map_err(|e| backend("tract cannot start a session of the model", e))?;
                return Err(backend("tract failed to run the model on a picture", e));
            }
        };
        let map = floats(&answer[0])?;
        let score = floats(&answer[1])?;
        if map.len() != out.values.len() || score.len() != 1 {
            return Err(EngineError::new(
                EngineErrorKind::Backend,
                format!(
                    "tract answered {} map values and {} scores, expected {} and 1",
                    map.len(),
                    score.len(),
                    out.values.len()
                ),
            ));
        }
        out.values.copy_from_slice(map);
        out.score = score[0];
        Ok(())
    }
}

fn floats(value: &TValue) -> Result<&[f32], EngineError> {
    value
        .try_as_plain_ram()
        .and_then(|v| v.as_slice::<f32>())
        .map_err(|e| backend("an output tensor is not f32 in memory", e))
}

fn blank_input(spec: &ModelSpec) -> Result<Tensor, EngineError> {
    Tensor::zero::<u8>(&[1, spec.input_height, spec.input_width, 3])
        .map_err(|e| backend("cannot allocate the input tensor", e))
}

fn backend(what: &str, e: TractError) -> EngineError {
    EngineError::with_source(EngineErrorKind::Backend, what, e)
}

/// Parses, checks against the manifest and optimises.
fn plan(bundle: &Bundle) -> Result<Arc<TypedRunnableModel>, EngineError> {
    let place = bundle.place();
    let file = &bundle.manifest().model.file;
    let read = |e| backend(&format!("{place}: tract cannot read {file}; export it again"), e);
    let mut model = tract_onnx::onnx().model_for_read(&mut &bundle.model()[..]).map_err(read)?;
    check_input(&model, bundle)?;
    let output = &bundle.manifest().output;
    let names = [output.anomaly_map.as_str(), output.score.as_str()];
    let outlets = names
        .iter()
        .map(|name| {
            let labelled = |o: &&OutletId| model.outlet_label(**o) == Some(*name);
            model
                .outputs
                .iter()
                .find(labelled)
                .copied()
                .ok_or_else(|| foreign(bundle, format!("it has no output tensor `{name}`")))
        })
        .collect::<Result<Vec<OutletId>, EngineError>>()?;
    let optimise = |e| {
        backend(&format!("{place}: tract cannot optimise {file}; is an operator unsupported?"), e)
    };
    model.select_output_outlets(&outlets).map_err(optimise)?;
    let model = model.into_optimized().map_err(optimise)?;
    check_output(&model, 0, bundle, &[1, 1, output.map_height, output.map_width])?;
    check_output(&model, 1, bundle, &[1])?;
    model.into_runnable().map_err(optimise)
}

fn check_input(model: &InferenceModel, bundle: &Bundle) -> Result<(), EngineError> {
    let want = &bundle.manifest().input;
    let [outlet] = model.inputs[..] else {
        let names: Vec<&str> =
            model.inputs.iter().map(|o| model.nodes()[o.node].name.as_str()).collect();
        return Err(foreign(
            bundle,
            format!("it has the inputs {names:?}, one named `{}` is expected", want.name),
        ));
    };
    let name = &model.nodes()[outlet.node].name;
    if *name != want.name {
        return Err(foreign(bundle, format!("its input is `{name}`, not `{}`", want.name)));
    }
    let fact = model.outlet_fact(outlet).map_err(|e| backend("the input has no type", e))?;
    let shape = [1, want.height, want.width, 3];
    let type_ok = fact.datum_type.concretize() == Some(u8::datum_type());
    let shape_ok =
        fact.shape.as_concrete_finite().ok().flatten().is_some_and(|have| have.as_slice() == shape);
    if type_ok && shape_ok {
        return Ok(());
    }
    Err(foreign(bundle, format!("its input is {fact:?}, UINT8 {shape:?} is expected")))
}

fn check_output(
    model: &TypedModel,
    index: usize,
    bundle: &Bundle,
    shape: &[usize],
) -> Result<(), EngineError> {
    let fact = model.output_fact(index).map_err(|e| backend("an output has no type", e))?;
    if fact.datum_type == f32::datum_type() && fact.shape.as_concrete() == Some(shape) {
        return Ok(());
    }
    let output = &bundle.manifest().output;
    let name = if index == 0 { &output.anomaly_map } else { &output.score };
    Err(foreign(bundle, format!("its output `{name}` is {fact:?}, FLOAT {shape:?} is expected")))
}

fn foreign(bundle: &Bundle, why: String) -> EngineError {
    EngineError::new(
        EngineErrorKind::Foreign,
        format!(
            "{}: {} does not fit its manifest: {why}; export the bundle again with crrd-train",
            bundle.place(),
            bundle.manifest().model.file
        ),
    )
}
