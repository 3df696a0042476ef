//! Settings into a camera, and the proof that they are there. Pure but for the camera.
//!
//! Each value is read back when it is written and once more when all are: a later setting may
//! change an earlier one. What a camera makes of a number may differ by its increment, or by
//! [`ROUNDING`] where it tells none; words and whole numbers must be the very ones.

use super::device::{Bounds, Device, DeviceError, Kind};
use super::plan::{AUTOMATICS, Need, Setting, Step, Wanted};
use crate::capture::{CameraError, CameraErrorKind};
use crate::config::FeatureValue;

/// Share of a number by which a camera may round it when it tells no increment.
const ROUNDING: f64 = 0.01;

/// Facts of a frame that are asked for, where the camera has them. Number and time stand in the
/// first packet of every frame, too; but that number is the packets', which a frame that was never
/// sent does not have.
const CHUNKS: [&str; 6] = ["FrameID", "Timestamp", "ExposureTime", "Gain", "LineStatusAll", COUNT];

/// A counter of the camera at the start of the frame.
const COUNT: &str = "CounterValue";

/// Applies all steps, reading each value back, then reads all of them back once more.
pub(super) fn apply(device: &dyn Device, steps: &[Step]) -> Result<(), CameraError> {
    for step in steps {
        match step {
            Step::Set(setting) => set(device, setting)?,
            Step::TriggersOff => triggers_off(device)?,
            Step::Chunks(on, counter) => chunks(device, *on, counter.as_deref())?,
        }
    }
    verify(device, steps)
}

/// Reads back everything that must last.
pub(super) fn verify(device: &dyn Device, steps: &[Step]) -> Result<(), CameraError> {
    for step in steps {
        if let Step::Set(setting) = step
            && setting.lasting
        {
            check(device, setting)?;
        }
    }
    Ok(())
}

/// A setting as this camera has it.
struct Here<'a> {
    device: &'a dyn Device,
    name: &'a str,
    kind: Kind,
    value: FeatureValue,
}

fn set(device: &dyn Device, setting: &Setting) -> Result<(), CameraError> {
    let Some(here) = resolve(device, setting)? else { return Ok(()) };
    if here.kind == Kind::Command {
        return device.run(here.name).map_err(|error| refused(&here, &error.to_string()));
    }
    device.write(here.name, &here.value).map_err(|error| refused(&here, &error.to_string()))?;
    compare(&here)
}

fn check(device: &dyn Device, setting: &Setting) -> Result<(), CameraError> {
    match resolve(device, setting)? {
        Some(here) if here.kind != Kind::Command => {
            // A selector says of what the features after it speak.
            if here.name.ends_with("Selector") {
                let written = device.write(here.name, &here.value);
                written.map_err(|error| refused(&here, &error.to_string()))?;
            }
            compare(&here)
        }
        _ => Ok(()),
    }
}

/// Which of its names the camera has, and the value in the type of the feature.
fn resolve<'a>(
    device: &'a dyn Device,
    setting: &'a Setting,
) -> Result<Option<Here<'a>>, CameraError> {
    if let Some((selector, entry)) = &setting.selector {
        if device.kind(selector).is_none() {
            return match setting.need {
                Need::IfPresent => Ok(None),
                Need::Required => Err(absent(device, std::slice::from_ref(selector))),
            };
        }
        let word = FeatureValue::Text(entry.clone());
        let here = Here { device, name: selector, kind: Kind::Enumeration, value: word };
        let written = device.write(selector, &here.value);
        written.map_err(|error| refused(&here, &error.to_string()))?;
    }
    let found = setting.names.iter().find_map(|name| Some((name, device.kind(name)?)));
    let Some((name, kind)) = found else {
        return match setting.need {
            Need::IfPresent => Ok(None),
            Need::Required => Err(absent(device, &setting.names)),
        };
    };
    let here = |value| Here { device, name, kind, value };
    match &setting.wanted {
        Wanted::Exactly(value) => match converted(value, kind) {
            Some(value) => Ok(Some(here(value))),
            None => Err(refused(&here(value.clone()), &format!("the feature is {kind}"))),
        },
        Wanted::OneOf(words) => {
            let entries = device.entries(name);
            let word = words.iter().find(|word| entries.iter().any(|entry| entry == *word));
            let first = words.first().copied().unwrap_or_default();
            let word = word.copied().unwrap_or(first);
            Ok(Some(here(FeatureValue::Text(word.to_owned()))))
        }
        Wanted::Largest => {
            let Some(Bounds { max, .. }) = device.bounds(name) else {
                return Err(problem(device, &format!("{name} has no largest value")));
            };
            let largest = FeatureValue::Integer(max as i64);
            Ok(Some(here(largest)))
        }
    }
}

