//! Topics, births, deaths and rebirths.

use super::*;
use crate::publish::sparkplug::events::Topics;
use crate::publish::sparkplug::metrics::{DEVICE, NODE};

#[test]
fn topics_are_namespace_group_verb_edge_and_device_for_device_verbs_only() {
    // tck-id-topic-structure, tck-id-topic-structure-namespace-a,
    // tck-id-topic-structure-namespace-device-id-associated-message-types,
    // tck-id-topic-structure-namespace-device-id-non-associated-message-types,
    // tck-id-topics-nbirth-topic, tck-id-topics-ndata-topic, tck-id-topics-ndeath-topic,
    // tck-id-topics-dbirth-topic, tck-id-topics-ddata-topic, tck-id-topics-ddeath-topic,
    // tck-id-message-flow-edge-node-birth-publish-will-message-topic,
    // tck-id-message-flow-edge-node-birth-publish-nbirth-topic,
    // tck-id-message-flow-device-birth-publish-dbirth-topic,
    // tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic
    let topics = Topics::new(&settings(None).names);
    for (verb, topic) in [
        (Verb::NBirth, "spBv1.0/hall2/NBIRTH/line1"),
        (Verb::NData, "spBv1.0/hall2/NDATA/line1"),
        (Verb::NDeath, "spBv1.0/hall2/NDEATH/line1"),
        (Verb::DBirth, "spBv1.0/hall2/DBIRTH/line1/camera"),
        (Verb::DData, "spBv1.0/hall2/DDATA/line1/camera"),
        (Verb::DDeath, "spBv1.0/hall2/DDEATH/line1/camera"),
    ] {
        assert_eq!(topics.of(verb), topic);
    }
}

#[test]
fn births_and_data_have_no_acknowledgement_the_death_has_and_nothing_is_retained() {
    // tck-id-topics-nbirth-mqtt, tck-id-topics-ndata-mqtt, tck-id-topics-dbirth-mqtt,
    // tck-id-topics-ddata-mqtt, tck-id-topics-ddeath-mqtt, tck-id-payloads-nbirth-qos,
    // tck-id-payloads-nbirth-retain, tck-id-payloads-dbirth-qos, tck-id-payloads-ddata-qos,
    // tck-id-message-flow-edge-node-birth-publish-nbirth-qos,
    // tck-id-payloads-ndeath-will-message-qos, tck-id-payloads-ndeath-will-message-retain,
    // tck-id-message-flow-edge-node-birth-publish-will-message-qos
    for verb in [Verb::NBirth, Verb::NData, Verb::DBirth, Verb::DData, Verb::DDeath] {
        assert_eq!(verb.qos(), 0, "{verb:?}");
    }
    assert_eq!(Verb::NDeath.qos(), 1);
    const { assert!(!Verb::RETAIN) };
}

#[test]
fn commands_of_node_and_device_are_subscribed_before_anything_is_published() {
    // tck-id-message-flow-edge-node-ncmd-subscribe, tck-id-message-flow-device-dcmd-subscribe,
    // tck-id-topics-ncmd-topic, tck-id-topics-dcmd-topic
    let mut rig = Rig::with(None, None);
    rig.event(Event::Status(ready()));
    let actions = rig.connect();
    assert_eq!(*actions.last().unwrap(), Action::Subscribe(vec![NCMD.into(), DCMD.into()]));
    assert!(published(&actions).is_empty());
    assert_eq!(verbs(&rig.event(Event::Subscribed)), [Verb::NBirth, Verb::DBirth]);
}

#[test]
fn the_node_birth_has_every_tag_with_its_value_and_sequence_number_zero() {
    // tck-id-payloads-nbirth-seq, tck-id-payloads-sequence-num-req-nbirth,
    // tck-id-topics-nbirth-metric-reqs, tck-id-topics-nbirth-metrics,
    // tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq,
    // tck-id-operational-behavior-data-commands-rebirth-name,
    // tck-id-operational-behavior-data-commands-rebirth-value
    let mut rig = Rig::with(None, None);
    let status = Status { counters: Counters { parts: 9, ..Counters::default() }, ..ready() };
    rig.event(Event::Status(status));
    rig.connect();
    let birth = only(&rig.event(Event::Subscribed), Verb::NBirth);
    assert_eq!(birth.seq, Some(0));
    let names: Vec<_> = birth.metrics.iter().map(|m| m.name.clone().unwrap()).collect();
    let expected = ["bdSeq", "Node Control/Rebirth"].into_iter();
    let expected: Vec<_> = expected.chain(NODE.iter().map(|tag| tag.name)).collect();
    assert_eq!(names, expected);
    let value = |name| metric(&birth, name).value.clone();
    assert_eq!(value("Station/Ready"), Some(Value::Boolean(true)));
    assert_eq!(value("Station/State"), Some(Value::Text("ContinuousExecution".into())));
    assert_eq!(value("Station/Recipe"), Some(Value::Int(7)));
    assert_eq!(value("Station/Calibration"), Some(Value::Text("000000ab".into())));
    assert_eq!(value("Station/Engine SHA-256"), Some(Value::Text("c0ffee".into())));
    assert_eq!(value("Station/Version"), Some(Value::Text("1.2.3".into())));
    assert_eq!(value("Counters/Parts"), Some(Value::Long(9)));
}

