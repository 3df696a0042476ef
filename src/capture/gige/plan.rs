//! From the configuration to the settings of a camera, in the order in which they are applied.
//! Pure.
//!
//! Names are those of the GenICam Standard Features Naming Convention (SFNC); cameras that are
//! older than its version 2 have other ones, which are tried after the first.

use super::format;
use crate::config::{Feature, FeatureValue, Gige, LineTrigger};

/// One step of setting up a camera.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A feature gets a value.
    Set(Setting),
    /// Every trigger that the camera has is switched off.
    TriggersOff,
    /// The camera tells facts of each frame where it can, and this count of triggers in any case.
    Chunks(bool, Option<String>),
}

/// A feature and what it is set to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// Names of the feature; the first that the camera has counts.
    pub(super) names: Vec<String>,
    /// Selector and entry for which it holds.
    pub(super) selector: Option<(String, String)>,
    pub(super) wanted: Wanted,
    pub(super) need: Need,
    /// Whether the value must still be there when everything is set.
    pub(super) lasting: bool,
}

/// Which value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// This one.
    Exactly(FeatureValue),
    /// The first of these words that the camera has.
    OneOf(&'static [&'static str]),
    /// As much as goes.
    Largest,
}

/// What if the camera does not have the feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It cannot be used.
    Required,
    /// Then there is nothing to set.
    IfPresent,
}

/// Other names of features in cameras of SFNC 1.x, and of makers who kept them. A raw gain counts
/// as the camera likes, not in dB.
const OTHER_NAMES: [(&str, &[&str]); 6] = [
    ("ExposureTime", &["ExposureTimeAbs"]),
    ("AcquisitionFrameRate", &["AcquisitionFrameRateAbs"]),
    ("AcquisitionFrameRateEnable", &["AcquisitionFrameRateEnabled"]),
    ("Gain", &["GainAbs", "GainRaw"]),
    ("TriggerDelay", &["TriggerDelayAbs"]),
    ("LineDebouncerTime", &["LineDebouncerTimeAbs"]),
];

/// Adjustments that a camera makes by itself; each makes a certified limit void.
pub(super) const AUTOMATICS: [&str; 3] = ["ExposureAuto", "GainAuto", "BalanceWhiteAuto"];

/// `name` and its other names.
pub(super) fn names_of(name: &str) -> Vec<String> {
    let other = OTHER_NAMES.iter().find(|(first, _)| *first == name).map_or(&[][..], |(_, o)| *o);
    std::iter::once(name).chain(other.iter().copied()).map(str::to_owned).collect()
}

impl Setting {
    fn of(name: &str, wanted: Wanted) -> Self {
        let names = names_of(name);
        Self { names, selector: None, wanted, need: Need::Required, lasting: true }
    }

    fn word(name: &str, word: &str) -> Self {
        Self::of(name, Wanted::Exactly(FeatureValue::Text(word.to_owned())))
    }

    fn whole(name: &str, value: u32) -> Self {
        Self::of(name, Wanted::Exactly(FeatureValue::Integer(value.into())))
    }

    fn if_present(self) -> Self {
        Self { need: Need::IfPresent, ..self }
    }

    fn passing(self) -> Self {
        Self { lasting: false, ..self }
    }
}

/// All steps for a camera. `software` says whether the station triggers it.
pub(super) fn steps(gige: &Gige, software: bool) -> Vec<Step> {
    let mut settings = Vec::new();
    if let Some(set) = &gige.user_set {
        settings.push(Setting::word("UserSetSelector", set));
        let load = Wanted::Exactly(FeatureValue::Boolean(true));
        settings.push(Setting::of("UserSetLoad", load));
    }
    settings.push(Setting::word("AcquisitionMode", "Continuous"));
    settings.push(Setting::of("PixelFormat", Wanted::OneOf(format::names(gige.pixel_format))));
    region(gige, &mut settings);
    for name in AUTOMATICS {
        settings.push(Setting::word(name, "Off").if_present());
    }
    let triggered = software || gige.trigger.is_some();
    frame_rate(&gige.features, triggered, &mut settings);
    settings.extend(gige.features.iter().map(|feature| Setting {
        selector: feature.selector.clone(),
        ..Setting::of(&feature.name, Wanted::Exactly(feature.value.clone()))
    }));
    // Binning among the features made the largest region another one.
    settings.extend(side("Width", gige.region.width));
    settings.extend(side("Height", gige.region.height));
    let mut steps: Vec<_> = settings.into_iter().map(Step::Set).collect();
    steps.push(Step::TriggersOff);
    if triggered {
        let trigger = triggers(gige.trigger.as_ref().filter(|_| !software));
        steps.extend(trigger.into_iter().map(Step::Set));
    }
    let line = gige.trigger.as_ref().filter(|_| !software);
    steps.push(Step::Chunks(gige.chunks, line.and_then(|line| line.counter.clone())));
    steps
}

