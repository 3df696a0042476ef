//! Frames that are read where the camera wrote them.
//!
//! A [`FrameReader`] is an engine for one kind of frames, its preprocessing inside. [`FramesEngine`]
//! keeps those that there are beside the engine for pictures, and asks for one when a kind of frames
//! comes for the first time: until it is there the picture is prepared on the CPU, as it is for frames that
//! nobody can read, such as compressed ones or those in memory that only the processor sees.
//!
//! Readers and the engine for pictures fail each for itself, unless the device is lost to the process
//! ([`EngineErrorKind::Lost`]): then no reader serves any more, whoever found it out, and what becomes of
//! the station is up to the engine for pictures.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::graph::CameraFrames;
use super::happening::Untold;
use super::numbers::Numbers;
use super::{Background, Condition, Engine, EngineError, EngineErrorKind, Happening, ModelSpec};
use crate::frame::{AnomalyMap, Buffers, Frame, Geometry, Memory};

/// Kinds of frames for which engines are asked for: a station has one for each camera, and one more
/// when a region is moved. Those beyond are prepared on the CPU.
pub const KINDS_MAX: usize = 8;

/// An engine for one kind of frames.
pub trait FrameReader: Send {
    /// The frames.
    fn frames(&self) -> &CameraFrames;

    /// The model.
    fn spec(&self) -> &ModelSpec;

    /// Runs the model on the frame that the device sees at `address` and overwrites `out`. Nothing
    /// reads the frame any more when this returns.
    ///
    /// # Errors
    /// When the device fails; `out` is then unwritten (all NaN).
    fn read(&mut self, address: u64, out: &mut AnomalyMap) -> Result<(), EngineError>;
}

/// A reader in use, and what it answered of late.
struct Serving {
    reader: Box<dyn FrameReader>,
    numbers: Numbers,
}

/// Where readers come from.
pub struct ReaderSource {
    /// Takes the kinds that are wanted, at most [`KINDS_MAX`].
    pub ask: Sender<CameraFrames>,
    /// Gives the readers, sooner or later or never.
    pub made: Receiver<Box<dyn FrameReader>>,
    /// Who makes them. After the channels: it waits for what is asked, and ends when nobody asks any more.
    pub maker: Background,
}

/// The readers with all that hangs on their device.
struct Readers {
    /// The device is lost to this process: nobody asks for readers or uses one.
    lost: bool,
    serving: Vec<Serving>,
    asked: Vec<CameraFrames>,
    source: ReaderSource,
}

/// An engine for pictures, and beside it those for frames.
pub struct FramesEngine {
    /// Freed first: what is being made for it would keep the device busy while the other one ends.
    readers: Readers,
    pictures: Box<dyn Engine>,
    buffers: Arc<dyn Buffers>,
    untold: Untold,
}

impl Readers {
    /// Takes those that were made, of the model that `spec` says.
    fn take_made(&mut self, spec: &ModelSpec) {
        while let Ok(reader) = self.source.made.try_recv() {
            let frames = reader.frames().to_string();
            if self.lost {
                std::mem::forget(reader);
                continue;
            }
            // Limits hold for one model: an engine of another one never serves.
            if reader.spec() != spec {
                tracing::error!(frames, "the engine for frames is of another model: not used");
            } else if self.serving.len() < KINDS_MAX {
                tracing::info!(frames, "frames are read where the camera wrote them from now on");
                self.serving.push(Serving { reader, numbers: Numbers::default() });
            }
        }
    }

    fn place_of(&self, frames: &CameraFrames) -> Option<usize> {
        self.serving.iter().position(|serving| serving.reader.frames() == frames)
    }

    /// Asks for a reader of these frames, once.
    fn ask_for(&mut self, frames: CameraFrames) {
        if self.lost || self.asked.contains(&frames) || self.asked.len() == KINDS_MAX {
            return;
        }
        self.asked.push(frames);
        // There is room for each kind; nobody listens when none can be made.
        let _ = self.source.ask.try_send(frames);
    }

    /// Nothing that lies in a broken context is touched any more, not even to free it.
    fn lose(&mut self) {
        self.lost = true;
        self.serving.drain(..).for_each(std::mem::forget);
    }
}

