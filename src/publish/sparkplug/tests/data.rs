//! Data: live parts, parts told late, the station's own tags, bounds.

use super::*;
use crate::publish::sparkplug::metrics::{DEVICE, NODE};
use crate::publish::sparkplug::node::{COUNTERS_EVERY_MS, HISTORY_MAX, HISTORY_PER_TICK};

fn told(payload: &Payload, name: &str) -> Option<Value> {
    let tag = NODE.iter().chain(&DEVICE).find(|tag| tag.name == name).unwrap();
    let found = payload.metrics.iter().find(|m| m.alias == Some(tag.alias));
    found.unwrap_or_else(|| panic!("no {name} in {payload:?}")).value.clone()
}

fn sequence(payload: &Payload) -> u32 {
    match told(payload, "Part/Sequence") {
        Some(Value::Long(seq)) => seq as u32,
        other => panic!("sequence is {other:?}"),
    }
}

fn is_historical(payload: &Payload) -> bool {
    let flags: Vec<_> = payload.metrics.iter().map(|m| m.is_historical == Some(true)).collect();
    assert!(flags.windows(2).all(|pair| pair[0] == pair[1]), "a part is all late or all live");
    flags[0]
}

#[test]
fn a_part_is_one_message_with_all_of_its_tags() {
    // tck-id-topics-ddata-payload, tck-id-payloads-ddata-seq, tck-id-payloads-ddata-timestamp
    let mut rig = Rig::born();
    let actions = rig.part();
    assert_eq!(verbs(&actions), [Verb::DData]);
    let data = only(&actions, Verb::DData);
    assert_eq!((data.seq, data.metrics.len()), (Some(2), DEVICE.len()));
    assert!(!is_historical(&data));
    let text = |value: &str| Some(Value::Text(value.to_owned()));
    for (name, value) in [
        ("Part/Id", text("P-1")),
        ("Part/Trigger", Some(Value::Long(1001))),
        ("Part/Recipe", Some(Value::Int(7))),
        ("Part/Class", text("washer")),
        ("Part/Epoch", Some(Value::Long(3))),
        ("Part/Sequence", Some(Value::Long(1))),
        ("Part/Calibration", text("000000ab")),
        ("Verdict/Outcome", text("Invalid")),
        ("Verdict/Outcome Code", Some(Value::Int(2))),
        ("Verdict/Reason", text("Deadline")),
        ("Verdict/Reason Code", Some(Value::Int(6))),
        ("Verdict/Score", Some(Value::Float(0.25))),
        ("Verdict/Limit", Some(Value::Float(0.5))),
        ("Verdict/P Value", Some(Value::Float(0.75))),
        ("Verdict/Regions", Some(Value::Int(0))),
        ("Verdict/Latency", Some(Value::Float(12.5))),
    ] {
        assert_eq!(told(&data, name), value, "{name}");
    }
}

#[test]
fn what_a_part_does_not_have_is_null_never_a_number_that_looks_like_one() {
    // tck-id-operational-behavior-data-publish-dbirth-values
    let mut rig = Rig::born();
    let mut record = record(1);
    record.verdict = Verdict::invalid(Reason::FrameLost);
    record.class = u16::MAX;
    let data = only(&rig.event(Event::Part(Part { record, at_unix_ms: UNIX_MS })), Verb::DData);
    for name in ["Part/Class", "Verdict/Score", "Verdict/Limit", "Verdict/P Value"] {
        assert_eq!(told(&data, name), None, "{name}");
    }
    assert_eq!(told(&data, "Verdict/Reason"), Some(Value::Text("FrameLost".into())));
}

#[test]
fn a_result_that_came_after_its_part_was_answered_is_not_told_as_a_part() {
    let mut rig = Rig::born();
    let mut record = record(1);
    record.flags = crate::message::FLAG_LATE;
    assert!(rig.event(Event::Part(Part { record, at_unix_ms: UNIX_MS })).is_empty());
    rig.lose();
    rig.connect();
    rig.event(Event::Subscribed);
    assert!(rig.after(50, Event::Tick).is_empty());
}

