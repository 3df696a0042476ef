use proptest::prelude::*;

use super::*;

const WINDOW: u64 = 10;

fn matcher(views: usize) -> Matcher<u32> {
    let mut matcher = Matcher::new(views, Nanos(WINDOW));
    (0..views).for_each(|view| matcher.started(view));
    matcher
}

fn see(m: &mut Matcher<u32>, view: usize, seq: u64, at: u64, item: u32) -> Taken<u32> {
    m.seen(Nanos(at), view, seq, At::Arrived(Nanos(at)), item)
}

/// What is in the slots: an item, or why there is none.
fn slots(set: &Set<u32>, views: usize) -> Vec<Result<u32, Missing>> {
    let slot = |slot: &Slot<u32>| match slot {
        Slot::There(item) => Ok(*item),
        Slot::Missing(why) => Err(*why),
        Slot::Awaited => panic!("a closed set waits for nothing"),
    };
    set.views.iter().take(views).map(slot).collect()
}

#[test]
fn views_of_one_trigger_are_one_set_whatever_their_own_numbers_are() {
    let mut m = matcher(3);
    for (trigger, at) in [(1u32, 100), (2, 200)] {
        assert!(m.take(Some(Nanos(at))).is_none());
        assert_eq!(see(&mut m, 2, 900 + u64::from(trigger), at + 1, trigger), Taken::Matched);
        assert_eq!(see(&mut m, 0, u64::from(trigger), at, trigger), Taken::Matched);
        assert!(m.take(Some(Nanos(at))).is_none(), "one is awaited");
        assert_eq!(see(&mut m, 1, 70 + u64::from(trigger), at + 9, trigger), Taken::Matched);
        let set = m.take(None).unwrap();
        assert_eq!((set.count, set.at), (u64::from(trigger), Some(Nanos(at))));
        assert_eq!(slots(&set, 3), [Ok(trigger); 3]);
    }
    assert!(m.take(None).is_none());
}

#[test]
fn a_view_that_does_not_come_in_time_is_missing_and_is_not_used_later() {
    let mut m = matcher(2);
    see(&mut m, 0, 1, 100, 1);
    see(&mut m, 1, 1, 101, 1);
    m.take(None).unwrap();
    see(&mut m, 0, 2, 200, 2);
    assert!(m.take(Some(Nanos(200 + WINDOW))).is_none());
    assert_eq!(m.next_due(), Some(Nanos(200 + WINDOW + 1)));
    let set = m.take(Some(Nanos(200 + WINDOW + 1))).unwrap();
    assert_eq!(slots(&set, 2), [Ok(2), Err(Missing::Late)]);
    assert_eq!(see(&mut m, 1, 2, 211, 2), Taken::Refused(2));
    // Even when the next trigger is near: its count says which one it shows.
    see(&mut m, 0, 3, 240, 3);
    assert_eq!(see(&mut m, 1, 3, 241, 3), Taken::Matched);
    assert_eq!(slots(&m.take(None).unwrap(), 2), [Ok(3), Ok(3)]);
}

#[test]
fn a_late_frame_in_the_window_of_the_next_trigger_is_told_by_its_count() {
    let mut m = matcher(2);
    see(&mut m, 0, 1, 100, 1);
    see(&mut m, 1, 1, 100, 1);
    m.take(None).unwrap();
    see(&mut m, 0, 2, 200, 2);
    m.take(Some(Nanos(211))).unwrap();
    see(&mut m, 0, 3, 300, 3);
    assert_eq!(see(&mut m, 1, 2, 301, 2), Taken::Refused(2), "one period late");
    assert_eq!(see(&mut m, 1, 3, 302, 3), Taken::Matched);
    assert_eq!(slots(&m.take(None).unwrap(), 2), [Ok(3), Ok(3)]);
}

#[test]
fn a_lost_frame_that_its_camera_tells_of_is_not_waited_for() {
    let mut m = matcher(2);
    see(&mut m, 0, 1, 100, 1);
    see(&mut m, 1, 1, 100, 1);
    m.take(None).unwrap();
    // Camera 1 lost frame 2, and says so when its frame 3 comes; camera 0 saw trigger 2.
    see(&mut m, 0, 2, 200, 2);
    let lost = At::LostBefore(Nanos(205));
    assert_eq!(m.seen(Nanos(205), 1, 2, lost, 0), Taken::Matched);
    assert_eq!(slots(&m.take(None).unwrap(), 2), [Ok(2), Ok(0)]);
    // Both lost frame 3: one of them tells of it, and the set is there for the other.
    assert_eq!(m.seen(Nanos(400), 1, 3, At::LostBefore(Nanos(400)), 0), Taken::Matched);
    assert_eq!(see(&mut m, 1, 4, 400, 4), Taken::Matched);
    assert_eq!(m.seen(Nanos(402), 0, 3, At::LostBefore(Nanos(402)), 0), Taken::Matched);
    assert_eq!(see(&mut m, 0, 4, 402, 4), Taken::Matched);
    let counts: Vec<u64> = std::iter::from_fn(|| m.take(None)).map(|set| set.count).collect();
    assert_eq!(counts, [3, 4]);
}

