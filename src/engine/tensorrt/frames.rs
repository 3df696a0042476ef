//! Readers of frames: an engine for each kind of frames that a camera sends, made in the background.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, bounded};

use super::{Target, TensorRt, TensorRtEngine, no_gpu};
use crate::engine::bundle::Bundle;
use crate::engine::frames::{FrameReader, FramesEngine, KINDS_MAX, ReaderSource};
use crate::engine::graph::CameraFrames;
use crate::engine::{Background, Engine, EngineError, ModelSpec};
use crate::frame::{AnomalyMap, Precision};

/// An engine whose input is a frame.
struct Reader {
    engine: TensorRtEngine,
    /// With the length of a row stated.
    frames: CameraFrames,
}

impl FrameReader for Reader {
    fn frames(&self) -> &CameraFrames {
        &self.frames
    }

    fn spec(&self) -> &ModelSpec {
        self.engine.spec()
    }

    fn read(&mut self, address: u64, out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.engine.answer_at(address, out)
    }
}

/// What readers are made of.
pub(in crate::engine) struct Readers {
    /// Not shared: the thread that makes readers lets go of the device when nobody asks any more.
    pub(in crate::engine) tensorrt: TensorRt,
    pub(in crate::engine) bundle: Bundle,
    pub(in crate::engine) precision: Precision,
    pub(in crate::engine) plans_dir: PathBuf,
}

impl Readers {
    /// `pictures` with readers beside it: for each kind of frames one is taken from the plans that were
    /// kept, or built, on a thread of its own.
    ///
    /// # Errors
    /// `Backend` without a GPU, or when the thread cannot be started.
    pub(in crate::engine) fn beside(
        self,
        pictures: Box<dyn Engine>,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let buffers = self.tensorrt.buffers().ok_or_else(no_gpu)?;
        let (ask, asked) = bounded(KINDS_MAX);
        let (made, readers) = bounded(KINDS_MAX);
        let control = self.tensorrt.control.clone();
        let work = move || {
            self.make(&asked, |reader| {
                // Nobody waits any more when the station has ended or its GPU has failed; the plan is kept
                // all the same.
                let _ = made.send(reader);
            });
        };
        let maker = Background::start("engine-frames", Box::new(move || control.cancel()), work)?;
        let source = ReaderSource { ask, made: readers, maker };
        Ok(Box::new(FramesEngine::new(pictures, source, buffers)))
    }

    /// Makes what is asked for until nobody asks any more.
    fn make(&self, asked: &Receiver<CameraFrames>, take: impl Fn(Box<dyn FrameReader>)) {
        for frames in asked {
            tracing::info!(%frames, "an engine that reads the camera's frames is looked for or built");
            let (bundle, precision) = (&self.bundle, self.precision);
            let target = Target { bundle, precision, frames: Some(&frames) };
            match self.tensorrt.engine(target, &self.plans_dir) {
                Ok(engine) => take(Box::new(Reader { engine, frames })),
                Err(e) => tracing::error!(
                    %frames, error = %e.chain(),
                    "no engine reads these frames; their pictures are prepared on the CPU"
                ),
            }
        }
    }
}
