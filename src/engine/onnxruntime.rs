//! The engine on onnxruntime (feature `ort`): faster than tract where its library is installed.
//!
//! The library is found at run time: `ORT_DYLIB_PATH`, or `libonnxruntime.so` on the loader's
//! path. Only the CPU provider is used: onnxruntime falls back to it silently when another one
//! fails, and an engine must not run on something else than it says.

use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::bundle::Bundle;
use super::{Engine, EngineError, EngineErrorKind, ModelSpec, self_check};
use crate::frame::AnomalyMap;

/// Names the shared library, as in onnxruntime's own tools.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// What the loader is asked for without the variable.
const LIBRARY_DEFAULT: &str = "libonnxruntime.so";

/// onnxruntime allows one environment per process, made once and kept for its life; this is its
/// limit, not ours, hence the only global of the engines.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// A model loaded into onnxruntime, one thread per engine.
pub struct OrtEngine {
    spec: ModelSpec,
    session: Session,
    input: String,
    map: String,
    score: String,
}

impl OrtEngine {
    /// Loads, checks the tensors against the manifest and runs the self-check.
    ///
    /// # Errors
    /// `Backend` when the library cannot be loaded or the model not read, `Foreign` when the
    /// model's tensors are not the manifest's, `SelfCheck` when the golden pictures are not
    /// reproduced.
    pub fn load(bundle: &Bundle) -> Result<Self, EngineError> {
        let environment = environment()?;
        let manifest = bundle.manifest();
        let place = bundle.place();
        let unreadable = |e: ort::Error| {
            let what = format!("{place}: onnxruntime cannot read {}", manifest.model.file);
            EngineError::with_source(EngineErrorKind::Backend, what, e)
        };
        let session = Session::builder(&environment)
            .and_then(|b| b.with_intra_threads(1).map_err(ort::Error::from))
            .and_then(|b| b.with_flush_to_zero().map_err(ort::Error::from))
            .and_then(|mut b| b.commit_from_memory(bundle.model()))
            .map_err(unreadable)?;
        check(&session, bundle)?;
        let mut engine = Self {
            spec: bundle.spec(),
            session,
            input: manifest.input.name.clone(),
            map: manifest.output.anomaly_map.clone(),
            score: manifest.output.score.clone(),
        };
        self_check(&mut engine, bundle)?;
        Ok(engine)
    }
}

impl Engine for OrtEngine {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.spec.clear(out);
        self.spec.check_input(input)?;
        let failed = |e: ort::Error| {
            let what = "onnxruntime failed to run the model on a picture";
            EngineError::with_source(EngineErrorKind::Backend, what, e)
        };
        let shape = [1, self.spec.input_height, self.spec.input_width, 3];
        let tensor = TensorRef::from_array_view((shape, input)).map_err(failed)?;
        let answer =
            self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(failed)?;
        let missing =
            || EngineError::new(EngineErrorKind::Backend, "onnxruntime left out an output");
        let map = answer.get(&self.map).ok_or_else(missing)?;
        let score = answer.get(&self.score).ok_or_else(missing)?;
        let (_, map) = map.try_extract_tensor::<f32>().map_err(failed)?;
        let (_, score) = score.try_extract_tensor::<f32>().map_err(failed)?;
        if map.len() != out.values.len() || score.len() != 1 {
            return Err(EngineError::new(
                EngineErrorKind::Backend,
                format!(
                    "onnxruntime answered {} map values and {} scores, expected {} and 1",
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

fn environment() -> Result<Environment, EngineError> {
    let mut kept = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = kept.as_ref() {
        return Ok(environment.clone());
    }
    let library = std::env::var(LIBRARY_VARIABLE).unwrap_or_else(|_| LIBRARY_DEFAULT.to_owned());
    let what = format!(
        "cannot start onnxruntime from {library}: set {LIBRARY_VARIABLE} to the path of its \
         shared library (it is inside the Python package onnxruntime), or use the backend `cpu`"
    );
    let builder = ort::init_from(&library)
        .map_err(|e| EngineError::with_source(EngineErrorKind::Backend, what.clone(), e))?;
    let environment = builder
        .with_name("crrd")
        .with_telemetry(false)
        .build()
        .map_err(|e| EngineError::with_source(EngineErrorKind::Backend, what, e))?;
    *kept = Some(environment.clone());
    Ok(environment)
}

fn check(session: &Session, bundle: &Bundle) -> Result<(), EngineError> {
    let m = bundle.manifest();
    let (ih, iw) = (m.input.height as i64, m.input.width as i64);
    let (mh, mw) = (m.output.map_height as i64, m.output.map_width as i64);
    let wanted: [(&[Outlet], &str, TensorElementType, &[i64]); 3] = [
        (session.inputs(), &m.input.name, TensorElementType::Uint8, &[1, ih, iw, 3]),
        (session.outputs(), &m.output.anomaly_map, TensorElementType::Float32, &[1, 1, mh, mw]),
        (session.outputs(), &m.output.score, TensorElementType::Float32, &[1]),
    ];
    for (outlets, name, element, dims) in wanted {
        let found = outlets.iter().find(|o| o.name() == name).map(Outlet::dtype);
        let fits = matches!(found, Some(ValueType::Tensor { ty, shape, .. })
            if *ty == element && shape[..] == *dims);
        if !fits {
            return Err(EngineError::new(
                EngineErrorKind::Foreign,
                format!(
                    "{}: {} does not fit its manifest: tensor `{name}` is {found:?}, \
                     {element:?} {dims:?} is expected; export the bundle again with crrd-train",
                    bundle.place(),
                    m.model.file
                ),
            ));
        }
    }
    Ok(())
}