#[test]
fn a_camera_that_is_gone_is_not_waited_for_and_is_aligned_by_time_when_it_is_back() {
    let mut m = matcher(2);
    see(&mut m, 0, 1, 100, 1);
    m.gone(1);
    assert_eq!(slots(&m.take(None).unwrap(), 2), [Ok(1), Err(Missing::Gone)]);
    see(&mut m, 0, 2, 200, 2);
    assert_eq!(slots(&m.take(None).unwrap(), 2), [Ok(2), Err(Missing::Gone)]);
    // Trigger 3: the frame of camera 0 was taken in before camera 1 was known to be back.
    see(&mut m, 0, 3, 300, 3);
    m.take(None).unwrap();
    m.started(1);
    assert_eq!(see(&mut m, 1, 1, 301, 3), Taken::Refused(3), "its part is answered");
    for trigger in 4..=7u32 {
        let at = u64::from(trigger) * 100;
        see(&mut m, 1, u64::from(trigger) - 2, at, trigger);
        see(&mut m, 0, u64::from(trigger), at + 4, trigger);
        let set = m.take(None).unwrap();
        let proved = if trigger == 7 { Ok(7) } else { Err(Missing::Unproved) };
        assert_eq!(slots(&set, 2), [Ok(trigger), proved]);
    }
}

#[test]
fn a_camera_whose_count_slipped_costs_some_parts_and_then_matches_again() {
    let mut m = matcher(2);
    let mut complete = vec![];
    let mut slip = 0;
    for trigger in 1..=11u32 {
        let at = u64::from(trigger) * 100;
        see(&mut m, 0, u64::from(trigger), at, trigger);
        match trigger {
            // Camera 1 did not take trigger 3, without a word.
            3 => slip = 1,
            _ => drop(see(&mut m, 1, u64::from(trigger) - slip, at + 2, trigger)),
        }
        let set = m.take(Some(Nanos(at + 50))).unwrap();
        assert_eq!(set.count, u64::from(trigger));
        complete.push(slots(&set, 2).iter().all(Result::is_ok));
    }
    let lost = complete.iter().filter(|complete| !**complete).count();
    assert_eq!((&complete[..2], lost, &complete[8..]), (&[true; 2][..], 6, &[true; 3][..]));
}

#[test]
fn a_trigger_that_one_camera_saw_alone_is_a_part_of_its_own() {
    let mut m = matcher(2);
    let mut sets = vec![];
    for (view, seq, at, item) in [
        (0, 1, 100, 1),
        (1, 1, 101, 1),
        // A spurious pulse on the line of camera 1.
        (1, 2, 150, 77),
        (0, 2, 200, 2),
        (1, 3, 201, 2),
        (0, 3, 300, 3),
        (1, 4, 301, 3),
        (0, 4, 400, 4),
        (1, 5, 401, 4),
        (0, 5, 500, 5),
        (1, 6, 501, 5),
        (0, 6, 600, 6),
        (1, 7, 601, 6),
        (0, 7, 700, 7),
        (1, 8, 701, 7),
        (0, 8, 800, 8),
        (1, 9, 801, 8),
    ] {
        while let Some(set) = m.take(Some(Nanos(at))) {
            sets.push(slots(&set, 2));
        }
        see(&mut m, view, seq, at, item);
    }
    while let Some(set) = m.take(Some(Nanos(1_000))) {
        sets.push(slots(&set, 2));
    }
    assert_eq!(sets[0], [Ok(1), Ok(1)]);
    assert_eq!(sets[1], [Err(Missing::Late), Ok(77)]);
    assert_eq!(sets.last().unwrap(), &[Ok(8), Ok(8)], "{sets:?}");
    assert!(mixed(&sets).is_none());
}

/// A set whose views are not all of one trigger.
fn mixed(sets: &[Vec<Result<u32, Missing>>]) -> Option<&Vec<Result<u32, Missing>>> {
    sets.iter().find(|set| {
        let mut items = set.iter().flatten().filter(|item| **item != LOST);
        let first = items.next();
        items.any(|item| Some(item) != first)
    })
}

