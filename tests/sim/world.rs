//! The world: one clock, one agenda, and everybody in it. Single-threaded; nothing happens but
//! what is on the agenda, in the order of its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crrd::frame::Nanos;
use crrd::journal::Entry;
use crrd::publish::Report;

use super::broker::Broker;
use super::line::{Camera, Examiner, Part, Picture};
use super::net::{Conn, ConnId, Payload, Who};
use super::oracle::{Oracle, Stats};
use super::plan::{Fault, Plan, Regime};
use super::plc::Plc;
use super::process::Process;
use super::rng::Rng;
use super::store::Store;

/// After the repair everything must have come to rest within this.
const REST_MS_MAX: u64 = 60_000;
/// How often it is looked at.
const LOOK_MS: u64 = 100;
/// More events than any honest run has.
const EVENTS_MAX: u64 = 200_000;
/// Parts after the repair, besides a first one that may be an ordered test run: the system takes
/// new work.
const PROBES: u32 = 3;

/// Something on the agenda. What belongs to a process carries its start number.
#[derive(Debug)]
pub(crate) enum Ev {
    Part,
    Gate(u32),
    Pulse(u32),
    Fire,
    Picture(Box<Picture>),
    CameraUp(u32),
    CameraReturns,
    Inspected(u32),
    Watchdog(u32),
    Record(u32),
    RecordAlarm(u32),
    Written(u32),
    Retry(u32),
    Publisher(u32),
    PublisherTick(u32),
    Dial(u32),
    Command(u32),
    Write(u32, ConnId),
    Start,
    Up(ConnId),
    Down(ConnId),
    NoAnswer(ConnId),
    ClientGone(ConnId),
    BrokerGone(ConnId),
    BrokerUp,
    HeldAck,
    LateCommand(Payload),
    PlcDials,
    PlcStarts,
    PlcAsks(u32),
    AskAgain,
    Strike(Fault),
    NetHeals(Who),
    Takeover(u32),
    Heal,
    Look,
    Probe(u32),
    Rest,
}

struct Due {
    at: Nanos,
    n: u64,
    ev: Ev,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.n) == (other.at, other.n)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.n).cmp(&(other.at, other.n))
    }
}

pub(crate) struct World<S> {
    pub(crate) plan: Plan,
    pub(crate) now: Nanos,
    pub(crate) rng: Rng,
    agenda: BinaryHeap<Reverse<Due>>,
    added: u64,
    pub(crate) oracle: Oracle,
    trace: Option<Vec<String>>,
    // The line.
    pub(crate) parts: Vec<Part>,
    pub(crate) camera: Camera,
    pub(crate) camera_at: Nanos,
    pub(crate) examiner: Examiner,
    pub(crate) engine_slow_until: Nanos,
    // The station.
    pub(crate) store: S,
    pub(crate) process: Option<Process>,
    pub(crate) boot: u32,
    pub(crate) epochs: Vec<u32>,
    /// What the last process was committing when it died.
    pub(crate) caught: Vec<Entry>,
    pub(crate) tail_may_go: bool,
    pub(crate) record_alarm: Nanos,
    pub(crate) retry_ms: u64,
    pub(crate) told: u64,
    /// Wall time: jumps, and nothing may depend on it.
    pub(crate) wall_s: u64,
    pub(crate) reports: Vec<Report>,
    pub(crate) disk_slow_until: Nanos,
    pub(crate) disk_full_until: Nanos,
    pub(crate) reads_fail_until: Nanos,
    pub(crate) unannounced: u32,
    pub(crate) queue_full: bool,
    starting: bool,
    // The network, the broker, the PLC.
    pub(crate) conns: Vec<Conn>,
    pub(crate) station_silent: bool,
    pub(crate) plc_silent: bool,
    pub(crate) broker: Broker,
    pub(crate) plc: Plc,
    pub(crate) commands: Option<Fault>,
    healed: bool,
    /// After the repair: replays that were over when the last one was asked for.
    asked_after: Option<u64>,
    rest_from: Nanos,
    rest_by: Nanos,
    done: bool,
}

