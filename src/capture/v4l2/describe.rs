//! What a video node has to set, and how it is set now: for a person who writes its configuration.

use std::io;

use super::device::{Card, Control, ControlKind, Device, Sizes};
use super::fourcc::FourCc;
use super::settings::{list_controls, menu};
use crate::frame::PixelFormat;

/// A video node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Who it is.
    pub card: Card,
    /// The formats it offers, those that a station takes first.
    pub formats: Vec<FormatState>,
    /// Its controls, by their numbers.
    pub controls: Vec<ControlState>,
}

/// A pixel format of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatState {
    /// The kernel's code.
    pub code: FourCc,
    /// Its name in a configuration; `None` when a station does not take it.
    pub format: Option<PixelFormat>,
    /// Sizes with the rates of each, for people: `640x480 at 15, 30 Hz`.
    pub sizes: Vec<String>,
}

/// A control as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlState {
    /// Its name in a configuration.
    pub key: String,
    /// What it takes.
    pub kind: ControlKind,
    /// The value, of a menu its word; `None` when it cannot be read.
    pub value: Option<String>,
    /// Smallest, largest, step, for people; empty where that says nothing.
    pub limits: String,
    /// Words of a menu.
    pub choices: Vec<String>,
    /// Another control makes it ineffective now.
    pub inactive: bool,
    /// It cannot be set.
    pub read_only: bool,
}

/// Asks a node for everything.
///
/// # Errors
/// As the kernel reports them.
pub fn describe(device: &dyn Device) -> io::Result<Description> {
    let mut formats = Vec::new();
    for code in device.formats()? {
        let format = code.format();
        // Of formats that are of no use nobody needs the sizes.
        let sizes = match format {
            Some(_) => sizes(device, code)?,
            None => Vec::new(),
        };
        formats.push(FormatState { code, format, sizes });
    }
    formats.sort_by_key(|state| state.format.is_none());
    let controls = list_controls(device)?;
    let controls = controls.iter().map(|control| state(device, control)).collect();
    Ok(Description { card: device.card()?, formats, controls })
}

fn sizes(device: &dyn Device, code: FourCc) -> io::Result<Vec<String>> {
    let mut told = Vec::new();
    for size in device.sizes(code)? {
        told.push(match size {
            Sizes::One((width, height)) => {
                format!("{width}x{height}{}", rates(device, code, (width, height))?)
            }
            Sizes::Range { min, max, step } => format!(
                "{}x{} to {}x{} in steps of {}x{}{}",
                min.0,
                min.1,
                max.0,
                max.1,
                step.0,
                step.1,
                rates(device, code, max)?
            ),
        });
    }
    Ok(told)
}

/// ` at 15, 30 Hz`; nothing when the driver lists none.
fn rates(device: &dyn Device, code: FourCc, size: (u32, u32)) -> io::Result<String> {
    let mut hz: Vec<f64> = device.intervals(code, size)?.iter().map(|i| i.hz()).collect();
    hz.sort_by(f64::total_cmp);
    // As `rate_hz` takes them: in thousandths.
    let told: Vec<String> = hz.iter().map(|hz| ((hz * 1e3).round() / 1e3).to_string()).collect();
    Ok(match told.is_empty() {
        true => String::new(),
        false => format!(" at {} Hz", told.join(", ")),
    })
}

fn state(device: &dyn Device, control: &Control) -> ControlState {
    let items = match control.kind {
        ControlKind::Menu => menu(device, control),
        _ => Vec::new(),
    };
    let value = match control.kind {
        ControlKind::Button => None,
        _ => device.value(control).ok(),
    };
    let word = |value: i64| items.iter().find(|(index, _)| *index == value).map(|(_, w)| w.clone());
    let value = value.map(|value| match control.kind {
        ControlKind::Boolean => (value != 0).to_string(),
        ControlKind::Menu => word(value).unwrap_or_else(|| value.to_string()),
        ControlKind::Bitmask => format!("{value:#x}"),
        _ => value.to_string(),
    });
    let Control { minimum, maximum, step, default, .. } = control;
    let limits = match control.kind {
        ControlKind::Integer | ControlKind::Integer64 | ControlKind::IntegerMenu => {
            format!("{minimum} to {maximum}, step {step}, default {default}")
        }
        _ => String::new(),
    };
    ControlState {
        key: control.key(),
        kind: control.kind,
        value,
        limits,
        choices: items.into_iter().map(|(_, word)| word).collect(),
        inactive: control.inactive(),
        read_only: control.read_only(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::v4l2::model::Model;

    #[test]
    fn a_node_is_described_in_the_words_of_the_configuration() {
        let model = Model::with(|m| m.formats = vec![PixelFormat::Mono8, PixelFormat::BayerRG8]);
        let told = describe(&model).unwrap();
        assert_eq!((told.card.name.as_str(), told.card.driver.as_str()), ("Model camera", "model"));
        let names: Vec<_> = told.formats.iter().map(|f| f.format.map(PixelFormat::name)).collect();
        assert_eq!(names, [Some("Mono8"), Some("BayerRG8"), None], "what is of no use comes last");
        let range = "8x1 to 64x48 in steps of 8x1 at 5, 25, 50 Hz";
        assert_eq!(told.formats[0].sizes, [range]);
        let of = |key: &str| told.controls.iter().find(|c| c.key == key).unwrap();
        let gain = of("gain");
        assert_eq!(
            (gain.value.as_deref(), gain.limits.as_str()),
            (Some("0"), "0 to 100, step 1, default 0")
        );
        let exposure = of("auto_exposure");
        assert_eq!(exposure.value.as_deref(), Some("Aperture Priority Mode"));
        assert_eq!(exposure.choices, ["Manual Mode", "Aperture Priority Mode"]);
        assert!(of("exposure_time_absolute").inactive);
        assert_eq!(
            (of("horizontal_flip").value.as_deref(), of("reset").value.as_deref()),
            (Some("false"), None)
        );
        assert!(told.controls.iter().all(|c| c.key != "user_controls"), "a heading is no control");
        model.assert_well_treated();
    }
}