#[test]
fn more_open_sets_than_there_is_room_for_close_the_oldest() {
    let mut m = Matcher::<u32>::new(2, Nanos(1_000_000));
    (0..2).for_each(|view| m.started(view));
    for trigger in 1..=3 * SETS_MAX as u64 {
        see(&mut m, 0, trigger, trigger * 10, trigger as u32);
        while let Some(set) = m.take(None) {
            assert_eq!(slots(&set, 2)[1], Err(Missing::Late));
        }
        assert!(m.open() <= SETS_MAX);
    }
    assert_eq!(m.open(), SETS_MAX);
    m.close();
    assert_eq!(std::iter::from_fn(|| m.take(None)).count(), SETS_MAX);
}

/// Stands for a frame that its camera told to be lost.
const LOST: u32 = u32::MAX;

/// What becomes of one trigger in one camera.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Its frame comes after this time.
    Comes(u64),
    /// It has a number and never comes.
    Lost,
    /// It never got a number.
    Silent,
    /// It comes after the window.
    Late(u64),
    /// The camera is gone when it comes.
    Away,
}

fn fate(odd: Fate) -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => (0..=WINDOW).prop_map(Fate::Comes),
        1 => Just(Fate::Lost),
        1 => Just(odd),
        1 => (WINDOW + 1..80).prop_map(move |by| match odd {
            Fate::Silent => Fate::Comes(by % WINDOW),
            _ => Fate::Late(by),
        }),
    ]
}

/// Something that a camera does at a time.
#[derive(Clone, Copy, Debug)]
enum Does {
    Starts,
    Goes,
    Frame { seq: u64, trigger: u32, lost: bool },
}

/// What a camera does over all triggers, in its order; the last few triggers go well.
fn story(fates: &[Fate], gaps: &[u64], late: &[bool], first_seq: u64) -> Vec<(u64, Does)> {
    let mut does = vec![(0, Does::Starts)];
    let (mut seq, mut away, mut fresh) = (first_seq, false, true);
    let (mut at, mut clock) = (1_000, 0);
    let mut lost = vec![];
    for (i, fate) in fates.iter().enumerate() {
        at += gaps[i];
        // The assumptions: no late frame at the start of a stream, nor in three triggers in a row.
        let may_be_late = late[i] && !fresh;
        let fate = match *fate {
            Fate::Late(_) if !may_be_late => Fate::Comes(3),
            fate => fate,
        };
        if away != (fate == Fate::Away) {
            away = !away;
            (seq, fresh) = (first_seq + 7 * i as u64, true);
            clock = clock.max(at - 11);
            lost.clear();
            does.push((clock, if away { Does::Goes } else { Does::Starts }));
        }
        let delay = match fate {
            Fate::Comes(by) | Fate::Late(by) => by,
            Fate::Lost => {
                lost.push((seq, i as u32));
                seq += 1;
                continue;
            }
            Fate::Silent | Fate::Away => continue,
        };
        // A camera delivers in its order: what comes behind a late frame is late, too.
        clock = clock.max(at + delay);
        if clock > at + WINDOW && (!late[i] || fresh) {
            // It would break an assumption: this one never comes.
            lost.push((seq, i as u32));
            seq += 1;
            continue;
        }
        if !fresh {
            for (seq, trigger) in lost.drain(..) {
                does.push((clock, Does::Frame { seq, trigger, lost: true }));
            }
        }
        lost.clear();
        does.push((clock, Does::Frame { seq, trigger: i as u32, lost: false }));
        (seq, fresh) = (seq + 1, false);
    }
    does
}