/// `value` in the type of a feature, when that changes nothing about it.
fn converted(value: &FeatureValue, kind: Kind) -> Option<FeatureValue> {
    match (value, kind) {
        (FeatureValue::Integer(_), Kind::Integer)
        | (FeatureValue::Float(_), Kind::Float)
        | (FeatureValue::Boolean(_), Kind::Boolean)
        | (FeatureValue::Boolean(true), Kind::Command)
        | (FeatureValue::Text(_), Kind::Enumeration | Kind::Text) => Some(value.clone()),
        (FeatureValue::Integer(whole), Kind::Float) => Some(FeatureValue::Float(*whole as f64)),
        (FeatureValue::Float(number), Kind::Integer) if number.fract() == 0.0 => {
            Some(FeatureValue::Integer(*number as i64))
        }
        _ => None,
    }
}

/// Whether the camera has what was asked for.
fn compare(here: &Here<'_>) -> Result<(), CameraError> {
    let read = here.device.read(here.name).map_err(|error| refused(here, &error.to_string()))?;
    let bounds = match here.kind {
        Kind::Float => here.device.bounds(here.name),
        _ => None,
    };
    if agrees(&here.value, &read, bounds) {
        return Ok(());
    }
    let what = format!("the camera made {read} of it");
    let remedy = if AUTOMATICS.contains(&here.name) {
        "it may not adjust itself: look for what switches it on again"
    } else {
        "write that, or find the setting that limits it"
    };
    Err(problem(here.device, &format!("{} = {}: {what}; {remedy}", here.name, here.value)))
}

/// Whether `read` is what a camera that took `asked` may answer.
fn agrees(asked: &FeatureValue, read: &FeatureValue, bounds: Option<Bounds>) -> bool {
    match (asked, read) {
        (FeatureValue::Float(asked), FeatureValue::Float(read)) => {
            let step = bounds.and_then(|bounds| bounds.increment).filter(|step| *step > 0.0);
            // Beside a step, the rounding of 32-bit registers.
            let room = step.map_or(asked.abs() * ROUNDING, |step| step + asked.abs() * 1e-6);
            (asked - read).abs() <= room
        }
        _ => asked == read,
    }
}

/// Switches every trigger off: one that was left on would wait for ever.
fn triggers_off(device: &dyn Device) -> Result<(), CameraError> {
    if device.kind("TriggerMode").is_none() {
        return Ok(());
    }
    let selectors = device.entries("TriggerSelector");
    let off = |selector: Option<(String, String)>| Setting {
        names: vec!["TriggerMode".into()],
        selector,
        wanted: Wanted::Exactly(FeatureValue::Text("Off".into())),
        need: Need::IfPresent,
        lasting: true,
    };
    if selectors.is_empty() {
        return set(device, &off(None));
    }
    selectors
        .into_iter()
        .try_for_each(|entry| set(device, &off(Some(("TriggerSelector".into(), entry)))))
}

