//! The thread that makes engines, so that nobody who judges parts waits for one.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::engine::{Background, Engine, EngineError, EngineErrorKind, ModelSpec, Stopper};

/// What may be on its way at once: a substitute, an engine, and the word that none will come.
pub(super) const MADE_MAX: usize = 3;

/// How engines are made. Everything here may take its time.
pub trait Workshop: Send {
    /// The engine that the station is meant to have, made for the first time and proved.
    ///
    /// # Errors
    /// Why it cannot be made here.
    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError>;

    /// The same from what the first building left, proved again.
    ///
    /// # Errors
    /// Why it cannot be opened now.
    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError>;

    /// A proved engine of the same model and arithmetic to serve meanwhile; `None` when there is
    /// none that may.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError>;

    /// What ends a building under way, from another thread; called once, when nobody waits for its
    /// engine any more.
    fn stopper(&self) -> Stopper {
        Box::new(|| {})
    }
}

/// How often and when an engine that failed is opened again: after `first`, and after twice the last
/// pause from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts until it is given up.
    pub attempts_max: u32,
    /// Pause before the first one.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
}

impl Default for Retries {
    /// Half a minute in all: a driver that starts again is back by then, and a process in which nothing
    /// helps is soon replaced by a new one.
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(16));
        Self { attempts_max: 6, first, longest }
    }
}

impl Retries {
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        self.first.saturating_mul(1 << attempt.min(16)).min(self.longest)
    }
}

/// What the maker is to do.
pub(super) enum Order {
    Build,
    /// Open the engine again; `steady` when it had served well.
    Recover {
        failed: Box<dyn Engine>,
        steady: bool,
    },
    /// Give the engine up, because of this: make what serves in its place for good.
    Replace(String),
}

/// What the maker made.
pub(super) enum Made {
    Meant(Box<dyn Engine>),
    Substitute(Box<dyn Engine>),
    /// Nothing more will come, and why.
    GivenUp(String),
    /// The device is lost to this process, and why.
    Lost(String),
}

/// The owner has gone.
struct Gone;

struct Maker {
    workshop: Box<dyn Workshop>,
    retries: Retries,
    /// Of the engines that may serve.
    spec: ModelSpec,
    orders: Receiver<Order>,
    made: Sender<Made>,
    /// Attempts used up since the engine served well.
    attempts: u32,
}

/// Starts the thread. It ends when the orders do.
///
/// # Errors
/// `Backend` when it cannot be started.
pub(super) fn start(
    workshop: Box<dyn Workshop>,
    retries: Retries,
    spec: ModelSpec,
    orders: Receiver<Order>,
    made: Sender<Made>,
) -> Result<Background, EngineError> {
    let stop = workshop.stopper();
    let mut maker = Maker { workshop, retries, spec, orders, made, attempts: 0 };
    Background::start("crrd-engine", stop, move || while maker.next().is_ok() {})
}

impl Maker {
    fn next(&mut self) -> Result<(), Gone> {
        match self.orders.recv() {
            Ok(Order::Build) => self.build(),
            Ok(Order::Recover { failed, steady }) => {
                // Its memory on the device is needed for the next one.
                drop(failed);
                if steady {
                    self.attempts = 0;
                }
                self.substitute()?;
                self.recover()
            }
            Ok(Order::Replace(why)) => {
                self.substitute()?;
                self.give(Made::GivenUp(why))
            }
            Err(_) => Err(Gone),
        }
    }

    fn build(&mut self) -> Result<(), Gone> {
        match self.workshop.build().and_then(|engine| self.fitting(engine)) {
            Ok(engine) => self.give(Made::Meant(engine)),
            Err(e) => {
                let error = &e as &dyn std::error::Error;
                tracing::error!(error, "no engine could be built for this GPU");
                self.give(Made::GivenUp(e.chain()))
            }
        }
    }

    fn substitute(&mut self) -> Result<(), Gone> {
        match self.workshop.substitute() {
            Ok(Some(engine)) => match self.fitting(engine) {
                Ok(engine) => self.give(Made::Substitute(engine)),
                Err(e) => self.no_substitute(&e),
            },
            Ok(None) => Ok(()),
            Err(e) => self.no_substitute(&e),
        }
    }

    fn no_substitute(&self, e: &EngineError) -> Result<(), Gone> {
        let error = e as &dyn std::error::Error;
        tracing::error!(error, "no engine serves until this one is opened again");
        Ok(())
    }

    fn recover(&mut self) -> Result<(), Gone> {
        let mut why = "it failed again whenever it had been opened".to_owned();
        while self.attempts < self.retries.attempts_max {
            match self.orders.recv_timeout(self.retries.pause(self.attempts)) {
                Err(RecvTimeoutError::Timeout) => {}
                // There is no order while there is no engine to fail.
                Err(RecvTimeoutError::Disconnected) | Ok(_) => return Err(Gone),
            }
            self.attempts += 1;
            let (attempt, most) = (self.attempts, self.retries.attempts_max);
            match self.workshop.reopen().and_then(|engine| self.fitting(engine)) {
                Ok(engine) => {
                    tracing::info!(attempt, "the engine was opened again and proved");
                    return self.give(Made::Meant(engine));
                }
                Err(e) if e.kind() == EngineErrorKind::Lost => {
                    return self.give(Made::Lost(e.chain()));
                }
                Err(e) => {
                    let error = &e as &dyn std::error::Error;
                    tracing::warn!(error, attempt, most, "the engine cannot be opened again");
                    why = e.chain();
                }
            }
        }
        tracing::error!(
            "the engine failed too often: it is given up, until the service is restarted"
        );
        self.give(Made::GivenUp(why))
    }

    fn give(&self, made: Made) -> Result<(), Gone> {
        self.made.send(made).map_err(|_| Gone)
    }

    /// Limits hold for one model and arithmetic: an engine of another one never serves.
    fn fitting(&self, engine: Box<dyn Engine>) -> Result<Box<dyn Engine>, EngineError> {
        if *engine.spec() == self.spec {
            return Ok(engine);
        }
        Err(EngineError::new(
            EngineErrorKind::Foreign,
            "the engine that was made is of another model or arithmetic than the station's: the bundle \
             was changed; restart the service",
        ))
    }
}
