//! Two cameras on one station: one answer a part, from both views.

use std::time::Instant;

use rumqttc::{Client, MqttOptions, QoS};

use crate::HOME;
use crate::broker::{Broker, Subscriber, wait_for};
use crate::fake::Fake;
use crate::net::alone;
use crate::station::{Bench, Seen, bad_part, state, verdicts};
use crate::support::standin;

const OTHER: &str = "10.77.0.2";
const PARTS: u32 = 12;

/// Triggered by the PLC; both look for a trigger 25 times a second.
fn cameras() -> String {
    let camera = |name: &str, address: &str| {
        format!(
            "[[camera]]\nname = \"{name}\"\nkind = \"gige\"\ntrigger = \"software\"\n\
             [camera.gige]\ndevice = \"{address}\"\npixel_format = \"RGB8\"\nwidth = 64\nheight = 64\n"
        )
    };
    let both = camera("top", HOME) + &camera("side", OTHER);
    both + "[trigger]\nmode = \"single\"\narm_wait_ms_max = 5000\nwindow_ms_max = 1000"
}

#[test]
fn a_part_is_judged_from_both_cameras_and_one_that_is_lost_stops_the_line() {
    alone(&["10.77.0.2/24"], || {
        let Some(broker) = Broker::start() else { return };
        let watcher = Subscriber::start(broker.port);
        let bytes = standin::SIDE * standin::SIDE * 3;
        let _top = Fake::with(HOME, "GV01", bytes, vec![standin::grey()]);
        // The second camera sees a defect on every third part.
        let pictures = vec![standin::grey(), standin::grey(), bad_part()];
        let mut side = Fake::with(OTHER, "GV02", bytes, pictures);
        let bench = Bench::new(broker.port);
        let config = bench.config_with("health_s = 1");
        let config = config.replace("[camera]\nfolder = \"frames\"\nrate_hz = 0", &cameras());
        assert!(config.contains("[[camera]]"), "{config}");
        let mut station = bench.run_text(&config);
        let plc = Plc::start(broker.port);
        let ready = || state(&watcher).is_some_and(|state| state.number("ready") == 1);
        wait_for("ready", ready);
        for part in 1..=PARTS {
            plc.trigger(part);
            wait_for("the answer", || verdicts(&watcher).len() == part as usize);
        }
        for (i, seen) in verdicts(&watcher).into_values().enumerate() {
            assert_eq!(seen.number("t"), i as i64 + 1);
            let expected = if i % 3 == 2 { (0, 1, 2) } else { (1, 0, 1) };
            let told = (seen.number("o"), seen.number("k"), seen.number("f") / 256);
            assert_eq!(told, expected, "part {i}: {seen:?}");
        }
        // The mask names the camera whose picture it is.
        wait_for("the masks", || watcher.count("crr/s1/mask") >= PARTS as usize / 3);
        let mask = Seen::of(&watcher.on("crr/s1/mask")[0]);
        assert_eq!((mask.number("view"), mask.text("cn")), (2, "side"));
        health(&watcher);
        side.switch_off();
        station.wait_log("camera lost");
        let seen = Instant::now();
        wait_for("not ready", || !ready());
        assert!(seen.elapsed().as_secs() < 2, "told before the camera is let go of");
        assert_eq!(state(&watcher).unwrap().number("err"), 4, "for want of a camera");
        side.switch_on(OTHER, "GV02");
        station.wait_log("camera opened again and set up");
        wait_for("ready again", ready);
        station.signal("TERM");
        let (status, log) = station.end();
        assert_eq!(status.code(), Some(0), "{log}");
    });
}

/// Both cameras are on the health topic, and nothing was copied.
fn health(watcher: &Subscriber) {
    let delivered = |camera: &serde_json::Value| camera["ok"].as_u64() == Some(PARTS.into());
    let newest = || watcher.on("crr/s1/health").last().map(Seen::of);
    wait_for("the metrics of all parts", || {
        newest()
            .is_some_and(|health| health.fields["cam"].as_array().unwrap().iter().all(delivered))
    });
    let cameras = newest().unwrap().fields["cam"].as_array().unwrap().clone();
    let told: Vec<_> =
        cameras.iter().map(|c| (c["cn"].as_str().unwrap(), c["cp"].as_u64())).collect();
    assert_eq!(told, [("top", Some(0)), ("side", Some(0))]);
}

/// A PLC that triggers.
struct Plc(Client);

impl Plc {
    fn start(port: u16) -> Self {
        let (client, mut connection) = Client::new(MqttOptions::new("plc", "127.0.0.1", port), 16);
        let thread = std::thread::Builder::new().name("plc".into());
        thread.spawn(move || connection.iter().take_while(Result::is_ok).count()).unwrap();
        Self(client)
    }

    fn trigger(&self, part: u32) {
        let command = format!(r#"{{"v":1,"id":{part},"cmd":"trigger","t":{part},"p":"P{part}"}}"#);
        self.0.publish("crr/s1/cmd", QoS::AtLeastOnce, false, command).unwrap();
    }
}

impl Drop for Plc {
    fn drop(&mut self) {
        let _ = self.0.try_disconnect();
    }
}
