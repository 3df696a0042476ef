//! The thread that obeys the PLC (`src/pipeline/command_stage.rs`), as thin as it can be: one
//! command after the other to the station, its answer to the publisher, ranges to be sent again.

use crrd::frame::Nanos;
use crrd::message::{Reply, ReplyCode, decode_command, encode_reply};
use crrd::publish::ReplayRange;
use crrd::station::{Action, Event};

use super::plan::Defect;
use super::process::Ending;
use super::store::Store;
use super::world::{Ev, World};

/// Commands that nobody has taken yet.
const INBOUND_MAX: usize = 256;
/// Answers on their way to the publisher.
const SAYINGS_MAX: usize = 128;
/// Ranges that wait for the one under way.
const REPLAYS_MAX: usize = 4;

impl<S: Store> World<S> {
    /// The publisher hands a command on; one that finds no room is gone, and the PLC repeats it.
    pub(crate) fn command_comes(&mut self, payload: Vec<u8>) {
        let Some(process) = &mut self.process else { return };
        if process.inbound.len() < INBOUND_MAX {
            process.inbound.push_back(payload);
            if process.inbound.len() == 1 {
                self.command_soon();
            }
        }
    }

    fn command_soon(&mut self) {
        let us = self.rng.between((2, 200));
        self.at(Nanos(self.now.0 + us * 1_000), Ev::Command(self.boot));
    }

    /// The next command is carried out. A station that ends takes none.
    pub(crate) fn obey(&mut self) {
        let Some(process) = &mut self.process else { return };
        let Some(payload) = process.inbound.pop_front() else { return };
        let more = !process.inbound.is_empty();
        if process.ending != Ending::No {
            return;
        }
        let event = match decode_command(&payload) {
            Ok(request) => Event::Command(request),
            Err(refusal) => Event::Refused(refusal),
        };
        let out = self.step(event);
        for action in &out {
            match *action {
                Action::Reply(reply) => self.answer(&reply),
                Action::Replay { reply, epoch, first, last } => {
                    let range = ReplayRange { id: reply.id, epoch, first, last };
                    let code = if self.replay(range) { reply.code } else { ReplyCode::Busy };
                    self.answer(&Reply { code, ..reply });
                }
                Action::Fire => {
                    let us = self.rng.between((100, 3_000));
                    self.at(Nanos(self.now.0 + us * 1_000), Ev::Fire);
                }
                _ => {}
            }
        }
        self.keep_scratch(out);
        if more {
            self.command_soon();
        }
    }

    fn answer(&mut self, reply: &Reply) {
        let payload = encode_reply(reply).into_bytes();
        let Some(process) = &mut self.process else { return };
        self.oracle.answered(process.boot, &payload);
        if process.publisher.replies.len() < SAYINGS_MAX {
            process.publisher.replies.push_back(payload);
        } else {
            process.unanswered += 1;
        }
        self.wake_publisher();
    }

    /// Hands the range over once, however often the transport delivers its command.
    fn replay(&mut self, range: ReplayRange) -> bool {
        let now = self.now;
        let Some(process) = &mut self.process else { return false };
        if process.replays_taken.has(now, &range) && !self.plan.is(Defect::ReplayTwice) {
            return true;
        }
        let room = process.publisher.replays.len() < REPLAYS_MAX;
        if room {
            process.publisher.replays.push_back(range);
            process.replays_taken.note(now, range);
            self.oracle.replay_taken(range, now);
            self.wake_publisher();
        }
        room
    }
}
