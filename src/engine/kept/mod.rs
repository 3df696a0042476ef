//! Keeps an engine serving: one that has to be built first, or that fails while the station runs,
//! is made in the background, and another proved one serves meanwhile where the limits allow that.
//!
//! ```text
//!            built                    fails at a picture
//! building ---------> serving ---------------------------------> opening again
//!     |                  ^                                        |        |
//!     |                  | proved by the golden pictures          |        | ATTEMPTS_MAX in vain
//!     |                  +----------------------------------------+        v
//!     +--- cannot be built --------------------------------------------> given up
//! ```
//!
//! - The picture at which an engine fails is answered with its error, and so is every picture while
//!   nobody serves: none is judged twice, none is left without an answer.
//! - One that answers with values that are no numbers has failed as well when that goes on
//!   ([`super::numbers`]). What stands in for it is not held to that: there is nothing else to take.
//! - What the device computes in may be broken for the rest of the process ([`EngineErrorKind::Lost`]). Then
//!   nothing is opened again, and nobody serves: the process must end, and another one begin. But when
//!   that comes with the first pictures, it would with those of the next process: the engine is given up.
//! - Engines change between two pictures that the owner says ([`Engine::attend`]), never within the
//!   tiles or views of one part.
//! - Only engines of the model and arithmetic of the first one serve: limits hold for these.
//! - An engine that fails again soon after it was opened uses up the same attempts, so that one that
//!   opens and fails in turn is given up, too.

mod maker;
#[cfg(test)]
mod tests;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use self::maker::{MADE_MAX, Made, Order};
use super::happening::Untold;
use super::numbers::Numbers;
use super::{Background, Condition, Engine, EngineError, EngineErrorKind, Happening, ModelSpec};
use crate::frame::AnomalyMap;
pub use maker::{Retries, Workshop};

/// Pictures answered with numbers after which an engine that was opened again counts as well, and so does a
/// process that began: a fault that lies in the engine itself shows at the first ones.
const STEADY_PICTURES: u64 = 100;

/// Why nothing more comes when the maker is gone.
const NO_MAKER: &str = "the thread that makes engines has ended, see the log";

/// Who answers at the moment.
enum Serving {
    /// The engine that the station was meant to have.
    Meant(Box<dyn Engine>),
    /// One that was made because it is not there.
    Substitute(Box<dyn Engine>),
    Nobody,
}

/// An engine that is made again when it fails.
pub struct KeptEngine {
    spec: ModelSpec,
    serving: Serving,
    /// Pictures that the present engine answered with numbers.
    answered: u64,
    /// Pictures that were answered with numbers on its device, since the start.
    answered_in_all: u64,
    /// What it answered of late, when it is the meant one.
    numbers: Numbers,
    /// It failed, and was not opened again yet.
    failed: bool,
    /// No other engine will come.
    given_up: bool,
    /// The device is lost to this process.
    lost: bool,
    /// And so the process must end.
    ends: bool,
    untold: Untold,
    orders: Sender<Order>,
    made: Receiver<Made>,
    /// After the channels: it waits for orders, and ends when there are none to come.
    _maker: Background,
}

impl KeptEngine {
    /// `engine` serves; when it fails, `workshop` makes others.
    ///
    /// # Errors
    /// `Backend` when the thread for that cannot be started.
    pub fn serving(
        engine: Box<dyn Engine>,
        workshop: impl Workshop + 'static,
        retries: Retries,
    ) -> Result<Self, EngineError> {
        Self::start(engine.spec().clone(), Serving::Meant(engine), workshop, retries)
    }

    /// An engine of this `spec` is built now, by `workshop` in the background. Meanwhile
    /// `substitute` serves, or nobody.
    ///
    /// # Errors
    /// As [`Self::serving`].
    pub fn building(
        spec: ModelSpec,
        substitute: Option<Box<dyn Engine>>,
        workshop: impl Workshop + 'static,
        retries: Retries,
    ) -> Result<Self, EngineError> {
        let serving = substitute.map_or(Serving::Nobody, Serving::Substitute);
        let kept = Self::start(spec, serving, workshop, retries)?;
        // The channel is new and has room.
        let _ = kept.orders.try_send(Order::Build);
        Ok(kept)
    }

    fn start(
        spec: ModelSpec,
        serving: Serving,
        workshop: impl Workshop + 'static,
        retries: Retries,
    ) -> Result<Self, EngineError> {
        let (orders, taken) = bounded(1);
        let (given, made) = bounded(MADE_MAX);
        let maker = maker::start(Box::new(workshop), retries, spec.clone(), taken, given)?;
        Ok(Self {
            spec,
            serving,
            answered: 0,
            answered_in_all: 0,
            numbers: Numbers::default(),
            failed: false,
            given_up: false,
            lost: false,
            ends: false,
            untold: Untold::default(),
            orders,
            made,
            _maker: maker,
        })
    }

