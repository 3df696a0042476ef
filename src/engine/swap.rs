//! One engine serves while a better one is made ready: the change is between two pictures.

use crossbeam_channel::{Receiver, TryRecvError};

use super::{Engine, EngineError, ModelSpec};
use crate::frame::AnomalyMap;

/// The engine that serves, and the one that is to come.
pub struct SwapEngine {
    serving: Box<dyn Engine>,
    next: Option<Receiver<Box<dyn Engine>>>,
}

impl SwapEngine {
    /// `serving` until another engine of the same model comes; when none will, `next` is closed.
    pub fn new(serving: Box<dyn Engine>, next: Receiver<Box<dyn Engine>>) -> Self {
        Self { serving, next: Some(next) }
    }

    fn take_next(&mut self) {
        let Some(next) = &self.next else { return };
        match next.try_recv() {
            // Limits hold for one model and arithmetic: an engine of another one never serves.
            Ok(engine) if engine.spec() == self.serving.spec() => {
                tracing::info!("the engine that was built serves from now on");
                self.serving = engine;
            }
            Ok(_) => tracing::error!("the engine that was built is of another model or arithmetic: not used"),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {}
        }
        self.next = None;
    }
}

impl Engine for SwapEngine {
    fn spec(&self) -> &ModelSpec {
        self.serving.spec()
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.take_next();
        self.serving.infer(input, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ScriptedEngine;
    use crate::frame::Precision;

    fn engine(score: f32, sha256: &str) -> Box<dyn Engine> {
        engine_in(Precision::Fp32, score, sha256)
    }

    fn engine_in(precision: Precision, score: f32, sha256: &str) -> Box<dyn Engine> {
        let spec = ModelSpec {
            input_width: 1,
            input_height: 1,
            map_width: 1,
            map_height: 1,
            classes: vec!["a".to_owned()],
            sha256: sha256.to_owned(),
            precision,
        };
        Box::new(ScriptedEngine::from_scores(spec, vec![score]))
    }

    fn score(engine: &mut SwapEngine) -> f32 {
        let mut map = AnomalyMap::unwritten(1, 1);
        engine.infer(&[0; 3], &mut map).unwrap();
        map.score
    }

    #[test]
    fn the_new_engine_serves_from_the_next_picture_on() {
        let (sender, next) = crossbeam_channel::bounded(1);
        let mut swap = SwapEngine::new(engine(1.0, "m"), next);
        assert_eq!(score(&mut swap), 1.0);
        sender.send(engine(2.0, "m")).unwrap();
        assert_eq!([score(&mut swap), score(&mut swap)], [2.0, 2.0]);
    }

    #[test]
    fn the_old_engine_goes_on_when_none_comes_or_one_of_another_model_or_arithmetic() {
        let (sender, next) = crossbeam_channel::bounded(1);
        let mut swap = SwapEngine::new(engine(1.0, "m"), next);
        drop(sender);
        assert_eq!([score(&mut swap), score(&mut swap)], [1.0, 1.0]);
        let (sender, next) = crossbeam_channel::bounded(1);
        let mut swap = SwapEngine::new(engine(1.0, "m"), next);
        sender.send(engine(2.0, "other")).unwrap();
        assert_eq!([score(&mut swap), score(&mut swap)], [1.0, 1.0]);
        let (sender, next) = crossbeam_channel::bounded(1);
        let mut swap = SwapEngine::new(engine(1.0, "m"), next);
        sender.send(engine_in(Precision::Fp16, 2.0, "m")).unwrap();
        assert_eq!([score(&mut swap), score(&mut swap)], [1.0, 1.0]);
    }
}
