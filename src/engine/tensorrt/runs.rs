//! The order of the calls that run an engine on a device.
//!
//! An input may lie anywhere that the device reads: in the engine's own memory, or in the buffer that
//! a camera wrote into. The first run at an address is put in call by call, which lets TensorRT do
//! whatever it does once; the second one is recorded as a CUDA graph, and all later ones at that
//! address launch the recording. Each run is waited for before the answer, a failed one too: afterwards
//! nothing reads the input any more, so its buffer may go back to its camera.

use crate::engine::{EngineError, EngineErrorKind};

/// Most addresses whose runs are recorded; buffers of cameras are fewer. What is beyond runs without
/// a recording.
pub(super) const RECORDINGS_MAX: usize = 64;

/// What a run needs of the CUDA driver and of TensorRT; a script in tests. Every call but
/// [`Driver::enter`] needs it before, on the same thread.
pub(super) trait Driver: Send {
    /// A recorded run.
    type Recording: Send;
    /// Makes the device the one of this thread.
    fn enter(&mut self) -> Result<(), EngineError>;
    /// Says where the input lies for the runs that are put in or recorded from now on.
    fn bind(&mut self, address: u64) -> Result<(), EngineError>;
    /// Puts in one run.
    fn enqueue(&mut self) -> Result<(), EngineError>;
    /// Records one run, without running it.
    fn record(&mut self) -> Result<Self::Recording, EngineError>;
    /// Puts in a recorded run.
    fn launch(&mut self, recording: &Self::Recording) -> Result<(), EngineError>;
    /// Waits until what was put in is done.
    fn wait(&mut self) -> Result<(), EngineError>;
}

/// How runs at one address are put in.
enum Way<R> {
    /// Once run call by call: the next run is recorded.
    Warm,
    Recorded(R),
    /// It cannot be recorded.
    Plain,
}

/// Runs of one engine. Recordings are freed before what they were recorded with.
pub(super) struct Runs<D: Driver> {
    ways: Vec<(u64, Way<D::Recording>)>,
    /// Where the input was bound last.
    bound: Option<u64>,
    driver: D,
}

impl<D: Driver> Runs<D> {
    pub(super) fn new(driver: D) -> Self {
        Self { ways: Vec::with_capacity(RECORDINGS_MAX), bound: None, driver }
    }

    /// What the runs are put in by.
    pub(super) fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Runs the engine on the input at `address` and waits for its answer. Whatever is returned,
    /// the device has done with the input.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) fn run(&mut self, address: u64) -> Result<(), EngineError> {
        self.driver.enter()?;
        let put_in = self.put_in(address);
        match (put_in, self.driver.wait()) {
            // TensorRT says of a broken context only that it cannot run; the driver says what it is.
            (Err(_), Err(lost)) if lost.kind() == EngineErrorKind::Lost => Err(lost),
            (put_in, done) => put_in.and(done),
        }
    }

    fn put_in(&mut self, address: u64) -> Result<(), EngineError> {
        let Some(at) = self.ways.iter().position(|(known, _)| *known == address) else {
            self.call_by_call(address)?;
            if self.ways.len() < RECORDINGS_MAX {
                self.ways.push((address, Way::Warm));
            }
            return Ok(());
        };
        if let Way::Warm = self.ways[at].1 {
            self.ways[at].1 = self.recorded(address)?;
        }
        match &self.ways[at].1 {
            Way::Recorded(recording) => self.driver.launch(recording),
            Way::Warm | Way::Plain => self.call_by_call(address),
        }
    }

    fn call_by_call(&mut self, address: u64) -> Result<(), EngineError> {
        self.bind(address)?;
        self.driver.enqueue()
    }

    /// One that cannot be recorded is no fault.
    fn recorded(&mut self, address: u64) -> Result<Way<D::Recording>, EngineError> {
        self.bind(address)?;
        Ok(match self.driver.record() {
            Ok(recording) => Way::Recorded(recording),
            Err(error) => {
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "runs without a CUDA graph"
                );
                Way::Plain
            }
        })
    }

    fn bind(&mut self, address: u64) -> Result<(), EngineError> {
        if self.bound != Some(address) {
            // Until the library has taken it, none counts as bound.
            self.bound = None;
            self.driver.bind(address)?;
            self.bound = Some(address);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