impl<S: Store> World<S> {
    pub(crate) fn new(plan: Plan, store: S, traced: bool) -> Self {
        let mut world = Self {
            rng: Rng::new(plan.seed),
            now: Nanos(0).plus_ms(1_000),
            agenda: BinaryHeap::new(),
            added: 0,
            oracle: Oracle::new(plan.regime == Regime::Continuous),
            trace: traced.then(Vec::new),
            parts: vec![],
            camera: Camera::default(),
            camera_at: Nanos(0),
            examiner: Examiner::default(),
            engine_slow_until: Nanos(0),
            store,
            process: None,
            boot: 0,
            epochs: vec![],
            caught: vec![],
            tail_may_go: false,
            record_alarm: Nanos(0),
            retry_ms: 0,
            told: 0,
            wall_s: 1_700_000_000,
            reports: vec![],
            disk_slow_until: Nanos(0),
            disk_full_until: Nanos(0),
            reads_fail_until: Nanos(0),
            unannounced: 0,
            queue_full: false,
            starting: false,
            conns: vec![],
            station_silent: false,
            plc_silent: false,
            broker: Broker::default(),
            plc: Plc::default(),
            commands: None,
            healed: false,
            asked_after: None,
            rest_from: Nanos(u64::MAX),
            rest_by: Nanos(u64::MAX),
            done: false,
            plan,
        };
        world.start();
        world.at(world.now, Ev::PlcDials);
        let faults = world.plan.faults.clone();
        for (ms, fault) in faults {
            world.after_ms(ms, Ev::Strike(fault));
        }
        for ms in world.plan.replays.clone() {
            world.after_ms(ms, Ev::AskAgain);
        }
        world.after_ms(50, Ev::Part);
        world.after_ms(world.plan.heal_ms, Ev::Heal);
        world
    }

    /// Runs to the end; what was wrong, if anything.
    pub(crate) fn run(&mut self) -> Result<Stats, String> {
        while let Some(Reverse(Due { at, ev, .. })) = self.agenda.pop() {
            self.now = at;
            self.oracle.stats.events += 1;
            self.happen(ev);
            if let Some(wrong) = self.oracle.wrong.take() {
                return Err(wrong);
            }
            if self.done {
                return Ok(self.oracle.stats);
            }
            if self.oracle.stats.events > EVENTS_MAX {
                return Err("the world does not come to an end".to_owned());
            }
        }
        Err("the world stands still".to_owned())
    }

