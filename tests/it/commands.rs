//! The PLC's commands against the real program and a real broker: each is answered, acts once,
//! and no verdict follows that was not earned.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crrd::message::{ByteOrder, decode_binary, decode_verdict};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, Seen, state, verdicts};
use crate::support::standin;

const CMD: &str = "crr/s1/cmd";
const ACK: &str = "crr/s1/ack";

/// A PLC: gives commands and hears everything.
struct Plc {
    client: Client,
    heard: Subscriber,
    ids: AtomicU32,
    delivered: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
}

impl Drop for Plc {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.client.try_disconnect();
    }
}

impl Plc {
    fn start(port: u16) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("plc-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (client, mut connection) = Client::new(MqttOptions::new(id, "127.0.0.1", port), 1_000);
        let (delivered, over) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (acked, ended) = (delivered.clone(), over.clone());
        std::thread::Builder::new()
            .name("plc".into())
            .spawn(move || {
                for event in connection.iter() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Ok(Event::Incoming(Packet::PubAck(_))) = event {
                        acked.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
            .unwrap();
        Self { client, heard: Subscriber::start(port), ids: AtomicU32::new(1), delivered, over }
    }

    fn publish(&self, topic: &str, retain: bool, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    }

    /// All answers to the command of this number.
    fn answers(&self, id: u32) -> Vec<Seen> {
        let all = self.heard.on("crr/s1/cmdack");
        all.iter().map(Seen::of).filter(|seen| seen.number("id") == i64::from(id)).collect()
    }

    /// Gives a command (without its number) and waits for the answer; without one within a second
    /// it is repeated, as the reference says.
    fn ask(&self, command: &str) -> Seen {
        let id = self.ids.fetch_add(1, Ordering::SeqCst);
        let command = format!(r#"{{"v":1,"id":{id},{command}}}"#);
        let mut given: Option<Instant> = None;
        wait_for(&format!("an answer to {command}"), || {
            if given.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                self.publish(CMD, false, &command);
                given = Some(Instant::now());
            }
            !self.answers(id).is_empty()
        });
        self.answers(id).remove(0)
    }

    /// The same, for its result code.
    fn code(&self, command: &str) -> i64 {
        let answer = self.ask(command);
        assert_eq!(answer.number("ok") == 1, answer.number("k") == 0, "{answer:?}");
        answer.number("k")
    }

    /// The verdict of this part, on whichever topic.
    fn verdict(&self, part: &str) -> Option<Seen> {
        verdicts(&self.heard).into_values().find(|v| v.text("p") == part)
    }

    fn wait_verdict(&self, part: &str) -> Seen {
        wait_for(&format!("the verdict of {part}"), || self.verdict(part).is_some());
        self.verdict(part).unwrap()
    }

    fn wait_ready(&self) {
        wait_for("ready", || state(&self.heard).is_some_and(|s| s.number("ready") == 1));
    }

    fn events(&self, kind: &str) -> Vec<Seen> {
        let all = self.heard.on("crr/s1/event");
        all.iter().map(Seen::of).filter(|seen| seen.text("ev") == kind).collect()
    }
}

/// A station whose pictures come when the PLC asks for them: good, good, bad, good, ...
fn triggered(port: u16, arm_wait_ms: u32) -> Bench {
    let mut bench = Bench::new(port);
    bench.pictures(12);
    bench.head("[[recipe]]\nid = 8\nclass = \"bolt\"");
    bench.camera(&format!(
        "recipe = 7\nmode = \"loop\"\ntrigger = \"software\"\n[trigger]\nmode = \"single\"\n\
         arm_wait_ms_max = {arm_wait_ms}"
    ));
    bench
}

fn outcome(seen: &Seen) -> (i64, i64) {
    (seen.number("o"), seen.number("k"))
}

#[test]
fn a_triggered_part_is_answered_under_its_own_names_in_every_form() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    let bench = triggered(broker.port, 30_000);
    let _station = bench.run_text(&bench.config_with("vbin = \"big\"\nhealth_s = 1"));
    plc.wait_ready();
    for (i, part) in ["A-1", "A-2", "A-3"].iter().enumerate() {
        let t = 4711 + i;
        let answer = plc.ask(&format!(r#""cmd":"trigger","t":{t},"p":"{part}""#));
        assert_eq!((answer.number("ok"), answer.text("cmd")), (1, "trigger"), "{answer:?}");
        let seen = plc.wait_verdict(part);
        let expected = if i == 2 { (0, 1) } else { (1, 0) };
        assert_eq!(outcome(&seen), expected, "{seen:?}");
        assert_eq!((seen.number("t"), seen.number("r")), (t as i64, 7));
        assert_eq!((seen.number("e"), seen.number("q")), (answer.number("e"), answer.number("q")));
    }
    // The binary form says the same.
    wait_for("the binary forms", || plc.heard.count("crr/s1/vbin") >= 3);
    let texts = plc.heard.on("crr/s1/verdict");
    for (bytes, text) in plc.heard.on("crr/s1/vbin").iter().zip(&texts) {
        let binary = decode_binary(&bytes.payload, ByteOrder::Big).unwrap();
        assert_eq!(binary, decode_verdict(&text.payload).unwrap());
    }
    // A receipt shows in the metrics; one for what was never sent does not.
    plc.publish(ACK, false, r#"{"v":1,"e":1,"q":2}"#);
    plc.publish(ACK, false, r#"{"v":1,"e":1,"q":2000}"#);
    plc.publish(ACK, false, "nonsense");
    let health = || plc.heard.on("crr/s1/health").last().map(Seen::of);
    wait_for("the receipt in the metrics", || health().is_some_and(|h| h.number("cq") == 2));
    let health = health().unwrap();
    let counts = ["n", "pass", "rej", "inv", "test"].map(|key| health.number(key));
    assert_eq!((counts, health.number("ce")), ([3, 2, 1, 0, 0], 1));
    let calib = plc.heard.on("crr/s1/calib");
    let calib = Seen::of(&calib[0]);
    assert_eq!((calib.number("old"), calib.number("n"), calib.text("by")), (0, 1, "test"));
    assert_eq!(calib.number("a"), plc.verdict("A-1").unwrap().number("a"));
}

#[test]
fn an_armed_part_gets_the_next_picture_and_one_without_is_no_verdict() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    let mut bench = Bench::new(broker.port);
    bench.picture("a.png", &standin::grey());
    // Longer than a busy machine takes; a line would take less than its time between parts.
    let trigger = "[trigger]\nmode = \"single\"\narm_wait_ms_max = 10000";
    bench.camera(&format!("rate_hz = 4\nmode = \"loop\"\n{trigger}"));
    let _station = bench.run();
    plc.wait_ready();
    wait_for("a picture nobody armed", || !verdicts(&plc.heard).is_empty());
    let seen = plc.ask(r#""cmd":"arm","t":77,"p":"HW-1""#);
    assert_eq!(seen.number("ok"), 1, "{seen:?}");
    assert_eq!(outcome(&plc.wait_verdict("HW-1")), (1, 0));
    assert_eq!(plc.verdict("HW-1").unwrap().number("t"), 77);
    let others = verdicts(&plc.heard).into_values().filter(|v| v.text("p") != "HW-1");
    assert!(others.map(|v| outcome(&v)).all(|found| found == (2, 14)));
    wait_for("the event", || !plc.events("missed_trigger").is_empty());
    wait_for("missed triggers in the state", || {
        state(&plc.heard).is_some_and(|s| s.number("miss") > 0)
    });
}

#[test]
fn a_late_result_never_comes_live_and_its_part_is_answered_at_the_deadline() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    let mut bench = Bench::new(broker.port);
    // No machine makes the model's input of 48 million pixels in 40 milliseconds.
    let file = bench.path("frames").join("large.raw");
    std::fs::write(file, vec![128u8; 8_000 * 6_000]).unwrap();
    bench.camera(
        "format = \"raw\"\nwidth = 8000\nheight = 6000\npixel_format = \"Mono8\"\n\
         mode = \"loop\"\ntrigger = \"software\"\n[trigger]\nmode = \"single\"\n\
         arm_wait_ms_max = 30000",
    );
    bench.limits("latency_ms_max = 40\nqueue_frames = 1");
    let _station = bench.run();
    plc.wait_ready();
    // A busy disk may send an answer to `hist`, and on a busy machine the time may be over before
    // anybody looks at the picture; then the next part has to show it.
    let live = |part: &str| {
        let all = plc.heard.on("crr/s1/verdict");
        all.iter().map(Seen::of).find(|v| v.text("p") == part)
    };
    let late = |part: &str| {
        let all = plc.heard.on("crr/s1/hist");
        all.iter().map(Seen::of).find(|v| v.text("p") == part && v.number("f") == 1)
    };
    let shown = (0..10).any(|i| {
        let part = format!("L-{i}");
        assert_eq!(plc.code(&format!(r#""cmd":"trigger","t":{i},"p":"{part}""#)), 0);
        plc.wait_verdict(&part);
        let end = Instant::now() + Duration::from_secs(5);
        while late(&part).is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (Some(result), Some(answer)) = (late(&part), live(&part)) else { return false };
        assert_eq!(result.number("o"), 2, "what was found drives nothing");
        assert_eq!((outcome(&answer), answer.number("f")), ((2, 6), 0), "{answer:?}");
        true
    });
    assert!(shown, "no answer came live at its deadline");
    let all = plc.heard.on("crr/s1/verdict");
    assert!(all.iter().map(Seen::of).all(|v| v.number("f") == 0), "late results are not live");
}

#[test]
fn recipe_mode_test_run_and_acknowledge_do_what_they_say() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    let bench = triggered(broker.port, 300);
    let _station = bench.run();
    plc.wait_ready();
    let trigger = |part: &str, extra: &str| {
        assert_eq!(plc.code(&format!(r#""cmd":"trigger","t":1,"p":"{part}"{extra}"#)), 0);
        plc.wait_verdict(part)
    };
    // The new state is there before the answer.
    assert_eq!(plc.code(r#""cmd":"recipe","r":8"#), 0);
    let told = state(&plc.heard).unwrap();
    assert_eq!((told.number("r"), told.number("ready")), (8, 1), "no moment without ready");
    assert_eq!(trigger("R-8", "").number("r"), 8);
    assert_eq!(trigger("R-7", ",\"r\":7").number("r"), 7);
    assert_eq!(plc.code(r#""cmd":"recipe","r":99"#), 5);
    assert_eq!(plc.code(r#""cmd":"trigger","t":1,"p":"X","r":99"#), 5);
    assert_eq!(plc.code(r#""cmd":"test","n":2"#), 0);
    let outcomes = ["T-1", "T-2", "T-3"].map(|part| trigger(part, "").number("o"));
    assert_eq!((&outcomes[..2], outcomes[2] == 3), (&[3, 3][..], false));
    // An armed part whose picture does not come.
    assert_eq!(plc.code(r#""cmd":"arm","t":1,"p":"GONE""#), 0);
    assert_eq!(outcome(&plc.wait_verdict("GONE")), (2, 7));
    assert_eq!(plc.code(r#""cmd":"mode","m":"stop""#), 0);
    let told = state(&plc.heard).unwrap();
    assert_eq!((told.number("ready"), told.number("m"), told.text("st")), (0, 0, "Initialized"));
    assert_eq!(plc.code(r#""cmd":"trigger","t":1,"p":"X""#), 7);
    assert_eq!(plc.code(r#""cmd":"mode","m":"single""#), 0);
    assert_eq!(plc.code(r#""cmd":"acknowledge""#), 0);
    assert_eq!(state(&plc.heard).unwrap().number("miss"), 0);
    assert_eq!(plc.verdict("X"), None);
}

#[test]
fn verdicts_are_sent_again_as_they_were() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    let mut bench = Bench::new(broker.port);
    bench.pictures(30);
    bench.camera("rate_hz = 50\nmode = \"loop\"");
    // Two epochs: the first is asked for in the second.
    let station = bench.run();
    wait_for("verdicts", || verdicts(&plc.heard).len() >= 60);
    station.signal("TERM");
    station.end();
    let _station = bench.run();
    wait_for("the second epoch", || verdicts(&plc.heard).contains_key(&(2, 20)));
    let before = plc.heard.count("crr/s1/hist");
    assert_eq!(plc.code(r#""cmd":"replay","e":1,"q0":11,"q1":40"#), 0);
    wait_for("the end of the replay", || !plc.events("replayed").is_empty());
    let over = &plc.events("replayed")[0];
    let range = ["n", "e0", "q0", "e1", "q1"].map(|key| over.number(key));
    assert_eq!(range, [30, 1, 11, 1, 40]);
    let again: Vec<Seen> = plc.heard.on("crr/s1/hist")[before..].iter().map(Seen::of).collect();
    let numbers: Vec<(i64, i64)> = again.iter().map(|v| (v.number("e"), v.number("q"))).collect();
    assert_eq!(numbers, (11..=40).map(|q| (1, q)).collect::<Vec<_>>());
    // `verdicts` holds both copies of each against each other.
    assert!(verdicts(&plc.heard).len() > 80);
    // What is not there is told as such, and the newest are found as well.
    assert_eq!(plc.code(r#""cmd":"replay","e":1,"q0":50000,"q1":50010"#), 0);
    wait_for("the empty replay", || plc.events("replayed").len() == 2);
    assert_eq!(plc.events("replayed")[1].number("n"), 0);
    assert_eq!(plc.code(r#""cmd":"replay","e":2,"q0":1,"q1":5"#), 0);
    wait_for("the replay of this epoch", || plc.events("replayed").len() == 3);
    assert_eq!(plc.events("replayed")[2].number("n"), 5);
    assert_eq!(plc.code(r#""cmd":"replay","e":9,"q0":1,"q1":5"#), 8);
}

#[test]
fn what_consumers_confirmed_is_known_after_restart_and_kill() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    let mut bench = Bench::new(broker.port);
    bench.pictures(6);
    bench.camera("rate_hz = 100\nmode = \"loop\"");
    let config = bench.config_with("health_s = 1");
    let told = |epoch: i64| {
        let all = plc.heard.on("crr/s1/health");
        let newest = all.iter().map(Seen::of).rfind(|seen| seen.number("e") == epoch);
        newest.map(|seen| seen.fields["ack"].clone())
    };
    let both = serde_json::json!([["-", 1, 10], ["mes", 1, 20]]);
    let station = bench.run_text(&config);
    wait_for("verdicts to confirm", || verdicts(&plc.heard).len() > 30);
    plc.publish(ACK, false, r#"{"v":1,"e":1,"q":10}"#);
    plc.publish(ACK, false, r#"{"v":1,"e":1,"q":20,"c":"mes"}"#);
    plc.publish(ACK, false, r#"{"v":1,"e":1,"q":5,"c":"mes"}"#);
    wait_for("both receipts", || told(1).as_ref() == Some(&both));
    station.signal("TERM");
    station.end();
    assert_eq!(confirmed(&bench), ["up to e=1 q=10 by -", "up to e=1 q=20 by mes"]);

    let station = bench.run_text(&config);
    wait_for("the receipts of the run before", || told(2).as_ref() == Some(&both));
    plc.publish(ACK, false, r#"{"v":1,"e":2,"q":1,"c":"mes"}"#);
    // It rides along with the rows to the database.
    wait_for("the receipt on disk", || confirmed(&bench)[1] == "up to e=2 q=1 by mes");
    station.kill();
    let _station = bench.run_text(&config);
    let newer = serde_json::json!([["-", 1, 10], ["mes", 2, 1]]);
    wait_for("the receipts after a kill", || told(3).as_ref() == Some(&newer));
}

/// What `crrd journal stats` says of consumers.
fn confirmed(bench: &Bench) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .args(["journal", "stats", "--state-dir"])
        .arg(bench.path("state"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("confirmed"));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn malformed_retained_repeated_and_flooding_commands_are_answered_and_do_no_harm() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    // Kept by the broker from another time.
    plc.publish(CMD, true, r#"{"v":1,"id":900,"cmd":"mode","m":"stop"}"#);
    wait_for("the broker to have it", || plc.delivered.load(Ordering::SeqCst) == 1);
    let bench = triggered(broker.port, 30_000);
    let _station = bench.run();
    wait_for("its refusal", || !plc.answers(900).is_empty());
    assert_eq!((plc.answers(900)[0].number("ok"), plc.answers(900)[0].number("k")), (0, 9));
    plc.wait_ready();
    assert_eq!(state(&plc.heard).unwrap().number("m"), 2);

    assert_eq!(plc.code(r#""cmd":"dance""#), 2);
    assert_eq!(plc.code(r#""cmd":"arm","t":1"#), 1);
    for nonsense in ["", "nonsense", &"x".repeat(5_000)] {
        let before = plc.answers(0).len();
        plc.publish(CMD, false, nonsense);
        wait_for("an answer to nonsense", || plc.answers(0).len() == before + 1);
        assert_eq!(plc.answers(0)[before].number("k"), 1);
    }
    // The transport delivers twice: one part, two answers.
    let command = r#"{"v":1,"id":901,"cmd":"trigger","t":5,"p":"TWICE"}"#;
    plc.publish(CMD, false, command);
    plc.publish(CMD, false, command);
    wait_for("both answers", || plc.answers(901).len() == 2);
    assert_eq!(plc.answers(901)[0], plc.answers(901)[1]);
    let once = plc.wait_verdict("TWICE");
    assert_eq!(once.number("q"), plc.answers(901)[0].number("q"));

    // A flood. Answers are dropped when they find no room, so only some of them are sure to come.
    let codes = || -> BTreeSet<i64> { plc.answers(903).iter().map(|a| a.number("k")).collect() };
    wait_for("the flood to be called too fast", || {
        for _ in 0..150 {
            plc.publish(CMD, false, r#"{"v":1,"id":902,"cmd":"test","n":0}"#);
            plc.publish(CMD, false, r#"{"v":1,"id":903,"cmd":"dance"}"#);
        }
        std::thread::sleep(Duration::from_millis(100));
        codes().contains(&6)
    });
    assert!(codes().is_subset(&[2, 6].into()), "{:?}", codes());
    // Once it is over and the bucket fills again, nothing was harmed.
    wait_for("a command to be taken again", || {
        std::thread::sleep(Duration::from_millis(200));
        plc.code(r#""cmd":"acknowledge""#) == 0
    });
    assert_eq!(plc.code(r#""cmd":"trigger","t":6,"p":"AFTER""#), 0);
    plc.wait_verdict("AFTER");
    let parts: Vec<String> =
        verdicts(&plc.heard).values().map(|v| v.text("p").to_owned()).collect();
    assert_eq!(parts, ["TWICE", "AFTER"], "one verdict a part, and no other part");
}

#[test]
fn a_station_killed_between_arming_and_picture_passes_nothing() {
    let Some(broker) = Broker::start() else { return };
    let plc = Plc::start(broker.port);
    // Its time is not over before the station is killed, and would not be over in the next one.
    let bench = triggered(broker.port, 600_000);
    let station = bench.run();
    plc.wait_ready();
    let armed = plc.ask(r#""cmd":"arm","t":1,"p":"ORPHAN""#);
    assert_eq!((armed.number("ok"), armed.number("e")), (1, 1));
    station.kill();
    wait_for("the last will", || state(&plc.heard).is_some_and(|s| s.number("online") == 0));
    let station = bench.run();
    wait_for("the new epoch", || {
        state(&plc.heard).is_some_and(|s| s.number("e") == 2 && s.number("online") == 1)
    });
    plc.wait_ready();
    let next = plc.ask(r#""cmd":"trigger","t":2,"p":"NEXT""#);
    assert_eq!((next.number("ok"), next.number("e")), (1, 2));
    assert_eq!(outcome(&plc.wait_verdict("NEXT")), (1, 0));
    // A station that ends answers every part that waits, as it does with this one.
    let last = plc.ask(r#""cmd":"arm","t":3,"p":"LAST""#);
    assert_eq!((last.number("ok"), last.number("e")), (1, 2));
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_ne!(outcome(&plc.wait_verdict("LAST")).0, 1);
    assert_eq!(plc.verdict("ORPHAN"), None, "the new station knows nothing of it");
    assert_eq!(verdicts(&plc.heard).len(), 2);
}
