//! Beside the line: what the PLC says. Reads commands and receipts, asks the station, answers.
//!
//! Every command is answered. An answer that finds no room is dropped and told in the log: the
//! PLC, having no answer, repeats its command, which then acts no second time.

use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::board::Board;
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use super::taken::Taken;
use crate::capture::SoftTrigger;
use crate::message::{
    Receipt, Refusal, Reply, ReplyCode, decode_command, decode_receipt, encode_reply,
};
use crate::publish::{Inbound, ReplayRange};
use crate::station::{Action, Event, Step};
use crate::sys::clock::Clock;

/// First metrics after the start, in milliseconds: the connection usually stands then.
const FIRST_HEALTH_MS: u64 = 1_000;

pub(super) struct CommandStage {
    pub(super) inbound: Receiver<Inbound>,
    /// How the camera is fired, when it can be.
    pub(super) fire: Option<SoftTrigger>,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
    /// Time between metrics in milliseconds.
    pub(super) health_every_ms: u64,
    /// Replays that were handed over.
    pub(super) taken: Taken,
    /// Commands refused, and answers that found no room: told in the log more and more seldom.
    pub(super) refused: u64,
    pub(super) unanswered: u64,
    /// Scratch of one step.
    pub(super) scratch: Step,
}

impl CommandStage {
    /// Runs until a stop is asked for.
    pub(super) fn run(mut self) -> Outcome {
        let started = self.clock.now();
        let mut health_due = started.plus_ms(FIRST_HEALTH_MS.min(self.health_every_ms));
        loop {
            self.progress.beat(Stage::Command);
            if self.signals.stop_commands() {
                return Outcome::Done;
            }
            match self.inbound.recv_timeout(TICK) {
                Ok(Inbound::Command { payload, retained }) => self.command(&payload, retained),
                Ok(Inbound::Receipt(payload)) => self.receipt(&payload),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "the publisher's thread has died; undelivered rows stay journaled";
                    return Outcome::Failed(why.to_owned());
                }
            }
            let now = self.clock.now();
            if now >= health_due {
                health_due = now.plus_ms(self.health_every_ms);
                self.board.tell_health(now.since(started));
            }
        }
    }

    fn command(&mut self, payload: &[u8], retained: bool) {
        let event = match decode_command(payload) {
            // It was meant for a part, or a moment, that may be long gone.
            Ok(request) if retained => {
                self.refuse(Refusal { id: request.id, code: ReplyCode::Retained })
            }
            Ok(request) => {
                tracing::debug!(id = request.id, command = request.command.word(), "command");
                Event::Command(request)
            }
            Err(refusal) => self.refuse(refusal),
        };
        self.board.step(self.clock.now(), event, &mut self.scratch);
        let mut actions = std::mem::take(&mut self.scratch);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.scratch = actions;
    }

    fn refuse(&mut self, refusal: Refusal) -> Event {
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let (id, why, times) = (refusal.id, refusal.code.text(), self.refused);
            tracing::warn!(id, why, times, "command refused");
        }
        Event::Refused(refusal)
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Reply(reply) => self.answer(&reply),
            Action::Fire => {
                let fired = self.fire.as_ref().is_some_and(|fire| fire());
                if !fired {
                    // The part is open: it is answered when its picture has not come in time.
                    tracing::error!("the camera did not take a software trigger");
                }
            }
            Action::Replay { reply, epoch, first, last } => {
                let taken = self.replay(ReplayRange { id: reply.id, epoch, first, last });
                let code = if taken { reply.code } else { ReplyCode::Busy };
                self.answer(&Reply { code, ..reply });
            }
            // Parts are answered by the journal stage, captures by the capture stage.
            _ => {}
        }
    }

    /// Hands the range over once, however often the transport delivers its command.
    fn replay(&mut self, range: ReplayRange) -> bool {
        let now = self.clock.now();
        if self.taken.has(now, &range) {
            return true;
        }
        let taken = self.board.replay(range);
        if taken {
            self.taken.note(now, range);
        }
        taken
    }

    fn answer(&mut self, reply: &Reply) {
        if !self.board.reply(encode_reply(reply).into_bytes()) {
            self.unanswered += 1;
            if self.unanswered.is_power_of_two() {
                let times = self.unanswered;
                tracing::warn!(id = reply.id, times, "no room for the answer to a command");
            }
        }
    }

    fn receipt(&self, payload: &[u8]) {
        match decode_receipt(payload) {
            Some(receipt) if self.board.confirmed(receipt) => {}
            Some(Receipt { consumer, epoch, seq }) => {
                tracing::warn!(%consumer, epoch, seq, "a receipt for what was never sent");
            }
            None => tracing::warn!("a payload on the ack topic is no receipt"),
        }
    }
}
