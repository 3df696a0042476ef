//! The independent observer: knows what was promised, sees what arrives, and says what is wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crrd::frame::Nanos;
use crrd::journal::{Entry, Row, RowKind};
use crrd::judge::Outcome;
use crrd::message::{FLAG_LATE, WireVerdict, decode_verdict};
use crrd::pipeline::Decision;
use crrd::publish::ReplayRange;
use crrd::station::{Action, Event};

use super::net::{ConnId, Topic};

/// Within this time a command is carried out once.
const REPEATED_MS: u64 = 5_000;

/// A committed row: an obligation.
#[derive(Clone, Debug)]
struct Due {
    kind: RowKind,
    payload: Vec<u8>,
    seen: bool,
    /// A power cut took it; with `Sync::Normal` that is documented.
    excused: bool,
}

/// Which row a payload belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Verdict(u32, u32),
    Late(u32, u32),
    Event(String),
}

/// An answer to a command.
#[derive(Clone, Debug)]
struct Answer {
    boot: u32,
    payload: Vec<u8>,
    /// States that were told before it.
    states: usize,
}

/// A range that is sent again.
#[derive(Clone, Debug)]
struct Replay {
    range: ReplayRange,
    /// Answers of it that were in the journal when it began.
    due: Vec<u32>,
    seen: BTreeSet<u32>,
    last: Option<(ConnId, usize)>,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    due: Vec<Due>,
    names: BTreeMap<Name, usize>,
    /// Accepted parts of the running process without a committed answer.
    open: BTreeMap<u32, Nanos>,
    /// When an answer of this start that was announced as live counts no more.
    until: BTreeMap<u32, Nanos>,
    live_last: Option<usize>,
    hist_last: Option<(ConnId, usize)>,
    /// Parts answered by name, where the camera reads the name: each has one picture.
    named: Option<BTreeSet<(u32, String)>>,
    /// Which start of the station this is.
    boot: u32,
    /// States that the station told, in order; how many of them the broker has from this
    /// connection.
    states: Vec<Vec<u8>>,
    states_seen: usize,
    /// Answers that the broker does not have, oldest first.
    answers: VecDeque<Answer>,
    /// Answers of this start that a younger one has overtaken: lost.
    answers_skipped: u64,
    replay: Option<Replay>,
    /// Ranges this start has taken, and when.
    taken: Vec<(Nanos, ReplayRange)>,
    /// First thing that was wrong.
    pub(crate) wrong: Option<String>,
    pub(crate) stats: Stats,
}

/// What a run went through, so that a test can show that faults really happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) committed: u64,
    pub(crate) duplicates: u64,
    pub(crate) live: u64,
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) excused: u64,
    pub(crate) starts: u64,
    pub(crate) passed: u64,
    pub(crate) rejected: u64,
    pub(crate) events: u64,
    pub(crate) answers: u64,
    pub(crate) answers_lost: u64,
    pub(crate) replays: u64,
    pub(crate) again: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Stats) {
        self.committed += other.committed;
        self.duplicates += other.duplicates;
        self.live += other.live;
        self.late += other.late;
        self.dropped += other.dropped;
        self.excused += other.excused;
        self.starts += other.starts;
        self.passed += other.passed;
        self.rejected += other.rejected;
        self.events += other.events;
        self.answers += other.answers;
        self.answers_lost += other.answers_lost;
        self.replays += other.replays;
        self.again += other.again;
    }
}

fn name_of(kind: RowKind, epoch: u32, seq: u32, payload: &[u8]) -> Name {
    match kind {
        RowKind::Verdict => Name::Verdict(epoch, seq),
        RowKind::LateResult => Name::Late(epoch, seq),
        RowKind::Event => Name::Event(String::from_utf8_lossy(payload).into_owned()),
    }
}

impl Oracle {
    /// `named`: the camera reads each part's name, so a name comes once.
    pub(crate) fn new(named: bool) -> Self {
        Self { named: named.then(BTreeSet::new), ..Self::default() }
    }