/// Switches the facts of a frame on that the camera has, or all of them off. Makers deviate here
/// more than elsewhere, and a frame is judged without them as well: what is missing is told, no
/// more. But the count of triggers, when it is asked for, must come.
fn chunks(device: &dyn Device, on: bool, counter: Option<&str>) -> Result<(), CameraError> {
    let camera = device.identity();
    let told = if on { facts(device, counter) } else { switch(device, false).map(|()| vec![]) };
    let told = match told {
        Ok(told) => told,
        Err(error) if counter.is_none() => {
            tracing::info!(%camera, %error, "the camera tells no facts of its frames");
            return Ok(());
        }
        Err(error) => return Err(uncounted(device, &error.to_string())),
    };
    let missing: Vec<&str> = CHUNKS.into_iter().filter(|fact| on && !told.contains(fact)).collect();
    if counter.is_some() && missing.contains(&COUNT) {
        return Err(uncounted(device, "it does not tell its CounterValue with the frames"));
    }
    if on {
        let (told, missing) = (told.join(" "), missing.join(" "));
        tracing::info!(%camera, told, missing, "facts of each frame");
    }
    Ok(())
}

fn uncounted(device: &dyn Device, why: &str) -> CameraError {
    problem(
        device,
        &format!("trigger_counter: {why}; remove trigger_counter, and count in the PLC"),
    )
}

fn switch(device: &dyn Device, on: bool) -> Result<(), DeviceError> {
    match device.kind("ChunkModeActive") {
        Some(_) => device.write("ChunkModeActive", &FeatureValue::Boolean(on)),
        None if on => Err(DeviceError("it has no ChunkModeActive".into())),
        None => Ok(()),
    }
}

/// Switches each fact on; those that were on when read back.
fn facts(device: &dyn Device, counter: Option<&str>) -> Result<Vec<&'static str>, DeviceError> {
    switch(device, true)?;
    let enabled = FeatureValue::Boolean(true);
    let is_on = || matches!(device.read("ChunkEnable"), Ok(value) if value == enabled);
    let mut told = Vec::new();
    // The picture itself is a chunk that some cameras let nobody switch: not in the list.
    for entry in device.entries("ChunkSelector") {
        let Some(fact) = CHUNKS.into_iter().find(|fact| *fact == entry) else { continue };
        let select = device.write("ChunkSelector", &FeatureValue::Text(entry));
        let enable = || if is_on() { Ok(()) } else { device.write("ChunkEnable", &enabled) };
        match select.and_then(|()| enable()) {
            Ok(()) if is_on() => told.push(fact),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(camera = %device.identity(), fact, %error, "not told with the frames");
            }
        }
    }
    // Which of its counters the value is of, where there are several.
    if let (Some(counter), Some(_)) = (counter, device.kind("ChunkCounterSelector")) {
        device.write("ChunkCounterSelector", &FeatureValue::Text(counter.to_owned()))?;
    }
    Ok(told)
}

fn problem(device: &dyn Device, what: &str) -> CameraError {
    CameraError::new(CameraErrorKind::Settings, format!("camera {}: {what}", device.identity()))
}

fn absent(device: &dyn Device, names: &[String]) -> CameraError {
    let what = format!(
        "it has no feature {}, or not with the other settings; `crrd camera show` lists what it has",
        names.join(" or ")
    );
    problem(device, &what)
}

/// The camera did not take a value; says which ones it takes.
fn refused(here: &Here<'_>, why: &str) -> CameraError {
    let takes = match here.kind {
        Kind::Integer | Kind::Float => here.device.bounds(here.name).map(|bounds| {
            let step = bounds.increment.map(|step| format!(" in steps of {step}"));
            format!("; it takes {} to {}{}", bounds.min, bounds.max, step.unwrap_or_default())
        }),
        Kind::Enumeration => {
            let entries = here.device.entries(here.name);
            (!entries.is_empty()).then(|| format!("; it takes {}", entries.join(", ")))
        }
        Kind::Boolean | Kind::Text | Kind::Command => None,
    };
    let takes = takes.unwrap_or_default();
    problem(here.device, &format!("{} = {}: {why}{takes}", here.name, here.value))
}
