//! An engine that tells when it was at work: what of a part's time is the inference, and what is
//! the line's.

use std::sync::mpsc::Sender;

use crrd::engine::{Engine, EngineError, ModelSpec};
use crrd::frame::{AnomalyMap, Nanos};
use crrd::sys::clock::{Clock, RealClock};

/// From the call of an engine to its answer.
pub type Span = (Nanos, Nanos);

/// An engine of the CPU, of which a line asks nothing but to infer.
pub struct Watched {
    pub engine: Box<dyn Engine>,
    pub told: Sender<Span>,
}

impl Engine for Watched {
    fn spec(&self) -> &ModelSpec {
        self.engine.spec()
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        let asked = RealClock.now();
        let answer = self.engine.infer(input, out);
        let _ = self.told.send((asked, RealClock.now()));
        answer
    }
}