    pub(crate) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// One step of the station.
    pub(crate) fn stepped(&mut self, event: &Event, actions: &[Action]) {
        let asked = matches!(event, Event::Command(_) | Event::Refused(_));
        let mut told = 0;
        for action in actions {
            match action {
                Action::Inspect(ticket) | Action::Skip(ticket, _) => {
                    self.open.insert(ticket.seq, ticket.deadline);
                }
                Action::Reply(reply) => {
                    told += 1;
                    // A repeated command names a part that may have its answer already.
                    let known = self.names.contains_key(&Name::Verdict(reply.epoch, reply.seq));
                    if reply.seq > 0 && !known {
                        self.open.entry(reply.seq).or_insert(Nanos(u64::MAX));
                    }
                }
                Action::Replay { .. } => told += 1,
                _ => {}
            }
        }
        if told != u64::from(asked) {
            self.fail(|| format!("{event:?} was answered {told} times"));
        }
    }

    /// A new process begins; what the old one had not committed died with it.
    pub(crate) fn started(&mut self, boot: u32) {
        self.open.clear();
        self.until.clear();
        self.stats.starts += 1;
        self.stats.answers_lost += self.answers_missing();
        (self.boot, self.answers_skipped, self.replay) = (boot, 0, None);
        self.taken.clear();
    }

    // --- answers ---

    /// The station says something else on its state topic.
    pub(crate) fn state_told(&mut self, payload: &[u8]) {
        self.states.push(payload.to_vec());
    }

    pub(crate) fn station_connects(&mut self) {
        self.states_seen = 0;
    }

    pub(crate) fn state_arrived(&mut self, payload: &[u8]) {
        // A last will is none of these.
        if let Some(at) = self.states.iter().rposition(|state| state == payload) {
            self.states_seen = at + 1;
        }
    }

    /// The station answered a command.
    pub(crate) fn answered(&mut self, boot: u32, payload: &[u8]) {
        self.stats.answers += 1;
        let (payload, states) = (payload.to_vec(), self.states.len());
        self.answers.push_back(Answer { boot, payload, states });
    }

    /// The broker has an answer; within a connection none overtakes another.
    pub(crate) fn answer_arrived(&mut self, payload: &[u8]) {
        let text = || String::from_utf8_lossy(payload).into_owned();
        let Some(at) = self.answers.iter().position(|answer| answer.payload == payload) else {
            return self.fail(|| format!("this answer was not given, or came before: {}", text()));
        };
        let boot = self.boot;
        let ours = self.answers.iter().take(at).filter(|answer| answer.boot == boot).count();
        self.answers_skipped += ours as u64;
        let states = self.answers.drain(..=at).next_back().map_or(0, |answer| match answer.boot {
            boot if boot == self.boot => answer.states,
            _ => 0,
        });
        if self.states_seen < states {
            self.fail(|| format!("an answer came before the state it changed: {}", text()));
        }
    }

    /// Answers of this start that the broker does not have.
    fn answers_missing(&self) -> u64 {
        let waiting = self.answers.iter().filter(|answer| answer.boot == self.boot).count();
        self.answers_skipped + waiting as u64
    }

    /// No answer is on its way, and the station says that it lost so many.
    pub(crate) fn answers_are_counted(&mut self, lost: u64) {
        let missing = self.answers_missing();
        if missing > lost {
            self.fail(|| format!("{missing} answers are missing, {lost} counted: without a word"));
        }
    }

    // --- what is sent again ---

    /// A command to send a range again is carried out; however often it comes, once in 5 s.
    pub(crate) fn replay_taken(&mut self, range: ReplayRange, now: Nanos) {
        let again = |(at, taken): &(Nanos, ReplayRange)| {
            *taken == range && now.since(*at) <= Nanos(0).plus_ms(REPEATED_MS)
        };
        if self.taken.iter().any(again) {
            self.fail(|| format!("{range:?} was taken twice"));
        }
        self.taken.push((now, range));
    }

    /// `there`: numbers of the range's answers in the journal.
    pub(crate) fn replay_begins(&mut self, range: ReplayRange, there: Vec<u32>) {
        self.replay = Some(Replay { range, due: there, seen: BTreeSet::new(), last: None });
    }

    /// The broker has a verdict that was sent again. It counts for no delivery.
    pub(crate) fn again(&mut self, conn: ConnId, payload: &[u8]) {
        let Some((name, at)) = self.known(payload) else { return };
        self.stats.again += 1;
        let wanted = match (&mut self.replay, &name) {
            (Some(replay), Name::Verdict(e, q))
                if replay.range.epoch == *e
                    && (replay.range.first..=replay.range.last).contains(q) =>
            {
                let ordered = replay.last.is_none_or(|(c, last)| c != conn || at > last);
                replay.last = Some((conn, at));
                replay.seen.insert(*q);
                Some(ordered)
            }
            _ => None,
        };
        match wanted {
            Some(true) => {}
            Some(false) => self.fail(|| format!("{name:?} out of order among what is sent again")),
            None => self.fail(|| format!("{name:?} was sent again, which nobody asked for")),
        }
    }