impl FramesEngine {
    /// `pictures` with readers from `source` beside it; `buffers` makes the memory that they read.
    pub fn new(pictures: Box<dyn Engine>, source: ReaderSource, buffers: Arc<dyn Buffers>) -> Self {
        let (serving, asked) = (Vec::with_capacity(KINDS_MAX), Vec::with_capacity(KINDS_MAX));
        let readers = Readers { lost: false, serving, asked, source };
        Self { readers, pictures, buffers, untold: Untold::default() }
    }
}

/// What kind of frame it is and where the device sees it, when it can be read there.
fn readable(frame: &Frame, geometry: &Geometry) -> Option<(CameraFrames, u64)> {
    let Memory::MappedPinned { device, .. } = frame.lease.memory() else { return None };
    kind_of(frame, geometry).map(|frames| (frames, device))
}

/// What kind of frame it is when an engine may read it, wherever it lies; `None` for frames that are
/// prepared on the CPU.
pub fn kind_of(frame: &Frame, geometry: &Geometry) -> Option<CameraFrames> {
    frame.view().ok()?;
    let meta = &frame.meta;
    let frames = CameraFrames {
        format: meta.format,
        width: meta.width,
        height: meta.height,
        row_bytes: Some(meta.stride),
        geometry: *geometry,
    };
    // The device reads whole rows, the padding of the last one, too.
    let inside = frames.bytes() <= frame.lease.len();
    let possible = geometry.corners.is_none() && !meta.format.is_compressed();
    (inside && possible).then_some(frames)
}

impl Engine for FramesEngine {
    fn spec(&self) -> &ModelSpec {
        self.pictures.spec()
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        let answered = self.pictures.infer(input, out);
        if answered.as_ref().is_err_and(|e| e.kind() == EngineErrorKind::Lost) {
            self.readers.lose();
        }
        answered
    }

    fn buffers(&self) -> Option<Arc<dyn Buffers>> {
        Some(Arc::clone(&self.buffers))
    }

    fn reads(&mut self, frame: &Frame, geometry: &Geometry) -> bool {
        let Some((frames, _)) = readable(frame, geometry) else { return false };
        let there = self.readers.place_of(&frames).is_some();
        if !there {
            self.readers.ask_for(frames);
        }
        there
    }

    fn infer_frame(
        &mut self,
        frame: &Frame,
        geometry: &Geometry,
        out: &mut AnomalyMap,
    ) -> Result<(), EngineError> {
        self.spec().clear(out);
        let (frames, address) = readable(frame, geometry).ok_or_else(unread)?;
        let at = self.readers.place_of(&frames).ok_or_else(unread)?;
        let Serving { reader, numbers } = &mut self.readers.serving[at];
        let noted = reader.read(address, out).and_then(|()| numbers.note(out));
        if let Ok(true) = noted {
            self.pictures.hear(Ok(()));
        }
        if let Err(error) = &noted {
            self.pictures.spec().clear(out);
            if error.kind() == EngineErrorKind::Lost {
                self.readers.lose();
                self.pictures.hear(Err(error));
                return noted.map(drop);
            }
            // What has failed on the device is not asked again: from here on the pictures of these
            // frames are prepared on the CPU, and their engine is made again when it fails, too.
            self.untold
                .add(Happening::ReaderFailed { frames: frames.to_string(), why: error.chain() });
            let error = error as &dyn std::error::Error;
            tracing::error!(error, %frames, "the engine that reads these frames failed: not used again");
            self.readers.serving.swap_remove(at);
        }
        noted.map(drop)
    }

    fn attend(&mut self) -> Condition {
        self.readers.take_made(self.pictures.spec());
        self.pictures.attend()
    }

    fn happened(&mut self) -> Option<Happening> {
        self.untold.take().or_else(|| self.pictures.happened())
    }
}

/// The error of an engine that is given a frame which it does not read.
pub(super) fn unread() -> EngineError {
    EngineError::new(EngineErrorKind::Input, "this engine does not read such frames where they lie")
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