#[test]
fn parts_of_an_outage_are_told_afterwards_as_history_in_order_with_their_own_time() {
    // is_historical: "data that is not from the current time", and not part of the live order of
    // tck-id-operational-behavior-data-publish-dbirth-order
    let mut rig = Rig::born();
    rig.part();
    rig.lose();
    let began = rig.now.unix_ms;
    for _ in 2..=25 {
        assert!(
            rig.after(100, Event::Tick)
                .iter()
                .all(|a| published(std::slice::from_ref(a)).is_empty())
        );
        assert!(published(&rig.part()).is_empty());
    }
    rig.event(Event::Lost { connect_sent: true });
    rig.connect();
    let birth = only(&rig.event(Event::Subscribed), Verb::DBirth);
    assert_eq!(metric(&birth, "Part/Sequence").value, Some(Value::Long(25)), "as it is now");
    // A live part does not wait for the history.
    let live = only(&rig.part(), Verb::DData);
    assert!(!is_historical(&live) && sequence(&live) == 26);
    let mut late = vec![];
    for _ in 0..5 {
        let datas: Vec<_> = published(&rig.after(50, Event::Tick))
            .into_iter()
            .filter_map(|(verb, payload)| (verb == Verb::DData).then_some(payload))
            .collect();
        assert!(datas.len() <= HISTORY_PER_TICK);
        late.extend(datas);
    }
    let sequences: Vec<u32> = late.iter().map(sequence).collect();
    assert_eq!(sequences, (2..=25).collect::<Vec<_>>());
    for (payload, i) in late.iter().zip(1u64..) {
        assert!(is_historical(payload));
        assert_eq!(payload.metrics[0].timestamp, Some(began + 100 * i));
    }
}

#[test]
fn a_history_that_is_full_drops_the_oldest_and_says_how_many() {
    let mut rig = Rig::with(None, None);
    rig.event(Event::Status(ready()));
    for _ in 0..HISTORY_MAX + 3 {
        rig.part();
    }
    rig.event(Event::Dropped(40));
    rig.connect();
    let birth = only(&rig.event(Event::Subscribed), Verb::NBirth);
    assert_eq!(metric(&birth, "Mirror/Parts Dropped").value, Some(Value::Long(43)));
    let first = published(&rig.after(50, Event::Tick));
    assert_eq!(sequence(&first[0].1), 4);
}

#[test]
fn a_change_of_the_station_is_told_at_once_and_alone() {
    // tck-id-topics-ndata-payload, tck-id-payloads-ndata-seq, tck-id-payloads-ndata-timestamp,
    // tck-id-principles-rbe-recommended, tck-id-operational-behavior-data-publish-nbirth-change
    let mut rig = Rig::born();
    assert!(rig.event(Event::Status(ready())).is_empty(), "nothing changed");
    let other = Status { recipe: None, calibration: 0xcd, ..ready() };
    let data = only(&rig.event(Event::Status(other)), Verb::NData);
    assert_eq!((data.seq, data.metrics.len()), (Some(2), 2));
    assert_eq!(told(&data, "Station/Recipe"), None);
    assert_eq!(data.metrics[0].is_null, Some(true));
    assert_eq!(told(&data, "Station/Calibration"), Some(Value::Text("000000cd".into())));
}

#[test]
fn counters_are_told_at_intervals_however_often_they_change() {
    // tck-id-principles-rbe-recommended
    let mut rig = Rig::born();
    let mut messages = 0;
    for parts in 1..=100 {
        let counters = Counters { parts, pass: parts, ..Counters::default() };
        let status = Status { counters, ..ready() };
        messages += published(&rig.event(Event::Status(status))).len();
        for _ in 0..2 {
            messages += published(&rig.after(50, Event::Tick)).len();
        }
    }
    assert_eq!(messages as u64, 100 * 100 / COUNTERS_EVERY_MS);
    assert!(rig.after(10 * COUNTERS_EVERY_MS, Event::Tick).is_empty(), "and not without a change");
}

#[test]
fn sequence_numbers_wrap_from_255_to_0_over_all_kinds_of_messages() {
    // tck-id-payloads-sequence-num-incrementing, tck-id-topics-ddata-seq-num,
    // tck-id-topics-ndata-seq-num, tck-id-topics-dbirth-seq, tck-id-payloads-ndata-seq-inc,
    // tck-id-payloads-ddata-seq-inc, tck-id-payloads-dbirth-seq-inc: held by the monitor
    let mut rig = Rig::born();
    let mut seen = vec![];
    for i in 0..600u64 {
        let actions = match i % 3 {
            0 => rig.event(Event::Status(Status { missed: i, ready: i % 2 == 0, ..ready() })),
            1 => rig.event(Event::Status(if i % 2 == 0 { blind() } else { ready() })),
            _ => rig.part(),
        };
        seen.extend(published(&actions).into_iter().filter_map(|(_, payload)| payload.seq));
    }
    assert!(seen.windows(2).any(|pair| pair == [255, 0]));
    assert!(seen.iter().all(|seq| *seq <= 255));
}