    /// The engine failed at a picture: it is taken out of service and made again.
    fn withdraw(&mut self, error: &EngineError) {
        let Serving::Meant(failed) = std::mem::replace(&mut self.serving, Serving::Nobody) else {
            return;
        };
        self.failed = true;
        self.untold.add(Happening::Failed { why: error.chain() });
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "the engine failed: it is opened again");
        let steady = self.answered >= STEADY_PICTURES;
        self.answered = 0;
        // The maker waits for orders whenever the meant engine serves; it is gone when it panicked.
        if self.orders.try_send(Order::Recover { failed, steady }).is_err() {
            self.give_up(NO_MAKER.to_owned());
        }
    }

    /// The device is lost to this process. Nothing that lies there is touched any more, not even to free it.
    fn lose(&mut self, why: String) {
        if self.lost || self.given_up {
            return;
        }
        // The service manager starts the station again without end, and each time a part would be lost.
        let ends = self.answered_in_all >= STEADY_PICTURES;
        let then = if ends { "the process ends to be started again" } else { "it is given up" };
        tracing::error!(why, "the GPU is lost to this process: {then}");
        self.untold.add(Happening::Lost { why: why.clone(), ends });
        let serving = std::mem::replace(&mut self.serving, Serving::Nobody);
        (self.lost, self.ends) = (true, ends);
        match serving {
            Serving::Meant(engine) => {
                std::mem::forget(engine);
                if !ends && self.orders.try_send(Order::Replace(why)).is_err() {
                    self.give_up(NO_MAKER.to_owned());
                }
            }
            Serving::Substitute(_) | Serving::Nobody if ends => {}
            other => {
                self.serving = other;
                self.give_up(why);
            }
        }
    }

    fn give_up(&mut self, why: String) {
        if !std::mem::replace(&mut self.given_up, true) {
            let substitute = matches!(self.serving, Serving::Substitute(_));
            self.untold.add(Happening::GivenUp { why, substitute });
        }
    }

    fn take(&mut self, made: Made) {
        match made {
            // Made before its device was found lost.
            Made::Meant(engine) if self.lost => std::mem::forget(engine),
            Made::Meant(engine) => {
                tracing::info!("the engine that was made serves from now on");
                (self.serving, self.answered) = (Serving::Meant(engine), 0);
                self.numbers = Numbers::default();
                // What was built for the first time has not been away.
                if std::mem::take(&mut self.failed) {
                    self.untold.add(Happening::Back);
                }
            }
            Made::Substitute(_) if self.ends => {}
            Made::Substitute(engine) => {
                tracing::warn!("the CPU serves from now on, until the engine is there again");
                self.serving = Serving::Substitute(engine);
            }
            Made::GivenUp(why) => self.give_up(why),
            Made::Lost(why) => self.lose(why),
        }
    }
}

impl Engine for KeptEngine {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        let engine = match &mut self.serving {
            Serving::Meant(engine) => engine,
            Serving::Substitute(engine) => return engine.infer(input, out),
            Serving::Nobody => {
                self.spec.clear(out);
                return Err(EngineError::new(
                    EngineErrorKind::Backend,
                    "there is no engine at the moment: it is being made, see the log",
                ));
            }
        };
        let noted = engine.infer(input, out).and_then(|()| self.numbers.note(out));
        match &noted {
            Ok(finite) => {
                self.answered += u64::from(*finite);
                self.answered_in_all += u64::from(*finite);
            }
            Err(e) => {
                self.spec.clear(out);
                match e.kind() {
                    EngineErrorKind::Lost => self.lose(e.chain()),
                    EngineErrorKind::Backend => self.withdraw(e),
                    // The picture is at fault.
                    _ => {}
                }
            }
        }
        noted.map(drop)
    }

    fn attend(&mut self) -> Condition {
        loop {
            match self.made.try_recv() {
                Ok(made) => self.take(made),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.give_up(NO_MAKER.to_owned());
                    break;
                }
            }
        }
        match &self.serving {
            _ if self.ends => Condition::Lost,
            Serving::Meant(_) => Condition::Serving,
            Serving::Substitute(_) => Condition::Substitute,
            Serving::Nobody if self.given_up => Condition::Lost,
            Serving::Nobody => Condition::Absent,
        }
    }

    fn happened(&mut self) -> Option<Happening> {
        self.untold.take()
    }

    fn hear(&mut self, of: Result<(), &EngineError>) {
        match of {
            Ok(()) => self.answered_in_all += 1,
            Err(e) if e.kind() == EngineErrorKind::Lost => self.lose(e.chain()),
            Err(_) => {}
        }
    }
}
