//! Answers and replays between the command stage and the session (`src/publish/client/mod.rs`), and
//! what of them the oracle is told.

use crrd::journal;
use crrd::pipeline::{Rows, range_page};
use crrd::publish::session::Event;
use crrd::publish::{RangePage, ReplayRange, RowId};

use super::net::Topic;
use super::plan::Defect;
use super::store::Store;
use super::world::World;

/// In front of what is sent again, from the session's page to the wire: no payload begins so. The
/// session looks at no payload, and so the oracle need not guess why a message is on `hist`.
const MARK: u8 = 0x01;

/// Takes the mark away.
pub(crate) fn unmarked(topic: Topic, mut payload: Vec<u8>) -> (Topic, Vec<u8>) {
    if topic == Topic::Hist && payload.first() == Some(&MARK) {
        payload.remove(0);
        return (Topic::Again, payload);
    }
    (topic, payload)
}

/// The simulated journal as the pipeline looks for a range in it.
struct Shelf<'a, S>(&'a mut S);

impl<S: Store> Rows for Shelf<'_, S> {
    type Error = std::convert::Infallible;

    fn newest(&self) -> RowId {
        self.0.newest()
    }

    fn after(&mut self, after: RowId, limit: usize) -> Result<Vec<journal::Row>, Self::Error> {
        Ok(self.0.after(after, limit))
    }
}

impl<S: Store> World<S> {
    /// What a command changed is told before its answer.
    pub(crate) fn take_replies(&mut self) {
        let state_last = self.plan.is(Defect::AnswerBeforeState);
        while let Some(reply) = self.publisher().and_then(|p| p.replies.pop_front()) {
            if !state_last {
                self.take_state();
            }
            let forget = self.plan.is(Defect::AnswerForgotten) && self.rng.chance(20);
            if let Some(publisher) = self.publisher() {
                publisher.last_reply = Some(reply.clone());
            }
            if !forget {
                self.handle(Event::Reply(reply));
            }
        }
    }

    /// One at a time.
    pub(crate) fn take_replay(&mut self) {
        let Some(publisher) = self.publisher().filter(|p| p.session.can_replay()) else { return };
        let Some(range) = publisher.replays.pop_front() else { return };
        self.say(|| format!("station: {range:?} is to be sent again"));
        let there = self.in_journal(&range);
        self.oracle.replay_begins(range, there);
        if self.plan.is(Defect::ReplayMovesCursor) {
            let newest = self.store.newest();
            self.store.acknowledge(newest);
        }
        self.handle(Event::Replay(range));
    }

    pub(crate) fn replay_is_over(&mut self, range: &ReplayRange, rows: u64) {
        self.say(|| format!("station: {range:?} was sent again, {rows} verdicts"));
        let there = self.in_journal(range);
        self.oracle.replay_is_over(range, rows, &there);
    }

    /// Numbers of the answers of the range that the journal has, looked for without any wit.
    fn in_journal(&mut self, range: &ReplayRange) -> Vec<u32> {
        let rows = self.store.after(0, usize::MAX);
        let wanted = rows.iter().filter(|row| {
            let answer = row.kind == journal::RowKind::Verdict && row.epoch == range.epoch;
            answer && (range.first..=range.last).contains(&row.seq)
        });
        wanted.map(|row| row.seq).collect()
    }

    pub(crate) fn read_range(&mut self, range: &ReplayRange, after: Option<RowId>, limit: usize) {
        let fails = self.now < self.reads_fail_until;
        let (skips, foreign) =
            (self.plan.is(Defect::ReplaySkips), self.plan.is(Defect::ReplayForeign));
        let range = ReplayRange { last: range.last + u32::from(foreign), ..*range };
        // Fewer rows than the session asks for, so that there are several pages.
        let limit = limit.min(self.plan.range_rows);
        let Ok(RangePage { mut rows, next }) =
            range_page(&mut Shelf(&mut self.store), &range, after, limit);
        if skips && !rows.is_empty() {
            rows.remove(0);
        }
        rows.iter_mut().for_each(|row| row.payload.insert(0, MARK));
        if let Some(publisher) = self.publisher() {
            publisher.events.push_back(if fails {
                Event::RangeFailed
            } else {
                Event::Range { rows, next }
            });
        }
    }

    /// An answer that the broker does not have is on its way or was counted as lost.
    pub(crate) fn count_answers(&mut self) {
        let Some(process) = &self.process else { return };
        let session = &process.publisher.session;
        let settled = session.is_quiet() || !session.is_up();
        if settled && process.publisher.replies.is_empty() {
            let told = session.counters().replies_dropped + process.unanswered;
            self.oracle.answers_are_counted(told);
        }
    }
}
