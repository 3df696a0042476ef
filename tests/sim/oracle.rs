//! The independent observer: knows what was promised, sees what arrives, and says what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use crrd::frame::Nanos;
use crrd::journal::{Entry, Row, RowKind};
use crrd::judge::Outcome;
use crrd::message::{FLAG_LATE, WireVerdict, decode_verdict};
use crrd::pipeline::Decision;
use crrd::station::{Action, Event};

use super::net::{ConnId, Topic};

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

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    due: Vec<Due>,
    names: BTreeMap<Name, usize>,
    /// Accepted parts of the running process without a committed answer.
    open: BTreeMap<u32, Nanos>,
    live_last: Option<usize>,
    hist_last: Option<(ConnId, usize)>,
    /// Parts answered by name, where the camera reads the name: each has one picture.
    named: Option<BTreeSet<(u32, String)>>,
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
    pub(crate) fn started(&mut self) {
        self.open.clear();
        self.stats.starts += 1;
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
        if record.verdict.outcome() == Outcome::Pass && now > *deadline {
            self.fail(|| format!("late PASS of q {} was announced as live", record.seq));
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
    pub(crate) fn gap(&mut self, first: (u32, u32), last: (u32, u32)) {
        for (_, at) in self.names.range(Name::Verdict(first.0, first.1)..) {
            let due = &mut self.due[*at];
            let Ok(wire) = decode_verdict(&due.payload) else { break };
            if (wire.e, wire.q) > last {
                break;
            }
            self.stats.dropped += u64::from(!due.seen && !due.excused);
            due.excused = true;
        }
    }

    /// The broker took a row's message from the station; whoever subscribes gets it.
    pub(crate) fn arrived(&mut self, conn: ConnId, topic: Topic, payload: &[u8]) {
        let name = match topic {
            Topic::Event => Name::Event(String::from_utf8_lossy(payload).into_owned()),
            Topic::Verdict | Topic::Hist => match decode_verdict(payload) {
                Ok(WireVerdict { e, q, f, .. }) if f & FLAG_LATE != 0 => Name::Late(e, q),
                Ok(WireVerdict { e, q, .. }) => Name::Verdict(e, q),
                Err(error) => return self.fail(|| format!("unreadable verdict: {error}")),
            },
            _ => return,
        };
        let Some(&at) = self.names.get(&name) else {
            return self.fail(|| format!("{name:?} on {topic:?} is not in the journal"));
        };
        if self.due[at].payload != payload {
            return self.fail(|| format!("{name:?} came with another content"));
        }
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

    /// A gap event names the verdicts that were dropped: these are told, not lost.
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
        if let (Some(e0), Some(q0), Some(e1), Some(q1), "gap") = (e0, q0, e1, q1, ev.as_str()) {
            self.gap((e0, q0), (e1, q1));
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
        let lost = self.due.iter().find(|due| !due.seen && !due.excused);
        if let Some(due) = lost {
            let text = String::from_utf8_lossy(&due.payload).into_owned();
            self.fail(|| format!("lost: {text}"));
        }
    }
}
