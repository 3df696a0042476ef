//! Settings and controls: as asked for, or refused.

use super::*;

#[test]
fn what_the_camera_makes_of_a_setting_is_told_when_it_is_something_else() {
    let settings = |change: fn(&mut V4l2Options)| {
        let mut options = options();
        change(&mut options);
        options
    };
    let grey = Model::with(|m| m.formats = vec![PixelFormat::Mono8]);
    let found = refusal(&grey, options());
    assert!(found.contains("does not offer BayerRG8 (RGGB) but Mono8, (pRAA)"), "{found}");
    let found = refusal(&Model::new(), settings(|o| o.width = 60));
    assert!(found.contains("made 56x48 pixels of 60x48"), "{found}");
    let found = refusal(&Model::with(|m| m.planes = 2), options());
    assert!(found.contains("over 2 buffers"), "{found}");
    let found = refusal(&Model::with(|m| m.progressive = false), options());
    assert!(found.contains("interlaced"), "{found}");
    let rate = |o: &mut V4l2Options| o.interval = Some(Interval::of_hz(30.0));
    let found = refusal(&Model::with(|m| m.rates_hz = vec![]), settings(rate));
    assert!(found.contains("remove rate_hz"), "{found}");
    assert!(try_open(&Model::new(), settings(rate)).is_ok(), "the nearest rate is no fault");
}

fn with_controls(controls: &[(&str, Value)]) -> V4l2Options {
    let setting =
        |(name, value): &(&str, Value)| Setting { name: (*name).to_owned(), value: value.clone() };
    V4l2Options { controls: controls.iter().map(setting).collect(), ..options() }
}

#[test]
fn controls_are_set_by_name_or_number_automatic_ones_first() {
    let word = |word: &str| Value::Word(word.to_owned());
    // In the alphabet, the exposure time may come before or after what rules it.
    for names in [["0x9a0902", "auto_exposure"], ["auto_exposure", "exposure_time_absolute"]] {
        let model = Model::new();
        let values = names.map(|name| match name {
            "auto_exposure" => (name, word("manual mode")),
            _ => (name, Value::Number(20)),
        });
        let flip = ("horizontal_flip", Value::Flag(true));
        try_open(&model, with_controls(&[&values[..], &[flip]].concat())).unwrap();
        let state = model.state();
        let value = |key: &str| state.controls.iter().find(|(c, _)| c.key() == key).unwrap().1;
        assert_eq!((value("auto_exposure"), value("exposure_time_absolute")), (1, 20));
        assert_eq!(value("horizontal_flip"), 1);
    }
}

#[test]
fn a_control_that_does_not_do_as_told_is_refused() {
    let number = Value::Number;
    for (controls, says) in [
        (vec![("gian", number(1))], "no control \"gian\"; it has gain, horizontal_flip, reset"),
        (vec![("gain", number(101))], "takes 0 to 100 for gain, not 101"),
        (vec![("line_time", number(15))], "in steps of 10 from 10"),
        (vec![("line_time", number(110))], "made 80 of line_time = 110: write 80"),
        (vec![("gain", Value::Flag(true))], "wants a number for gain"),
        (vec![("horizontal_flip", Value::Word("on".into()))], "wants true or false"),
        (vec![("reset", number(1))], "keeps no value"),
        (vec![("auto_exposure", Value::Word("off".into()))], "use \"Manual Mode\" or"),
        (vec![("exposure_time_absolute", number(9))], "auto_exposure = \"Manual Mode\""),
    ] {
        let found = refusal(&Model::new(), with_controls(&controls));
        assert!(found.contains(says), "{controls:?}: {found}");
        assert!(found.starts_with("/dev/video-model "), "{found}");
    }
}