#[test]
fn the_device_birth_follows_at_once_and_is_empty_handed_before_the_first_part() {
    // tck-id-payloads-dbirth-order, tck-id-payloads-dbirth-seq,
    // tck-id-message-flow-device-birth-publish-dbirth-payload-seq,
    // tck-id-operational-behavior-data-publish-dbirth-values
    let mut rig = Rig::with(None, None);
    rig.event(Event::Status(ready()));
    rig.connect();
    let birth = only(&rig.event(Event::Subscribed), Verb::DBirth);
    assert_eq!(birth.seq, Some(1));
    assert_eq!(birth.metrics.len(), DEVICE.len());
    assert!(birth.metrics.iter().all(|m| m.is_null == Some(true) && m.value.is_none()));
    let unit = metric(&birth, "Verdict/Latency").properties.clone().unwrap();
    assert_eq!((unit.keys[0].as_str(), unit.values[0].text.as_deref()), ("engUnit", Some("ms")));
}

#[test]
fn a_birth_waits_for_the_station_to_say_how_it_is() {
    // tck-id-operational-behavior-data-publish-nbirth-values
    let mut rig = Rig::with(None, None);
    rig.connect();
    assert!(rig.event(Event::Subscribed).is_empty());
    assert_eq!(verbs(&rig.event(Event::Status(ready()))), [Verb::NBirth, Verb::DBirth]);
}

#[test]
fn a_rebirth_repeats_all_births_with_the_same_session_number_and_from_zero() {
    // tck-id-operational-behavior-data-commands-rebirth-action-1, -action-2, -action-3
    let mut rig = Rig::born();
    for _ in 0..3 {
        rig.part();
    }
    let actions = rig.rebirth();
    assert_eq!(verbs(&actions), [Verb::NBirth, Verb::DBirth]);
    let (node, device) = (only(&actions, Verb::NBirth), only(&actions, Verb::DBirth));
    assert_eq!((bd_seq(&node), node.seq, device.seq), (0, Some(0), Some(1)));
    assert_eq!(metric(&device, "Part/Sequence").value, Some(Value::Long(3)), "as it is now");
    assert_eq!(published(&rig.part())[0].1.seq, Some(2));
}

#[test]
fn a_rebirth_before_the_birth_changes_nothing() {
    // tck-id-principles-birth-certificates-order
    let mut rig = Rig::with(Some(HOST), None);
    rig.event(Event::Status(ready()));
    rig.connect();
    rig.event(Event::Subscribed);
    assert!(rig.rebirth().is_empty());
    assert_eq!(verbs(&rig.state(true, 5)), [Verb::NBirth, Verb::DBirth]);
}

#[test]
fn anything_but_a_rebirth_is_refused_counted_and_told() {
    // tck-id-operational-behavior-data-commands-ncmd-rebirth-verb, -name and -value
    let mut rig = Rig::born();
    let yes = || Value::Boolean(true);
    let mut refused = 0;
    let writes = [
        (DCMD, "Node Control/Rebirth", yes()),
        (DCMD, "Verdict/Outcome", Value::Text("Pass".into())),
        (NCMD, "Station/Ready", yes()),
        (NCMD, "Node Control/Reboot", yes()),
        (NCMD, "bdSeq", Value::Long(5)),
    ];
    for (topic, name, value) in writes {
        refused += 1;
        let actions = rig.command(topic, name, value);
        assert_eq!(actions, [Action::Tell(super::super::events::Note::Refused(refused))], "{name}");
    }
    for payload in [b"garbage".to_vec(), vec![0xff; 100]] {
        refused += 1;
        assert!(published(&rig.message(NCMD, payload)).is_empty());
    }
    // A rebirth that says no, or says it in another type, is none.
    let no = rig.command(NCMD, "Node Control/Rebirth", Value::Boolean(false));
    let one = rig.command(NCMD, "Node Control/Rebirth", Value::Int(1));
    assert!(no.is_empty() && one.is_empty());
    let told = only(&rig.after(1_000, Event::Tick), Verb::NData);
    let count = told.metrics.iter().find(|m| m.alias == Some(18)).unwrap();
    assert_eq!(count.value, Some(Value::Long(refused)));
}

#[test]
fn the_device_dies_with_the_camera_and_is_born_again_with_it() {
    // tck-id-operational-behavior-device-ddeath, tck-id-topics-ddeath-seq-num,
    // tck-id-payloads-ddeath-timestamp, tck-id-payloads-ddeath-seq, tck-id-payloads-ddeath-seq-inc
    let mut rig = Rig::born();
    let actions = rig.event(Event::Status(blind()));
    assert_eq!(verbs(&actions), [Verb::NData, Verb::DDeath]);
    let death = only(&actions, Verb::DDeath);
    assert_eq!((death.seq, death.metrics.len()), (Some(3), 0));
    assert!(rig.part().is_empty(), "no data of a dead device");
    // Nothing is known of the camera while the journal is the first thing that is missing.
    let unknown = Status { missing: "journal", camera: None, ..blind() };
    assert_eq!(verbs(&rig.event(Event::Status(unknown))), [Verb::NData]);
    let actions = rig.event(Event::Status(ready()));
    assert_eq!(verbs(&actions), [Verb::NData, Verb::DBirth]);
    let late = only(&rig.after(50, Event::Tick), Verb::DData);
    assert!(late.metrics.iter().all(|m| m.is_historical == Some(true)));
}

#[test]
fn a_station_without_a_camera_is_born_without_a_device() {
    let mut rig = Rig::with(None, None);
    rig.event(Event::Status(blind()));
    rig.connect();
    assert_eq!(verbs(&rig.event(Event::Subscribed)), [Verb::NBirth]);
    assert_eq!(verbs(&rig.rebirth()), [Verb::NBirth]);
    assert_eq!(verbs(&rig.event(Event::Status(ready()))), [Verb::NData, Verb::DBirth]);
}
