//! What happens to an engine and must be told to those who look after the station.

use std::collections::VecDeque;

/// Happenings kept until somebody asks; the station asks between two parts, and fewer come in that time.
const UNTOLD_MAX: usize = 16;

/// Something that happened to an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It failed at a picture; it is opened again.
    Failed {
        /// The error with its causes.
        why: String,
    },
    /// What its device computes in is broken for the rest of this process.
    Lost {
        /// The error with its causes.
        why: String,
        /// Whether the station ends, to be started again; else the engine is given up.
        ends: bool,
    },
    /// The one that reads these frames where they lie failed: the CPU prepares their pictures until the
    /// service is restarted.
    ReaderFailed {
        /// The frames, in one line.
        frames: String,
        /// The error with its causes.
        why: String,
    },
    /// It was opened again, proved itself and serves.
    Back,
    /// No other one will be made before the service is restarted.
    GivenUp {
        /// The error of the last attempt with its causes.
        why: String,
        /// Whether the CPU serves in its place; else nobody does.
        substitute: bool,
    },
}

/// What nobody has asked for yet, oldest first; beyond its bound the oldest is forgotten.
#[derive(Debug, Default)]
pub(super) struct Untold(VecDeque<Happening>);

impl Untold {
    pub(super) fn add(&mut self, what: Happening) {
        if self.0.len() == UNTOLD_MAX {
            self.0.pop_front();
        }
        self.0.push_back(what);
    }

    pub(super) fn take(&mut self) -> Option<Happening> {
        self.0.pop_front()
    }
}
