//! The happy path: parts in, verdicts out, the end in order.

use crrd::message::{DecodedMask, decode_mask};

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, Seen, bad_part, is_bad, state, verdicts};

const PARTS: usize = 60;

/// Keys of the live verdict in the order PLC parsers may rely on.
const KEYS: [&str; 16] =
    ["v", "q", "e", "t", "p", "r", "c", "o", "k", "s", "h", "pv", "n", "l", "a", "f"];

#[test]
fn every_part_gets_exactly_one_valid_verdict_and_the_station_leaves_in_order() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    bench.pictures(PARTS);
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");

    wait_for("all verdicts", || verdicts(&watcher).len() >= PARTS);
    let all = verdicts(&watcher);
    let numbers: Vec<(i64, i64)> = all.keys().copied().collect();
    let expected: Vec<(i64, i64)> = (1..=PARTS as i64).map(|q| (1, q)).collect();
    assert_eq!(numbers, expected, "each result number once");
    for (i, seen) in all.values().enumerate() {
        let (outcome, reason) = if is_bad(i) { (0, 1) } else { (1, 0) };
        assert_eq!((seen.number("o"), seen.number("k")), (outcome, reason), "part {i}");
        assert_eq!((seen.number("t"), seen.number("r")), (i as i64 + 1, 7));
        let kind = if is_bad(i) { "bad" } else { "good" };
        assert_eq!(seen.text("p"), format!("{i:03}-{kind}"));
        assert_eq!(seen.number("h"), 500, "the limit x 10 000");
        assert_eq!(seen.number("s") > 500, is_bad(i));
    }
    check_payloads(&watcher);
    check_masks(&watcher);

    // The last word is the retained state of a station that left in order.
    wait_for("the farewell", || state(&watcher).is_some_and(|s| s.number("online") == 0));
    let late = Subscriber::start(broker.port);
    wait_for("the retained state", || state(&late).is_some());
    assert_eq!(state(&late).unwrap().number("ready"), 0);
    for line in ["crrd-capture ended", "crrd-inspect ended", "crrd-journal ended", "done"] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
    assert!(log.contains("delivered=true"), "{log}");
}

/// Every message, not only the decoded fields: size, characters, order of the keys.
fn check_payloads(watcher: &Subscriber) {
    for message in watcher.on("crr/s1/verdict") {
        let text = String::from_utf8(message.payload).unwrap();
        assert!(text.len() <= 200 && text.is_ascii() && !text.contains(' '), "{text}");
        let mut at = 0;
        for key in KEYS {
            let key = format!("\"{key}\":");
            at += text[at..].find(&key).unwrap_or_else(|| panic!("{key} in order in {text}"));
        }
        assert!(!message.retained);
    }
    let last = watcher.on("crr/s1/last");
    assert_eq!(Seen::of(last.last().unwrap()).number("q"), PARTS as i64);
}

/// A mask for each rejected part and for no other, with the square where it was painted.
fn check_masks(watcher: &Subscriber) {
    let bad = (0..PARTS).filter(|i| is_bad(*i)).count();
    wait_for("the masks", || watcher.count("crr/s1/mask") >= bad);
    let masks = watcher.on("crr/s1/mask");
    assert_eq!(masks.len(), bad);
    // Where the painted part differs from grey, a sure part of the defect.
    let painted: Vec<usize> =
        bad_part().chunks(3).enumerate().filter(|(_, p)| p[0] == 255).map(|(i, _)| i).collect();
    for message in masks {
        let mask: DecodedMask = decode_mask(&message.payload).unwrap();
        let (width, _, pixels) = mask.mask.unwrap();
        assert_eq!(width, 64, "the map's resolution");
        let set = |i: &usize| pixels[*i] != 0;
        assert!(painted.iter().all(set), "the square is in the mask");
        let marked = pixels.iter().filter(|p| **p != 0).count();
        assert!(marked < 4 * painted.len(), "and little else: {marked}");
    }
}
