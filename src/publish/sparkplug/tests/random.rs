//! Any order of events: the monitor holds every message to the specification.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Connected,
    Subscribed,
    Lost(bool),
    Part,
    Status {
        ready: bool,
        camera: Option<bool>,
        parts: u64,
    },
    State {
        online: bool,
        timestamp: u64,
    },
    Rebirth,
    Garbage(Vec<u8>),
    Dropped(u64),
    /// The process is killed and started again.
    Restart,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..3_000u64).prop_map(Step::Wait),
        6 => Just(Step::Connected),
        6 => Just(Step::Subscribed),
        2 => any::<bool>().prop_map(Step::Lost),
        8 => Just(Step::Part),
        4 => (any::<bool>(), any::<Option<bool>>(), 0..9u64)
            .prop_map(|(ready, camera, parts)| Step::Status { ready, camera, parts }),
        4 => (prop::bool::weighted(0.7), 0..6u64)
            .prop_map(|(online, timestamp)| Step::State { online, timestamp }),
        2 => Just(Step::Rebirth),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Garbage),
        1 => (0..9u64).prop_map(Step::Dropped),
        1 => Just(Step::Restart),
        1 => Just(Step::Stop),
    ]
}

fn take(rig: &mut Rig, primary: Option<&str>, stored: &mut Option<u8>, step: Step) {
    let actions = match step {
        Step::Wait(ms) => rig.after(ms, Event::Tick),
        Step::Connected => rig.event(Event::Connected),
        Step::Subscribed => rig.event(Event::Subscribed),
        Step::Lost(connect_sent) => rig.event(Event::Lost { connect_sent }),
        Step::Part => rig.part(),
        Step::Status { ready: is_ready, camera, parts } => {
            let counters = Counters { parts, ..Counters::default() };
            rig.event(Event::Status(Status { ready: is_ready, camera, counters, ..ready() }))
        }
        Step::State { online, timestamp } => rig.state(online, timestamp),
        Step::Rebirth => rig.rebirth(),
        Step::Garbage(bytes) => rig.message(NCMD, bytes),
        Step::Dropped(total) => rig.event(Event::Dropped(total)),
        Step::Stop => rig.event(Event::Stop),
        Step::Restart => {
            let parts = rig.parts;
            *rig = Rig { now: rig.now, parts, ..Rig::with(primary, *stored) };
            vec![]
        }
    };
    for action in actions {
        if let Action::StoreBdSeq(number) = action {
            *stored = Some(number);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_order_of_events_breaks_the_specification(
        awaits_host in any::<bool>(),
        last in any::<Option<u8>>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let primary = awaits_host.then_some(HOST);
        let mut rig = Rig::with(primary, last);
        let mut stored = last;
        for step in steps {
            take(&mut rig, primary, &mut stored, step);
        }
    }

    #[test]
    fn whatever_happened_a_healed_station_is_born_and_tells_its_parts(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut rig = Rig::with(Some(HOST), None);
        let mut stored = None;
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Stop)) {
            take(&mut rig, Some(HOST), &mut stored, step);
        }
        rig.event(Event::Lost { connect_sent: true });
        rig.event(Event::Status(ready()));
        rig.connect();
        rig.event(Event::Subscribed);
        rig.state(true, 1_000);
        prop_assert!(rig.monitor.is_born());
        prop_assert_eq!(verbs(&rig.part()), [Verb::DData]);
    }
}