/// Offsets go to zero first: with one, a side cannot become its largest.
fn region(gige: &Gige, settings: &mut Vec<Setting>) {
    let region = gige.region;
    settings.push(Setting::whole("OffsetX", 0).if_present().passing());
    settings.push(Setting::whole("OffsetY", 0).if_present().passing());
    let largest = || Wanted::Largest;
    let wanted = |side: Option<u32>| {
        side.map_or_else(largest, |s| Wanted::Exactly(FeatureValue::Integer(s.into())))
    };
    settings.push(Setting::of("Width", wanted(region.width)));
    settings.push(Setting::of("Height", wanted(region.height)));
    for (name, offset) in [("OffsetX", region.offset_x), ("OffsetY", region.offset_y)] {
        if offset > 0 {
            settings.push(Setting::whole(name, offset));
        }
    }
}

fn side(name: &str, wanted: Option<u32>) -> Option<Setting> {
    wanted.is_none().then(|| Setting::of(name, Wanted::Largest))
}

/// A rate holds only when it is enabled, and it must be off when triggers come: a camera would
/// leave out, in silence, those that come too fast for it.
fn frame_rate(features: &[Feature], triggered: bool, settings: &mut Vec<Setting>) {
    let has = |name: &str| features.iter().any(|feature| feature.name == name);
    if has("AcquisitionFrameRateEnable") {
        return;
    }
    let wanted = has("AcquisitionFrameRate");
    if wanted || triggered {
        let enable = Wanted::Exactly(FeatureValue::Boolean(wanted));
        settings.push(Setting::of("AcquisitionFrameRateEnable", enable).if_present());
    }
}

/// One frame a trigger, by the line or, without one, by software.
fn triggers(line: Option<&LineTrigger>) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(LineTrigger { source, debounce_us: Some(time), .. }) = line {
        let time = Wanted::Exactly(FeatureValue::Float(*time));
        let selector = Some(("LineSelector".to_owned(), source.clone()));
        settings.push(Setting { selector, ..Setting::of("LineDebouncerTime", time) });
    }
    settings.push(Setting::word("TriggerSelector", "FrameStart").if_present());
    let source = line.map_or("Software", |line| &line.source);
    settings.push(Setting::word("TriggerSource", source));
    if let Some(line) = line {
        settings.push(Setting::word("TriggerActivation", &line.activation));
        let delay = Wanted::Exactly(FeatureValue::Float(line.delay_us));
        let delay = Setting::of("TriggerDelay", delay);
        settings.push(if line.delay_us > 0.0 { delay } else { delay.if_present() });
    }
    if let Some((line, counter)) = line.and_then(|line| Some((line, line.counter.as_ref()?))) {
        settings.extend(counting(line, counter));
    }
    settings.push(Setting::word("TriggerMode", "On"));
    settings
}

