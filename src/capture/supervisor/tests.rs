use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn ms(at: u64) -> Nanos {
    Nanos(at * MS)
}

fn running() -> Supervisor {
    let mut s = Supervisor::default();
    assert_eq!(s.order(ms(0)), Order::Start { epoch: 1 });
    s.started();
    s
}

#[test]
fn a_lost_camera_is_started_again_after_a_pause_under_a_new_epoch() {
    let mut s = running();
    assert_eq!((s.order(ms(1)), s.state()), (Order::Read, State::Running));
    s.failed(ms(1_000), "unplugged");
    assert_eq!(s.order(ms(1_000)), Order::Pause { until: ms(1_250) });
    assert_eq!(s.order(ms(1_249)), Order::Pause { until: ms(1_250) });
    assert_eq!(s.order(ms(1_250)), Order::Start { epoch: 2 });
    s.started();
    assert_eq!(s.order(ms(1_251)), Order::Read);
    assert_eq!(s.counts().reconnects, 1);
    assert_eq!(s.cause(), Some(&Cause { text: "unplugged".into(), at: ms(1_000) }));
}

#[test]
fn the_pause_grows_until_a_frame_comes_and_not_merely_a_start() {
    let mut s = running();
    let mut now = 0;
    let mut pause = |s: &mut Supervisor| {
        s.failed(ms(now), "gone");
        let Order::Pause { until } = s.order(ms(now)) else { panic!("no pause") };
        let pause = until.since(ms(now)).0 / MS;
        now = until.0 / MS;
        assert!(matches!(s.order(until), Order::Start { .. }));
        s.started();
        pause
    };
    let pauses: Vec<u64> = (0..6).map(|_| pause(&mut s)).collect();
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000]);
    s.observe(7);
    assert_eq!(pause(&mut s), 250);
}

#[test]
fn expected_parts_without_a_frame_stall_the_camera_and_a_row_of_them_starts_it_anew() {
    let mut s = running();
    assert!(!s.unseen(ms(1), 0));
    assert_eq!(s.state(), State::Running, "no part was expected: silence is normal");
    assert!(!s.unseen(ms(2), UNSEEN_PARTS_MAX - 1));
    assert_eq!((s.state(), s.order(ms(3))), (State::Stalled, Order::Read));
    s.observe(1);
    assert_eq!(s.state(), State::Running, "a frame proves the stream");
    assert!(!s.unseen(ms(4), UNSEEN_PARTS_MAX - 1));
    assert!(s.unseen(ms(5), 1));
    assert_eq!(s.state(), State::Lost);
    assert!(!s.unseen(ms(6), 9), "it cannot be lost twice");
    assert_eq!(s.order(ms(6)), Order::Pause { until: ms(255) });
}

#[test]
fn numbers_across_a_start_are_no_gap_and_within_a_stream_they_are_counted() {
    let mut s = running();
    assert_eq!(s.observe(100), Continuity::InOrder);
    assert_eq!(s.observe(103), Continuity::Gap(101..103));
    assert_eq!(s.observe(103), Continuity::Stale);
    s.failed(ms(0), "gone");
    s.order(ms(250));
    s.started();
    assert_eq!(s.observe(1), Continuity::InOrder);
    assert_eq!(s.counts(), Counts { lost: 2, reconnects: 1, stale: 1 });
}

#[test]
fn a_cause_is_a_line_for_people_whatever_a_driver_says() {
    let mut s = running();
    s.failed(ms(0), "é".repeat(5_000));
    assert_eq!(s.cause().unwrap().text.chars().count(), CAUSE_CHARS_MAX);
}

#[derive(Clone, Debug)]
enum Happens {
    Wait(u64),
    Frame(u64),
    Unseen(u64),
    Fails,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (0u64..3_000).prop_map(Happens::Wait),
        (0u64..50).prop_map(Happens::Frame),
        (0u64..5).prop_map(Happens::Unseen),
        Just(Happens::Fails),
    ]
}

proptest! {
    /// Whatever happens: what is ordered follows from the state, epochs grow with every start, a
    /// pause is never longer than the longest, and waiting alone changes nothing.
    #[test]
    fn orders_follow_the_state(all in proptest::collection::vec(happens(), 1..200), starts: u64) {
        let mut s = Supervisor::default();
        let (mut now, mut epoch, mut starts) = (0u64, 0u32, starts);
        for what in all {
            let before = s.state();
            match s.order(ms(now)) {
                Order::Start { epoch: next } => {
                    prop_assert!(next > epoch, "{next} after {epoch}");
                    epoch = next;
                    prop_assert_eq!(s.state(), State::Starting);
                    starts = starts.rotate_left(1);
                    if starts & 1 == 0 { s.failed(ms(now), "no") } else { s.started() }
                }
                Order::Read => prop_assert!(s.state().streams()),
                Order::Pause { until } => {
                    prop_assert_eq!((before, s.state()), (State::Lost, State::Lost));
                    prop_assert!(until > ms(now) && until <= ms(now + Backoff::LAST_MS));
                }
            }
            let (state, streams) = (s.state(), s.state().streams());
            match what {
                Happens::Wait(time) => {
                    now += time;
                    prop_assert_eq!(s.state(), state);
                }
                Happens::Frame(seq) if streams => {
                    s.observe(seq);
                    prop_assert_eq!(s.state(), State::Running);
                }
                Happens::Unseen(parts) => {
                    let lost = s.unseen(ms(now), parts);
                    prop_assert_eq!(lost, streams && s.state() == State::Lost);
                    prop_assert!(lost || streams == s.state().streams());
                }
                Happens::Fails if streams => s.failed(ms(now), "gone"),
                _ => {}
            }
        }
    }
}