/// Plays the stories; all sets in order.
fn play(stories: &[Vec<(u64, Does)>], delays: u64) -> Vec<Vec<Result<u32, Missing>>> {
    let views = stories.len();
    let mut all: Vec<(u64, usize, Does)> = stories
        .iter()
        .enumerate()
        .flat_map(|(view, does)| does.iter().map(move |(at, what)| (*at, view, *what)))
        .collect();
    // Of what happens at one time, any order among the cameras may come about.
    all.sort_by_key(|(at, view, _)| (*at, (*view as u64 + delays) % views as u64));
    let mut m = Matcher::new(views, Nanos(WINDOW));
    let (mut sets, mut counts) = (vec![], vec![]);
    let mut drain = |m: &mut Matcher<u32>, now: u64| {
        while let Some(set) = m.take(Some(Nanos(now))) {
            counts.push(set.count);
            sets.push(slots(&set, views));
        }
        assert!(m.open() <= SETS_MAX);
    };
    for (at, view, what) in all {
        drain(&mut m, at);
        match what {
            Does::Starts => m.started(view),
            Does::Goes => m.gone(view),
            Does::Frame { seq, lost: true, .. } => {
                m.seen(Nanos(at), view, seq, At::LostBefore(Nanos(at)), LOST);
            }
            Does::Frame { seq, trigger, lost: false } => {
                see(&mut m, view, seq, at, trigger);
            }
        }
        drain(&mut m, 0);
    }
    m.close();
    drain(&mut m, u64::MAX);
    let whole: Vec<u64> = (1..=counts.len() as u64).collect();
    assert_eq!(counts, whole, "every count is one part, in order");
    sets
}

/// Fates of each camera, the times between triggers, and a seed for numbers and order.
fn plan(odd: Fate) -> impl Strategy<Value = (Vec<Vec<Fate>>, Vec<u64>, u64)> {
    (2usize..=4, 10usize..40).prop_flat_map(move |(views, triggers)| {
        let fates = prop::collection::vec(fate(odd), triggers);
        let gaps = prop::collection::vec(2 * WINDOW + 1..60, triggers + CALM);
        (prop::collection::vec(fates, views), gaps, 0u64..1_000)
    })
}

/// Triggers at the end that all cameras see.
const CALM: usize = 16;

fn check(fates: &[Vec<Fate>], gaps: &[u64], seed: u64) -> Result<(), TestCaseError> {
    let triggers = fates[0].len();
    let any_late = |i: usize| fates.iter().any(|all| matches!(all.get(i), Some(Fate::Late(_))));
    let mut late = vec![false; triggers + CALM];
    for i in 0..late.len() {
        // A late frame may hold up the one behind it.
        let wanted = any_late(i) || i.checked_sub(1).is_some_and(any_late);
        late[i] = wanted && !(i >= 2 && late[i - 1] && late[i - 2]);
    }
    let stories: Vec<_> = fates
        .iter()
        .enumerate()
        .map(|(view, fates)| {
            let mut fates = fates.clone();
            fates.resize(triggers + CALM, Fate::Comes(view as u64));
            story(&fates, gaps, &late, seed * (view as u64 + 1))
        })
        .collect();
    let sets = play(&stories, seed);
    prop_assert!(mixed(&sets).is_none(), "{:?}", mixed(&sets));
    let mut used: Vec<(usize, u32)> = vec![];
    for set in &sets {
        used.extend(set.iter().enumerate().filter_map(|(view, slot)| Some((view, (*slot).ok()?))));
    }
    used.retain(|(_, item)| *item != LOST);
    let all = used.len();
    used.sort_unstable();
    used.dedup();
    prop_assert_eq!(used.len(), all, "a frame is used once");
    // After the faults, all cameras agree again.
    let last = triggers as u32 + CALM as u32 - 1;
    let whole = vec![Ok(last); fates.len()];
    prop_assert_eq!(sets.last(), Some(&whole));
    Ok(())
}

proptest! {
    /// Frames lost, late and cameras gone: views never mix, no frame is used twice, every count
    /// is one part, and after the faults the views meet again.
    #[test]
    fn late_frames_and_lost_cameras_never_mix_views(plan in plan(Fate::Away)) {
        check(&plan.0, &plan.1, plan.2)?;
    }

    /// The same with triggers that single cameras did not take, without a word.
    #[test]
    fn slipped_counts_never_mix_views(plan in plan(Fate::Silent)) {
        check(&plan.0, &plan.1, plan.2)?;
    }

    /// Without a fault each trigger is one whole set, whatever the cameras' numbers and delays.
    #[test]
    fn without_faults_every_set_is_whole(
        delays in prop::collection::vec(prop::collection::vec(0..=WINDOW, 30), 2..=8),
        gaps in prop::collection::vec(2 * WINDOW + 1..60, 30),
        seed in 0u64..1_000,
    ) {
        let stories: Vec<_> = delays.iter().enumerate().map(|(view, delays)| {
            let fates: Vec<Fate> = delays.iter().map(|by| Fate::Comes(*by)).collect();
            story(&fates, &gaps, &[false; 30], seed * view as u64)
        }).collect();
        let sets = play(&stories, seed);
        let expected: Vec<_> = (0..30).map(|trigger| vec![Ok(trigger); delays.len()]).collect();
        prop_assert_eq!(sets, expected);
    }
}