/// The counter counts what triggers, those pulses that come too early included.
fn counting(line: &LineTrigger, counter: &str) -> Vec<Setting> {
    let of_counter = |setting: Setting| {
        let selector = Some(("CounterSelector".to_owned(), counter.to_owned()));
        Setting { selector, ..setting }
    };
    let reset = Wanted::Exactly(FeatureValue::Boolean(true));
    vec![
        of_counter(Setting::word("CounterEventSource", &line.source)),
        of_counter(Setting::word("CounterEventActivation", &line.activation).if_present()),
        of_counter(Setting::of("CounterReset", reset).if_present().passing()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Region;
    use crate::frame::PixelFormat;

    fn plain() -> Gige {
        Gige::new("cam", PixelFormat::Rgb8)
    }

    /// Each setting as one line.
    fn told(gige: &Gige, software: bool) -> Vec<String> {
        let line = |step: Step| match step {
            Step::TriggersOff => "triggers off".to_owned(),
            Step::Chunks(on, None) => format!("chunks {on}"),
            Step::Chunks(on, Some(counter)) => format!("chunks {on} {counter}"),
            Step::Set(s) => {
                let of = s.selector.map(|(n, e)| format!("[{n}={e}]")).unwrap_or_default();
                let wanted = match s.wanted {
                    Wanted::Exactly(value) => value.to_string(),
                    Wanted::OneOf(words) => words.join("|"),
                    Wanted::Largest => "largest".into(),
                };
                let maybe = if s.need == Need::IfPresent { " if present" } else { "" };
                format!("{}{of} = {wanted}{maybe}", s.names[0])
            }
        };
        steps(gige, software).into_iter().map(line).collect()
    }

    #[test]
    fn a_plain_camera_runs_free_over_its_whole_sensor_and_adjusts_nothing_by_itself() {
        let expected = [
            "AcquisitionMode = \"Continuous\"",
            "PixelFormat = RGB8|RGB8Packed",
            "OffsetX = 0 if present",
            "OffsetY = 0 if present",
            "Width = largest",
            "Height = largest",
            "ExposureAuto = \"Off\" if present",
            "GainAuto = \"Off\" if present",
            "BalanceWhiteAuto = \"Off\" if present",
            "Width = largest",
            "Height = largest",
            "triggers off",
            "chunks true",
        ];
        assert_eq!(told(&plain(), false), expected);
    }

    #[test]
    fn features_keep_their_order_and_a_region_is_moved_after_it_has_its_size() {
        let mut gige = plain();
        gige.user_set = Some("Default".into());
        gige.region = Region { width: Some(64), height: Some(32), offset_x: 8, offset_y: 4 };
        let feature = |name: &str, selector: Option<(&str, &str)>, value| Feature {
            name: name.into(),
            selector: selector.map(|(n, e)| (n.into(), e.into())),
            value,
        };
        gige.features = vec![
            feature("ExposureTime", None, FeatureValue::Float(500.5)),
            feature("AcquisitionFrameRate", None, FeatureValue::Integer(20)),
            feature(
                "LineMode",
                Some(("LineSelector", "Line2")),
                FeatureValue::Text("Output".into()),
            ),
        ];
        let told = told(&gige, false);
        let start = [
            "UserSetSelector = \"Default\"",
            "UserSetLoad = true",
            "AcquisitionMode = \"Continuous\"",
            "PixelFormat = RGB8|RGB8Packed",
            "OffsetX = 0 if present",
            "OffsetY = 0 if present",
            "Width = 64",
            "Height = 32",
            "OffsetX = 8",
            "OffsetY = 4",
        ];
        assert_eq!(told[..start.len()], start);
        let end = [
            "AcquisitionFrameRateEnable = true if present",
            "ExposureTime = 500.5",
            "AcquisitionFrameRate = 20",
            "LineMode[LineSelector=Line2] = \"Output\"",
            "triggers off",
            "chunks true",
        ];
        assert_eq!(told[told.len() - end.len()..], end);
    }

    #[test]
    fn a_line_trigger_is_switched_on_last_and_no_rate_limits_it() {
        let mut gige = plain();
        gige.chunks = false;
        gige.trigger = Some(LineTrigger {
            source: "Line1".into(),
            activation: "FallingEdge".into(),
            delay_us: 20.0,
            debounce_us: Some(5.0),
            counter: None,
        });
        let line = told(&gige, false);
        assert!(line.contains(&"AcquisitionFrameRateEnable = false if present".to_owned()));
        let end = [
            "triggers off",
            "LineDebouncerTime[LineSelector=Line1] = 5",
            "TriggerSelector = \"FrameStart\" if present",
            "TriggerSource = \"Line1\"",
            "TriggerActivation = \"FallingEdge\"",
            "TriggerDelay = 20",
            "TriggerMode = \"On\"",
            "chunks false",
        ];
        assert_eq!(line[line.len() - end.len()..], end);
        gige.chunks = true;
        gige.trigger.as_mut().unwrap().counter = Some("Counter0".into());
        let counted = told(&gige, false);
        let end = [
            "TriggerDelay = 20",
            "CounterEventSource[CounterSelector=Counter0] = \"Line1\"",
            "CounterEventActivation[CounterSelector=Counter0] = \"FallingEdge\" if present",
            "CounterReset[CounterSelector=Counter0] = true if present",
            "TriggerMode = \"On\"",
            "chunks true Counter0",
        ];
        assert_eq!(counted[counted.len() - end.len()..], end);
        let software = told(&plain(), true);
        let end = ["TriggerSource = \"Software\"", "TriggerMode = \"On\"", "chunks true"];
        assert_eq!(software[software.len() - end.len()..], end);
    }
}
