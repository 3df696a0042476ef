//! Sessions: their numbers, the primary host, the end.

use super::*;
use crate::publish::sparkplug::events::Note;
use crate::publish::sparkplug::node::CLOSE_MS_MAX;

#[test]
fn session_numbers_start_at_zero_and_grow_with_every_connect() {
    // tck-id-topics-nbirth-bdseq-increment
    let mut rig = Rig::with(None, None);
    rig.event(Event::Status(ready()));
    for expected in 0..300u64 {
        let actions = rig.connect();
        assert_eq!(bd_seq(&will(&actions)), expected % 256);
        let birth = only(&rig.event(Event::Subscribed), Verb::NBirth);
        assert_eq!(bd_seq(&birth), expected % 256);
        rig.lose();
    }
}

#[test]
fn the_number_of_a_restarted_station_follows_the_one_on_disk() {
    // tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq
    for (last, next) in [(0, 1), (41, 42), (255, 0)] {
        let actions = Rig::with(None, Some(last)).connect();
        assert_eq!(bd_seq(&will(&actions)), next);
        assert_eq!(actions[0], Action::StoreBdSeq(next as u8), "on disk before the CONNECT");
    }
}

#[test]
fn an_attempt_that_the_network_refused_was_no_connect_and_writes_no_file() {
    // tck-id-topics-nbirth-bdseq-increment: "on every new MQTT CONNECT packet"
    let mut rig = Rig::with(None, Some(4));
    rig.after(1, Event::Tick);
    for _ in 0..20 {
        rig.event(Event::Lost { connect_sent: false });
        let actions = rig.after(20_000, Event::Tick);
        assert_eq!(bd_seq(&will(&actions)), 5);
        assert_eq!(actions.len(), 1, "{actions:?}");
    }
    rig.event(Event::Lost { connect_sent: true });
    assert_eq!(bd_seq(&will(&rig.after(20_000, Event::Tick))), 6);
}

#[test]
fn reconnecting_waits_longer_and_longer_but_never_more_than_ten_seconds() {
    let mut rig = Rig::with(None, None);
    rig.after(1, Event::Tick);
    let mut waits = vec![];
    for _ in 0..12 {
        rig.event(Event::Lost { connect_sent: true });
        let mut wait = 0;
        while rig.after(50, Event::Tick).is_empty() {
            wait += 50;
        }
        waits.push(wait);
    }
    assert!(waits[0] <= 500 && waits[11] >= 4_950, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= 10_000), "{waits:?}");
}

#[test]
fn the_primary_host_is_awaited_by_its_own_topic_and_its_online_flag() {
    // tck-id-message-flow-edge-node-birth-publish-phid-wait, -phid-wait-id, -phid-wait-online,
    // tck-id-operational-behavior-edge-node-birth-sequence-wait,
    // tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs
    let mut rig = Rig::with(Some(HOST), None);
    rig.event(Event::Status(ready()));
    let actions = rig.connect();
    let topics = [NCMD, DCMD, STATE].map(str::to_owned).to_vec();
    assert_eq!(*actions.last().unwrap(), Action::Subscribe(topics));
    assert_eq!(rig.event(Event::Subscribed), [Action::Tell(Note::AwaitingHost)]);
    let online = b"{\"online\":true,\"timestamp\":1}".to_vec();
    for other in ["spBv1.0/STATE/other", "STATE/scada", "spBv1.0/STATE/scada/x"] {
        assert!(rig.message(other, online.clone()).is_empty(), "{other}");
    }
    assert!(rig.state(false, 5).is_empty());
    assert!(rig.message(STATE, b"ONLINE".to_vec()).is_empty(), "the form of Sparkplug 2");
    assert!(rig.state(true, 4).is_empty(), "older than the offline before");
    assert_eq!(verbs(&rig.state(true, 5)), [Verb::NBirth, Verb::DBirth]);
}