    pub(crate) fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:10.3} ms  {}", self.now.as_ms(), what()));
        }
    }

    pub(crate) fn at(&mut self, at: Nanos, ev: Ev) {
        self.added += 1;
        self.agenda.push(Reverse(Due { at: at.max(self.now), n: self.added, ev }));
    }

    pub(crate) fn after_ms(&mut self, ms: u64, ev: Ev) {
        self.at(self.now.plus_ms(ms), ev);
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::Part => self.next_part(),
            Ev::Gate(part) => self.gate(part),
            Ev::Pulse(part) => self.pulse(part),
            Ev::Fire => self.fire(),
            Ev::Picture(picture) => self.picture(&picture),
            Ev::CameraUp(boot) if self.is_boot(boot) && !self.camera.gone => {
                self.camera_state(true);
            }
            Ev::CameraReturns => self.camera_returns(),
            Ev::Inspected(boot) if self.is_boot(boot) => self.inspected(),
            Ev::Watchdog(boot) if self.is_boot(boot) => {
                self.strike(Fault::Kill);
            }
            Ev::Record(boot) if self.is_boot(boot) => self.record(),
            Ev::RecordAlarm(boot) if self.is_boot(boot) => self.record_alarm(),
            Ev::Written(boot) if self.is_boot(boot) => self.written(),
            Ev::Retry(boot) if self.is_boot(boot) => self.retry(),
            Ev::Publisher(boot) if self.is_boot(boot) => self.publish_round(),
            Ev::PublisherTick(boot) if self.is_boot(boot) => self.publisher_tick(),
            Ev::Dial(boot) if self.is_boot(boot) => self.dial_out(),
            Ev::Command(boot) if self.is_boot(boot) => self.obey(),
            Ev::Write(boot, conn) if self.is_boot(boot) => self.write_out(conn),
            Ev::Start => {
                self.starting = false;
                if self.process.is_none() {
                    self.start();
                }
            }
            Ev::Up(conn) => self.up(conn),
            Ev::Down(conn) => self.down(conn),
            Ev::NoAnswer(conn) => match self.conns[conn].who {
                Who::Station => self.link_no_answer(conn),
                Who::Plc => self.plc_no_answer(conn),
            },
            Ev::ClientGone(conn) => self.client_gone(conn),
            Ev::BrokerGone(conn) => self.broker_gone(conn),
            Ev::BrokerUp => {
                self.broker.up = true;
                self.broker.refuses = false;
            }
            Ev::HeldAck => self.held_ack(),
            Ev::LateCommand(payload) if !self.healed => self.late_command(&payload),
            Ev::PlcDials => self.plc_dials(),
            Ev::PlcStarts => self.plc_starts(),
            Ev::PlcAsks(id) => self.plc_asks(id),
            Ev::AskAgain => self.plc_wants_again(),
            Ev::Strike(fault) if !self.healed => self.strike(fault),
            Ev::NetHeals(Who::Station) => self.station_silent = false,
            Ev::NetHeals(Who::Plc) => self.plc_silent = false,
            Ev::Takeover(times) if !self.healed => self.takeover(times),
            Ev::Heal => self.heal(),
            Ev::Look => self.look(),
            Ev::Probe(n) => self.probe(n),
            Ev::Rest => self.rest(),
            _ => {}
        }
    }

    fn next_part(&mut self) {
        if self.parts.len() as u32 >= self.plan.parts {
            return;
        }
        self.part_comes();
        let ms = self.rng.between(self.plan.spacing_ms);
        self.after_ms(ms, Ev::Part);
    }

    pub(crate) fn starts_again(&mut self) {
        if !std::mem::replace(&mut self.starting, true) {
            let ms = self.rng.between((100, 900));
            self.after_ms(ms, Ev::Start);
        }
    }

    pub(crate) fn net_dead(&self, who: Who) -> bool {
        match who {
            Who::Station => self.station_silent,
            Who::Plc => self.plc_silent,
        }
    }

    /// Everything is repaired; from now on nothing goes wrong.
    fn heal(&mut self) {
        self.say(|| "everything is repaired".to_owned());
        self.healed = true;
        self.broker.up = true;
        self.broker.refuses = false;
        self.broker.acks = None;
        (self.station_silent, self.plc_silent) = (false, false);
        (self.disk_full_until, self.disk_slow_until) = (self.now, self.now);
        (self.reads_fail_until, self.engine_slow_until) = (self.now, self.now);
        (self.unannounced, self.queue_full, self.commands) = (0, false, None);
        self.camera.faults.clear();
        self.camera_returns();
        self.rest_from = self.now;
        self.rest_by = self.now.plus_ms(REST_MS_MAX);
        self.after_ms(LOOK_MS, Ev::Look);
    }

    /// Waits until all is delivered and the PLC sees a ready station.
    fn look(&mut self) {
        let drained = self.is_drained();
        // A connection that is dead and does not know it yet is no rest.
        let honest = self.conns.iter().all(|conn| !(conn.dead && conn.open_at_client));
        let epoch = self.process.as_ref().map_or(0, |process| process.epoch);
        if drained && honest && self.plc.sees(epoch, self.rest_from) && !self.plc.asks() {
            let over = self.oracle.stats.replays;
            match self.asked_after {
                None => {
                    self.asked_after = Some(over);
                    self.plc_wants_again();
                }
                // Asked, answered, drained, and never heard of again.
                Some(before) if over == before => {
                    self.oracle.fail(|| "a replay was taken and never came".to_owned());
                }
                Some(_) => {
                    self.say(|| "drained".to_owned());
                    return self.after_ms(1, Ev::Probe(0));
                }
            }
        }
        if self.now > self.rest_by {
            let ready = self.plc.sees_ready(self.now);
            return self.oracle.fail(|| format!("never came to rest: {drained} {ready}"));
        }
        if self.now.0 / 1_000_000_000 != (self.now.0 - LOOK_MS * 1_000_000) / 1_000_000_000 {
            self.plc_sets_mode();
        }
        self.after_ms(LOOK_MS, Ev::Look);
    }

    /// Everything is answered, committed and delivered.
    fn is_drained(&self) -> bool {
        let newest = if self.process.is_some() { self.store.newest() } else { 0 };
        self.process.as_ref().is_some_and(|process| {
            let session = &process.publisher.session;
            process.is_at_rest() && session.is_drained(newest) && session.can_replay()
        })
    }

    /// New work after the repair.
    fn probe(&mut self, n: u32) {
        if n == 0 {
            self.plc_sets_mode();
            return self.after_ms(self.plan.gate_ms + 100, Ev::Probe(1));
        }
        if n > PROBES + 1 {
            return self.after_ms(self.plan.gate_ms + 200, Ev::Rest);
        }
        self.part_comes();
        let ms = self.plan.spacing_ms.1 + self.plan.gate_ms;
        self.after_ms(ms, Ev::Probe(n + 1));
    }

    /// The last look.
    fn rest(&mut self) {
        if !self.is_drained() {
            if self.now > self.rest_by.plus_ms(REST_MS_MAX) {
                self.oracle.fail(|| "the last rows were not delivered".to_owned());
            }
            return self.after_ms(LOOK_MS, Ev::Rest);
        }
        let slow = self.plan.inspect_us.1 > self.plan.latency_ms * 500;
        for part in self.parts.len() - PROBES as usize..self.parts.len() {
            let Part { good, passed, .. } = self.parts[part];
            // An engine that is slower than the deadline passes nothing, as it should.
            if good && passed != Some(true) && !slow {
                self.oracle.fail(|| format!("good part {part} was rejected after the repair"));
            }
        }
        self.oracle.at_rest();
        self.done = true;
    }

    pub(crate) fn is_continuous(&self) -> bool {
        self.plan.regime == Regime::Continuous
    }
}
