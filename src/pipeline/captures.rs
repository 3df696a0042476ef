//! The capture stages: one that leads to the gate itself, or several with the matching of their
//! views between.

use std::sync::Arc;

use crossbeam_channel::bounded;

use super::board::Board;
use super::cameras::Tally;
use super::capture_stage::{CaptureStage, TOGETHER_MS_MAX};
use super::exit::{Exit, Only, Shared};
use super::gate::Gate;
use super::progress::Progress;
use super::stage::Signals;
use super::start::StationCamera;
use super::views_stage::ViewsStage;
use super::work::NOTICES_MAX;
use crate::capture::Supervisor;
use crate::capture::views::Matcher;
use crate::frame::{Buffers, Nanos, Pool};
use crate::sys::clock::Clock;

/// What all of them share.
pub(super) struct Captures {
    /// Buffers of each camera.
    pub(super) frames: usize,
    /// Makes memory that the engine reads where it lies, when there is such.
    pub(super) buffers: Option<Arc<dyn Buffers>>,
    /// How far apart the frames of one part may come.
    pub(super) window: Nanos,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Captures {
    /// The stages of these cameras, which all lead to `gate`.
    pub(super) fn stages(
        self,
        cameras: Vec<StationCamera>,
        gate: Gate,
    ) -> (Vec<CaptureStage>, Option<ViewsStage>) {
        let count = cameras.len();
        if count == 1 {
            let only = Exit::Only(Only {
                gate,
                board: Arc::clone(&self.board),
                progress: self.progress.clone(),
                clock: Arc::clone(&self.clock),
                replaced: 0,
            });
            let stages = cameras.into_iter().zip([only]);
            return (stages.map(|(view, exit)| self.stage((0, view), exit, None)).collect(), None);
        }
        let (say, said) = bounded(count * self.frames + NOTICES_MAX);
        let together = Some(self.clock.now().plus_ms(TOGETHER_MS_MAX));
        let stages = cameras.into_iter().enumerate().map(|(at, view)| {
            let progress = self.progress.clone();
            let exit = Exit::Shared(Shared { view: at, say: say.clone(), progress });
            self.stage((at, view), exit, together)
        });
        let stages = stages.collect();
        let views = ViewsStage {
            said,
            matcher: Matcher::new(count, self.window),
            gate,
            board: self.board,
            progress: self.progress,
            signals: self.signals,
            clock: self.clock,
        };
        (stages, Some(views))
    }

    /// The buffers of a camera. What the engine does not read where it lies is copied or prepared on the
    /// processor, so that memory of another kind costs time, and no part.
    fn pool(&self, view: &StationCamera) -> Pool {
        let bytes = view.camera.frame_bytes_max();
        let made = self.buffers.as_ref().map(|of| Pool::made_by(&**of, self.frames, bytes));
        match made {
            Some(Ok(pool)) => return pool,
            Some(Err(error)) => tracing::warn!(
                camera = view.name,
                error = &*error as &dyn std::error::Error,
                "no memory that camera and GPU share; pictures are prepared on the processor"
            ),
            None => {}
        }
        Pool::new(self.frames, bytes)
    }

    fn stage(
        &self,
        (at, view): (usize, StationCamera),
        exit: Exit,
        together: Option<Nanos>,
    ) -> CaptureStage {
        CaptureStage {
            view: at,
            pool: self.pool(&view),
            camera: view.camera,
            exit,
            supervisor: Supervisor::default(),
            tally: Tally::default(),
            told: None,
            unseen: 0,
            together,
            board: Arc::clone(&self.board),
            progress: self.progress.clone(),
            signals: Arc::clone(&self.signals),
            clock: Arc::clone(&self.clock),
        }
    }
}