#[test]
fn a_retained_state_may_come_before_the_answer_to_the_subscription() {
    let mut rig = Rig::with(Some(HOST), None);
    rig.event(Event::Status(ready()));
    rig.connect();
    assert!(rig.state(true, 5).is_empty());
    assert_eq!(verbs(&rig.event(Event::Subscribed)), [Verb::NBirth, Verb::DBirth]);
}

#[test]
fn an_offline_host_ends_the_session_with_ndeath_and_disconnect_and_a_new_one_waits_for_it() {
    // tck-id-message-flow-edge-node-birth-publish-phid-offline,
    // tck-id-operational-behavior-edge-node-termination-host-offline,
    // tck-id-operational-behavior-edge-node-termination-host-offline-reconnect,
    // tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath,
    // tck-id-operational-behavior-edge-node-intentional-disconnect-packet,
    // tck-id-payloads-ndeath-will-message-publisher
    let mut rig = Rig::born_with_host();
    let actions = rig.state(false, UNIX_MS);
    assert_eq!(actions[0], Action::Tell(Note::HostOffline));
    assert_eq!(bd_seq(&only(&actions, Verb::NDeath)), 0);
    assert_eq!(actions[2..], [Action::Close]);
    assert!(rig.part().is_empty(), "kept");
    rig.lose();
    let actions = rig.connect();
    assert_eq!(bd_seq(&will(&actions)), 1);
    rig.event(Event::Subscribed);
    assert!(rig.state(false, UNIX_MS).is_empty(), "the retained message");
    assert!(rig.part().is_empty(), "kept");
    let birth = only(&rig.state(true, UNIX_MS + 9), Verb::NBirth);
    assert_eq!(bd_seq(&birth), 1);
    let late = published(&rig.after(50, Event::Tick));
    assert_eq!(late.len(), 2, "both parts that it missed");
    let historical = |p: &Payload| p.metrics.iter().all(|m| m.is_historical == Some(true));
    assert!(late.iter().all(|(verb, p)| *verb == Verb::DData && historical(p)));
}

#[test]
fn an_offline_word_older_than_the_online_one_changes_nothing() {
    // tck-id-operational-behavior-edge-node-termination-host-offline-timestamp
    let mut rig = Rig::born_with_host();
    assert!(rig.state(false, UNIX_MS - 1).is_empty());
    assert_eq!(verbs(&rig.part()), [Verb::DData]);
}

#[test]
fn a_disconnect_that_is_never_sent_is_given_up() {
    let mut rig = Rig::born_with_host();
    rig.state(false, UNIX_MS);
    assert!(rig.after(CLOSE_MS_MAX - 1, Event::Tick).is_empty());
    assert_eq!(rig.after(1, Event::Tick), [Action::Abandon]);
    rig.lose();
    assert_eq!(bd_seq(&will(&rig.connect())), 1);
}

#[test]
fn a_station_that_ends_says_so_and_comes_back_no_more() {
    // tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath,
    // tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311
    let mut rig = Rig::born();
    let actions = rig.event(Event::Stop);
    assert_eq!(verbs(&actions), [Verb::NDeath]);
    assert_eq!(actions[1], Action::Close);
    assert!(!rig.node.has_ended());
    rig.lose();
    assert!(rig.node.has_ended());
    assert!(rig.after(100_000, Event::Tick).is_empty());
}

#[test]
fn a_station_that_ends_before_its_birth_leaves_the_word_to_its_last_will() {
    // tck-id-principles-birth-certificates-order: nothing is published before a birth
    let mut waiting = Rig::with(Some(HOST), None);
    waiting.event(Event::Stop);
    assert!(waiting.node.has_ended());
    let mut up = Rig::with(Some(HOST), None);
    up.connect();
    up.event(Event::Subscribed);
    assert_eq!(up.event(Event::Stop), [Action::Abandon]);
    up.lose();
    assert!(up.node.has_ended());
}