    /// The station says that all of it was sent; `there` as above.
    pub(crate) fn replay_is_over(&mut self, range: &ReplayRange, rows: u64, there: &[u32]) {
        self.stats.replays += 1;
        let Some(replay) = self.replay.take().filter(|replay| replay.range == *range) else {
            return self.fail(|| format!("{range:?} is over and never began"));
        };
        let kept: Vec<u32> = replay.due.iter().filter(|q| there.contains(q)).copied().collect();
        if let Some(q) = kept.iter().find(|q| !replay.seen.contains(q)) {
            return self.fail(|| format!("q {q} of {range:?} was not sent again"));
        }
        if !(kept.len() as u64..=replay.seen.len() as u64).contains(&rows) {
            let seen = replay.seen.len();
            self.fail(|| format!("{rows} counted of {range:?}, {seen} came"));
        }
    }

    /// Rows were committed.
    pub(crate) fn committed(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.commit(entry.kind, entry.epoch, entry.seq, &entry.payload);
        }
    }

    fn commit(&mut self, kind: RowKind, epoch: u32, seq: u32, payload: &[u8]) {
        self.stats.committed += 1;
        let name = name_of(kind, epoch, seq, payload);
        if kind == RowKind::Verdict {
            self.open.remove(&seq);
            self.name_once(payload);
        }
        if kind == RowKind::LateResult && !self.names.contains_key(&Name::Verdict(epoch, seq)) {
            self.fail(|| format!("part {epoch}/{seq} has a late result but no answer"));
        }
        if self.names.contains_key(&name) {
            self.fail(|| format!("two decisions for {name:?}"));
        }
        self.names.insert(name, self.due.len());
        self.due.push(Due { kind, payload: payload.to_vec(), seen: false, excused: false });
    }

    /// A row was told to the publisher as live.
    pub(crate) fn announced(&mut self, decision: Option<&Decision>, now: Nanos) {
        let Some(Decision { record, deadline, .. }) = decision else { return };
        if record.verdict.outcome() != Outcome::Invalid {
            self.until.insert(record.seq, *deadline);
        }
        if record.verdict.outcome() == Outcome::Pass && now > *deadline {
            self.fail(|| format!("late PASS of q {} was announced as live", record.seq));
        }
    }

    /// The session hands a verdict to the client as a live one.
    pub(crate) fn sent_live(&mut self, payload: &[u8], now: Nanos) {
        let Ok(WireVerdict { q, .. }) = decode_verdict(payload) else { return };
        if self.until.get(&q).is_some_and(|until| now > *until) {
            self.fail(|| format!("q {q} was sent as live after its time"));
        }
    }

    fn name_once(&mut self, payload: &[u8]) {
        let Some(named) = &mut self.named else { return };
        let Ok(wire) = decode_verdict(payload) else {
            return self.fail(|| "an unreadable verdict was committed".to_owned());
        };
        // Lost pictures are named after their trigger, because nobody read their name.
        if wire.p.starts_with('P') && !named.insert((wire.t, wire.p.clone())) {
            self.fail(|| format!("part {} was answered twice", wire.p));
        }
    }

    /// The journal as it is found at a start. `caught` was being written when the process died;
    /// `tail_may_go` after a power cut without full sync.
    pub(crate) fn found(&mut self, rows: &[Row], caught: &[Entry], tail_may_go: bool) {
        let mut there = vec![false; self.due.len()];
        for row in rows {
            let name = name_of(row.kind, row.epoch, row.seq, &row.payload);
            match self.names.get(&name) {
                Some(at) if self.due[*at].payload == row.payload => {
                    if let Some(there) = there.get_mut(*at) {
                        *there = true;
                    }
                }
                Some(_) => self.fail(|| format!("{name:?} changed in the journal")),
                None if caught.iter().any(|entry| entry.payload == row.payload) => {
                    self.commit(row.kind, row.epoch, row.seq, &row.payload);
                }
                // Notices are the journal's own rows.
                None if row.kind == RowKind::Event => {
                    self.commit(row.kind, row.epoch, row.seq, &row.payload);
                }
                None => self.fail(|| format!("{name:?} was never written")),
            }
        }
        // From the end: what is gone without a gap behind it.
        let mut tail = tail_may_go;
        for at in (0..there.len()).rev() {
            tail &= !there[at];
            if tail && self.due[at].kind != RowKind::Event && !self.due[at].excused {
                self.due[at].excused = true;
                self.stats.excused += 1;
            }
        }
    }

    /// The journal dropped rows for room, and said so.
    fn gap(&mut self, first: Name, last: Name) {
        for (_, at) in self.names.range(first..=last) {
            let due = &mut self.due[*at];
            self.stats.dropped += u64::from(!due.seen && !due.excused);
            due.excused = true;
        }
    }

    /// The broker took a row's message from the station; whoever subscribes gets it.
    pub(crate) fn arrived(&mut self, conn: ConnId, topic: Topic, payload: &[u8]) {
        let Some((name, at)) = self.known(payload) else { return };
        self.stats.duplicates += u64::from(self.due[at].seen);
        self.due[at].seen = true;
        if topic == Topic::Event {
            self.gap_told(payload);
        }
        match (topic, self.due[at].kind) {
            (Topic::Verdict, RowKind::Verdict) => {
                self.stats.live += 1;
                if self.live_last.is_some_and(|last| at <= last) {
                    self.fail(|| format!("{name:?} out of order on the live lane"));
                }
                self.live_last = Some(at);
            }
            (Topic::Hist, RowKind::Verdict) => {
                self.stats.late += 1;
                if self.hist_last.is_some_and(|(c, last)| c == conn && at <= last) {
                    self.fail(|| format!("{name:?} out of order on the history lane"));
                }
                self.hist_last = Some((conn, at));
            }
            (Topic::Verdict, kind) => self.fail(|| format!("{kind:?} on the live lane")),
            _ => {}
        }
    }

    /// The row whose payload this is, byte for byte; anything else is wrong.
    fn known(&mut self, payload: &[u8]) -> Option<(Name, usize)> {
        let name = match decode_verdict(payload) {
            Ok(WireVerdict { e, q, f, .. }) if f & FLAG_LATE != 0 => Name::Late(e, q),
            Ok(WireVerdict { e, q, .. }) => Name::Verdict(e, q),
            Err(_) => Name::Event(String::from_utf8_lossy(payload).into_owned()),
        };
        let found = self.names.get(&name).copied();
        match found {
            None => self.fail(|| format!("{name:?} is not in the journal")),
            Some(at) if self.due[at].payload != payload => {
                self.fail(|| format!("{name:?} came with another content"));
            }
            Some(at) => return Some((name, at)),
        }
        None
    }

    /// A gap event names the verdicts that were dropped, another the late results: these are
    /// told, not lost.
    fn gap_told(&mut self, payload: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Gap {
            ev: String,
            e0: Option<u32>,
            q0: Option<u32>,
            e1: Option<u32>,
            q1: Option<u32>,
        }
        let Ok(Gap { ev, e0, q0, e1, q1 }) = serde_json::from_slice(payload) else { return };
        let (Some(e0), Some(q0), Some(e1), Some(q1)) = (e0, q0, e1, q1) else { return };
        match ev.as_str() {
            "gap" => self.gap(Name::Verdict(e0, q0), Name::Verdict(e1, q1)),
            "late_dropped" => self.gap(Name::Late(e0, q0), Name::Late(e1, q1)),
            _ => {}
        }
    }

    /// The station ends in order: it has answered every part it accepted.
    pub(crate) fn answered_all(&mut self) {
        if let Some((seq, _)) = self.open.first_key_value() {
            let seq = *seq;
            self.fail(|| format!("part {seq} was accepted and never answered"));
        }
    }

    /// When everything has come to rest: nothing is missing.
    pub(crate) fn at_rest(&mut self) {
        self.answered_all();
        self.stats.answers_lost += self.answers_missing();
        let lost = self.due.iter().find(|due| !due.seen && !due.excused);
        if let Some(due) = lost {
            let text = String::from_utf8_lossy(&due.payload).into_owned();
            self.fail(|| format!("lost: {text}"));
        }
    }
}
