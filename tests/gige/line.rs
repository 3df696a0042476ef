//! The whole line: a fake camera, the real `crrd run`, a broker, and an answer for every part.

use crate::HOME;
use crate::broker::{Broker, Subscriber, wait_for};
use crate::fake::Fake;
use crate::net::alone;
use crate::station::{Bench, bad_part, verdicts};
use crate::support::standin;

/// Parts that must be answered before the camera loses its power, and after it came back.
const PARTS: usize = 40;

pub(crate) const CAMERA: &str = r#"kind = "gige"
[camera.gige]
device = "127.0.0.1"
pixel_format = "RGB8"
width = 64
height = 64
features = { AcquisitionFrameRate = 20.0 }"#;

#[test]
fn every_frame_of_the_camera_is_answered_and_a_power_cut_is_survived() {
    alone(&[], || {
        let Some(broker) = Broker::start() else { return };
        let watcher = Subscriber::start(broker.port);
        // Every third part has a defect.
        let pictures = vec![standin::grey(), standin::grey(), bad_part()];
        let bytes = standin::SIDE * standin::SIDE * 3;
        let mut fake = Fake::with(HOME, "GV01", bytes, pictures);
        let bench = Bench::new(broker.port);
        let config = bench.config().replace("folder = \"frames\"\nrate_hz = 0", CAMERA);
        assert!(config.contains("kind = \"gige\""), "{config}");
        let mut station = bench.run_text(&config);
        wait_for("the first parts", || verdicts(&watcher).len() >= PARTS);
        fake.switch_off();
        station.wait_log("camera lost");
        let before = verdicts(&watcher).len();
        fake.switch_on(HOME, "GV01");
        station.wait_log("camera opened again and set up");
        wait_for("parts after the cut", || verdicts(&watcher).len() >= before + PARTS);
        station.signal("TERM");
        let (status, log) = station.end();
        assert_eq!(status.code(), Some(0), "{log}");
        let all = verdicts(&watcher);
        for (i, (number, _)) in all.iter().enumerate() {
            assert_eq!(*number, (1, i as i64 + 1), "each part once");
        }
        // Good and bad follow each other as the camera showed them; 0 is REJECT, 1 is PASS.
        let outcomes: Vec<_> =
            all.values().map(|seen| (seen.number("o"), seen.number("k"))).collect();
        let told = |kind| outcomes.iter().filter(|outcome| **outcome == kind).count();
        let (pass, reject) = (told((1, 0)), told((0, 1)));
        assert!(pass + reject >= 2 * PARTS, "{outcomes:?}");
        assert!((2 * reject).abs_diff(pass) <= 6, "{pass} passed, {reject} rejected");
        for three in outcomes[..PARTS].windows(3) {
            assert_eq!(three.iter().filter(|o| **o == (0, 1)).count(), 1, "{outcomes:?}");
        }
    });
}
