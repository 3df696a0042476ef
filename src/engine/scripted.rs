//! An engine that answers by a script: for tests of everything behind the engine.

use super::{Engine, EngineError, EngineErrorKind, ModelSpec};
use crate::frame::AnomalyMap;

type Script = dyn FnMut(&[u8], &mut AnomalyMap) -> Result<(), EngineError> + Send;

/// Answers each picture by a closure; checks sizes as a real engine does.
pub struct ScriptedEngine {
    spec: ModelSpec,
    script: Box<Script>,
}

impl ScriptedEngine {
    /// `script` gets the picture and a map of the spec's size full of NaN.
    pub fn new(
        spec: ModelSpec,
        script: impl FnMut(&[u8], &mut AnomalyMap) -> Result<(), EngineError> + Send + 'static,
    ) -> Self {
        Self { spec, script: Box::new(script) }
    }

    /// Answers with flat maps of these scores in turn, then starts again; an empty list leaves
    /// every map unwritten.
    pub fn from_scores(spec: ModelSpec, scores: Vec<f32>) -> Self {
        let mut turn = 0;
        Self::new(spec, move |_, map| {
            if let Some(score) = scores.get(turn % scores.len().max(1)) {
                map.values.fill(*score);
                map.score = *score;
            }
            turn += 1;
            Ok(())
        })
    }
}

impl Engine for ScriptedEngine {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.spec.clear(out);
        self.spec.check_input(input)?;
        let answer = (self.script)(input, out);
        if answer.is_err() {
            self.spec.clear(out);
        }
        answer
    }
}

impl ModelSpec {
    /// Bytes of one input picture.
    pub fn input_bytes(&self) -> usize {
        self.input_width * self.input_height * 3
    }

    /// Makes `out` an unwritten map of this model's size; allocates only when the size changes.
    pub(crate) fn clear(&self, out: &mut AnomalyMap) {
        out.width = self.map_width;
        out.height = self.map_height;
        out.score = f32::NAN;
        out.values.clear();
        out.values.resize(self.map_width * self.map_height, f32::NAN);
    }

    pub(crate) fn check_input(&self, input: &[u8]) -> Result<(), EngineError> {
        if input.len() == self.input_bytes() {
            return Ok(());
        }
        Err(EngineError::new(
            EngineErrorKind::Input,
            format!(
                "the picture has {} bytes, the model takes {} ({}x{} RGB): preprocess it to the \
                 model's size",
                input.len(),
                self.input_bytes(),
                self.input_width,
                self.input_height
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Precision;

    fn spec() -> ModelSpec {
        ModelSpec {
            input_width: 2,
            input_height: 1,
            map_width: 2,
            map_height: 2,
            classes: vec!["part".to_owned()],
            sha256: "0".repeat(64),
            precision: Precision::Fp32,
        }
    }

    #[test]
    fn scores_come_in_turn_and_start_again() {
        let mut engine = ScriptedEngine::from_scores(spec(), vec![0.1, 0.9]);
        let mut map = AnomalyMap::default();
        let mut seen = Vec::new();
        for _ in 0..3 {
            engine.infer(&[0; 6], &mut map).unwrap();
            seen.push(map.score);
        }
        assert_eq!(seen, [0.1, 0.9, 0.1]);
        assert!(map.is_complete());
    }

    #[test]
    fn a_failure_or_a_wrong_size_leaves_the_map_unwritten() {
        let mut engine = ScriptedEngine::new(spec(), |_, map| {
            map.values.fill(0.0);
            map.score = 0.0;
            Err(EngineError::new(EngineErrorKind::Backend, "scripted failure"))
        });
        let mut map = AnomalyMap { width: 1, height: 1, values: vec![0.0], score: 0.0 };
        let wrong = engine.infer(&[0; 5], &mut map).unwrap_err();
        assert_eq!(wrong.kind(), EngineErrorKind::Input);
        assert!(map.score.is_nan() && map.values.iter().all(|v| v.is_nan()));
        engine.infer(&[0; 6], &mut map).unwrap_err();
        assert!(map.score.is_nan() && map.values.len() == 4);
        assert!(map.values.iter().all(|v| v.is_nan()));
    }
}
