//! A camera that streams for a command.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::which::Chosen;
use crate::capture::{Camera, Event, SoftTrigger};
use crate::cli::cameras;
use crate::frame::{Frame, Nanos, Pool};
use crate::sys::clock::{Clock, RealClock};

/// Buffers besides those that the station would have: none wait for long here.
const BUFFERS_EXTRA: usize = 2;
/// Longest wait for one event in milliseconds.
const TICK_MS: u64 = 100;

/// A streaming camera. One that is triggered by software is triggered by this command.
pub(super) struct Session {
    camera: Box<dyn Camera>,
    pool: Pool,
    fire: Option<SoftTrigger>,
    epoch: u32,
}

impl Session {
    /// Opens and starts a camera.
    ///
    /// # Errors
    /// When it cannot be opened or started.
    pub(super) fn open(chosen: &Chosen) -> Result<Self> {
        let Chosen { camera, id, recipes, queue_frames } = chosen;
        let camera = cameras::open(camera, *id, recipes, Arc::new(RealClock))?;
        let slots = queue_frames + BUFFERS_EXTRA;
        let pool = Pool::new(slots, camera.frame_bytes_max());
        let fire = camera.soft_trigger();
        let mut session = Self { camera, pool, fire, epoch: 0 };
        session.start()?;
        Ok(session)
    }

    /// Starts the camera, again after it was lost.
    pub(super) fn start(&mut self) -> Result<()> {
        self.epoch += 1;
        self.camera.start(self.pool.clone(), self.epoch).context("the camera cannot be started")?;
        self.fire();
        Ok(())
    }

    /// What the camera says next; [`Event::Idle`] after a while.
    pub(super) fn next(&mut self) -> Result<Event> {
        let event = self.camera.next(RealClock.now().plus_ms(TICK_MS))?;
        if matches!(event, Event::Frame { .. } | Event::Incomplete { .. }) {
            self.fire();
        }
        Ok(event)
    }

    fn fire(&self) {
        // One that cannot take another picture yet has one on the way.
        let _ = self.fire.as_ref().is_none_or(|fire| fire());
    }

    /// The next picture that can be used.
    ///
    /// # Errors
    /// When none comes within `wait_s` seconds.
    pub(super) fn picture(&mut self, wait_s: u64) -> Result<Option<Frame>> {
        let deadline: Nanos = RealClock.now().plus_ms(wait_s * 1_000);
        let mut seen =
            "nothing came: is it triggered, and does no other program use it?".to_owned();
        while RealClock.now() < deadline {
            match self.next()? {
                Event::Frame { frame, .. } => return Ok(Some(frame)),
                Event::Incomplete { trigger, why } => {
                    seen = format!("the last picture ({}) was not usable: {why:?}", trigger.part);
                }
                Event::Gone { reason } => {
                    seen = format!("the camera was lost: {reason}");
                    self.start()?;
                }
                Event::Idle => {}
                Event::End => return Ok(None),
            }
        }
        bail!("no usable picture in {wait_s} s; {seen}")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.camera.stop() {
            tracing::warn!(error = &error as &dyn std::error::Error, "camera not stopped");
        }
    }
}
