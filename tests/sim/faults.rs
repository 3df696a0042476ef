//! What strikes, and how long it lasts.

use super::net::Who;
use super::plan::Fault;
use super::store::{Crash, Store};
use super::world::{Ev, World};

impl<S: Store> World<S> {
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.say(|| format!("*** {fault:?}"));
        match fault {
            Fault::Kill => self.crash(Crash::Kill),
            Fault::PowerCut => self.crash(Crash::Power),
            Fault::Restart => self.stop(),
            Fault::BrokerRestart | Fault::BrokerForgets => {
                self.broker_ends(fault == Fault::BrokerForgets);
                self.for_a_while((50, 2_500), Ev::BrokerUp);
            }
            Fault::BrokerRefuses => {
                self.broker.refuses = true;
                self.for_a_while((50, 2_000), Ev::BrokerUp);
            }
            Fault::Cut => self.cut_of(Who::Station),
            Fault::PlcCut => self.cut_of(Who::Plc),
            Fault::HalfOpen => {
                self.station_silent = true;
                self.silence_of(Who::Station);
            }
            Fault::PlcHalfOpen => {
                self.plc_silent = true;
                self.silence_of(Who::Plc);
            }
            Fault::Takeover => self.takeover(4),
            Fault::AckLost
            | Fault::AckLate
            | Fault::AckTwice
            | Fault::AckShuffled
            | Fault::AckForeign => {
                let times = self.rng.between((1, 12)) as u32;
                self.broker.acks = Some((fault, times));
            }
            Fault::QueueFull => self.queue_full = true,
            Fault::Unannounced => self.unannounced = 1,
            Fault::SlowDisk => {
                self.disk_slow_until = self.now.plus_ms(self.rng.between((50, 1_000)));
            }
            Fault::FullDisk => {
                self.disk_full_until = self.now.plus_ms(self.rng.between((10, 1_500)));
            }
            Fault::ReadFails => {
                self.reads_fail_until = self.now.plus_ms(self.rng.between((10, 1_500)));
            }
            Fault::WallClock => self.wall_s = self.rng.pick(&[0, 1, 1 << 30, 1 << 40]),
            Fault::CameraGone => {
                self.camera_goes();
                self.for_a_while((20, 1_500), Ev::CameraReturns);
            }
            Fault::FrameLost
            | Fault::FrameDamaged
            | Fault::FrameTwice
            | Fault::FrameSlow
            | Fault::PulseLost
            | Fault::EngineHangs
            | Fault::EngineSlow
            | Fault::EngineWrong => self.engine_fault(fault),
            Fault::PlcRestart => self.plc_restarts(),
            Fault::CommandTwice | Fault::CommandLate => self.command_fault(fault),
            Fault::CommandOdd => self.plc_sends_odd(),
            Fault::Flood => {
                if self.is_continuous() {
                    for _ in 0..self.rng.between((3, 12)) {
                        self.part_comes();
                    }
                }
            }
        }
    }

    fn for_a_while(&mut self, ms: (u64, u64), end: Ev) {
        let ms = self.rng.between(ms);
        self.after_ms(ms, end);
    }

    /// The process dies where it stands, the machine with it when its power goes.
    fn crash(&mut self, how: Crash) {
        if self.process.is_none() {
            return;
        }
        let caught = self.process.as_ref().and_then(|p| p.caught().map(<[_]>::to_vec));
        self.store.crash(how, caught.as_deref(), &mut self.rng);
        self.tail_may_go = how == Crash::Power && self.plan.sync == crrd::journal::Sync::Normal;
        let conn = self.process.as_ref().and_then(|p| p.publisher.conn());
        if let (Crash::Power, Some(conn)) = (how, conn) {
            // Nobody closes the connection.
            self.silence(conn);
        }
        self.dies();
        self.starts_again();
    }

    fn cut_of(&mut self, who: Who) {
        if let Some(conn) = self.broker.conn_of(who) {
            self.cut(conn);
        }
    }

    fn silence_of(&mut self, who: Who) {
        if let Some(conn) = self.broker.conn_of(who) {
            self.silence(conn);
        }
        self.for_a_while((50, 2_500), Ev::NetHeals(who));
    }

    /// Another client connects with the station's id: the broker ends our connection.
    pub(crate) fn takeover(&mut self, times: u32) {
        if let Some(conn) = self.broker.conn_of(Who::Station) {
            self.throw_out(conn);
        }
        if times > 1 {
            let ms = self.rng.between((20, 600));
            self.after_ms(ms, Ev::Takeover(times - 1));
        }
    }
}
