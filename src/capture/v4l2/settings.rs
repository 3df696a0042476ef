//! Applies the settings and reads them back: what the camera really does is what was asked for,
//! or the station does not start.

use std::io;

use super::device::{Control, ControlKind, Device, Interval, Layout};
use super::fourcc::FourCc;
use super::{Setting, V4l2Options, Value};
use crate::capture::{CameraError, CameraErrorKind};
use crate::frame::PixelFormat;

/// Menus of the kernel are short; a longer one is a driver without an end.
const MENU_ITEMS_MAX: i64 = 256;
/// No camera has more controls.
const CONTROLS_MAX: usize = 1024;

/// Sets everything that `options` asks for.
///
/// # Errors
/// When the device is no camera, or makes something else of a setting; the message says what.
pub(super) fn apply(device: &dyn Device, options: &V4l2Options) -> Result<Layout, CameraError> {
    let at = Place { path: options.device.display().to_string() };
    let card = device.card().map_err(|e| at.failed("cannot be asked what it is", e))?;
    if !card.captures || !card.streams {
        return Err(at.refuse(format!(
            "is a node of {} ({}) that delivers no pictures: name another of its /dev/video files",
            card.name, card.driver
        )));
    }
    let layout = format(device, options, &at)?;
    if let Some(wanted) = options.interval {
        interval(device, wanted, &at)?;
    }
    controls(device, &options.controls, &at)?;
    tracing::info!(
        camera = card.name, driver = card.driver, bus = card.bus, format = %layout.format,
        width = layout.width, height = layout.height, stride = layout.stride, "V4L2 camera"
    );
    Ok(layout)
}

/// Names the device in messages.
struct Place {
    path: String,
}

impl Place {
    fn refuse(&self, what: impl std::fmt::Display) -> CameraError {
        CameraError::new(CameraErrorKind::Settings, format!("{} {what}", self.path))
    }

    fn failed(&self, what: impl std::fmt::Display, error: io::Error) -> CameraError {
        let message = format!("{} {what}", self.path);
        CameraError::with_source(CameraErrorKind::Settings, message, error)
    }
}

fn format(device: &dyn Device, options: &V4l2Options, at: &Place) -> Result<Layout, CameraError> {
    let wanted = FourCc::of(options.format);
    let size = (options.width, options.height);
    let set = device.set_format(wanted, size);
    let layout = set.map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => at.failed(
            "is in use: end the other program that has it open, or wait until pictures of the \
             last stream are judged",
            error,
        ),
        _ => at.failed(format_args!("refuses the format {} ({wanted})", options.format), error),
    })?;
    if layout.format != wanted {
        let offered = device.formats().map_err(|e| at.failed("cannot list its formats", e))?;
        let offered: Vec<_> = offered.into_iter().map(shown).collect();
        return Err(at.refuse(format_args!(
            "does not offer {} ({wanted}) but {}: set pixel_format to one of them that has a name \
             here",
            options.format,
            offered.join(", ")
        )));
    }
    if (layout.width, layout.height) != size {
        return Err(at.refuse(format_args!(
            "made {}x{} pixels of {}x{}: set width and height to a size that it has",
            layout.width, layout.height, size.0, size.1
        )));
    }
    if layout.planes != 1 {
        return Err(at.refuse(format_args!(
            "spreads a picture over {} buffers, which cannot be read as one: choose another \
             pixel_format",
            layout.planes
        )));
    }
    if !layout.progressive {
        return Err(at.refuse(
            "delivers interlaced pictures, whose rows are of different moments: choose a \
             progressive mode",
        ));
    }
    rows_fit(layout, options.format, at)
}

fn shown(code: FourCc) -> String {
    code.format().map_or_else(|| format!("({code})"), |format| format.to_string())
}

/// The layout with the stride that the driver did not care to state.
fn rows_fit(mut layout: Layout, format: PixelFormat, at: &Place) -> Result<Layout, CameraError> {
    let row = format.row_bytes(layout.width as usize);
    if layout.stride == 0 {
        layout.stride = u32::try_from(row).unwrap_or(u32::MAX);
    }
    let need = (layout.stride as usize).saturating_mul(format.rows(layout.height as usize));
    let rows_fit = format.is_compressed() || layout.stride as usize >= row;
    // The padding after the last row may be missing.
    let fits = format.is_compressed() || (layout.bytes as usize).saturating_add(row) >= need;
    match rows_fit && fits && layout.bytes > 0 {
        true => Ok(layout),
        false => Err(at.refuse(format_args!(
            "states {} bytes a row and {} a picture, too few for {}x{} {format}: its driver is \
             at fault",
            layout.stride, layout.bytes, layout.width, layout.height
        ))),
    }
}

fn interval(device: &dyn Device, wanted: Interval, at: &Place) -> Result<(), CameraError> {
    let set = device.set_interval(wanted).map_err(|error| {
        at.failed(format_args!("refuses {} pictures a second", wanted.hz()), error)
    })?;
    match set {
        Some(got) if got.is(wanted) => Ok(()),
        Some(got) => {
            // A camera has the rates it has. This is no fault, but nobody should be surprised.
            tracing::warn!(asked_hz = wanted.hz(), rate_hz = got.hz(), "the camera's nearest rate");
            Ok(())
        }
        None => Err(at.refuse("cannot set its rate: remove rate_hz (a control may do it)")),
    }
}

/// The same, naming the device when that fails.
fn list(device: &dyn Device, at: &Place) -> Result<Vec<Control>, CameraError> {
    list_controls(device).map_err(|error| at.failed("cannot list its controls", error))
}

/// Every control of the device that can be set or read.
pub(super) fn list_controls(device: &dyn Device) -> io::Result<Vec<Control>> {
    let mut found: Vec<Control> = Vec::new();
    while found.len() < CONTROLS_MAX {
        let after = found.last().map_or(0, |control| control.id);
        match device.control_after(after) {
            Ok(control) if control.id > after => found.push(control),
            // The end of the list.
            Ok(_) => break,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    found.retain(|control| !control.disabled() && control.kind != ControlKind::Other);
    Ok(found)
}

fn find<'c>(known: &'c [Control], name: &str, at: &Place) -> Result<&'c Control, CameraError> {
    let id = name.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    known.iter().find(|c| Some(c.id) == id || c.key() == name).ok_or_else(|| {
        let keys: Vec<_> = known.iter().map(Control::key).collect();
        at.refuse(format_args!("has no control {name:?}; it has {}", keys.join(", ")))
    })
}

/// Sets all controls, automatic ones before those that they switch off, and reads all back.
fn controls(device: &dyn Device, wanted: &[Setting], at: &Place) -> Result<(), CameraError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut known = list(device, at)?;
    let mut waiting = Vec::new();
    for setting in wanted {
        let control = find(&known, &setting.name, at)?;
        waiting.push((setting, number(device, control, setting, at)?));
    }
    let targets = waiting.clone();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for (setting, value) in waiting {
            let control = find(&known, &setting.name, at)?;
            // UVC's exposure time cannot be set while its automatic exposure is on.
            if control.inactive() {
                later.push((setting, value));
                continue;
            }
            device.set_value(control, value).map_err(|error| {
                at.failed(format_args!("refuses {} = {value}", setting.name), error)
            })?;
        }
        if later.len() == before {
            let names: Vec<_> = later.iter().map(|(setting, _)| setting.name.as_str()).collect();
            return Err(at.refuse(format_args!(
                "ignores {} because an automatic control is on: set that one, too (for exposure \
                 it is auto_exposure = \"Manual Mode\")",
                names.join(", ")
            )));
        }
        waiting = later;
        known = list(device, at)?;
    }
    for (setting, value) in targets {
        verify(device, find(&known, &setting.name, at)?, setting, value, at)?;
    }
    Ok(())
}

fn verify(
    device: &dyn Device,
    control: &Control,
    setting: &Setting,
    value: i64,
    at: &Place,
) -> Result<(), CameraError> {
    let name = &setting.name;
    let got = device.value(control);
    let got = got.map_err(|e| at.failed(format_args!("does not tell its {name}"), e))?;
    if control.inactive() {
        return Err(at.refuse(format_args!(
            "took {name} = {value}, but another setting made it ineffective: remove one of them"
        )));
    }
    if got == value {
        tracing::info!(control = name, value, "set and read back");
        return Ok(());
    }
    Err(at.refuse(format_args!(
        "made {got} of {name} = {value}: write {got} when that is meant (drivers round to what the \
         sensor can do), or find out which setting is in its way"
    )))
}

/// The value as the kernel counts it, inside the control's bounds.
fn number(
    device: &dyn Device,
    control: &Control,
    setting: &Setting,
    at: &Place,
) -> Result<i64, CameraError> {
    let name = &setting.name;
    if control.read_only() || control.kind == ControlKind::Button {
        return Err(at.refuse(format_args!("has {name} for show: it keeps no value; remove it")));
    }
    let value = match (&setting.value, control.kind) {
        (Value::Word(word), ControlKind::Menu) => {
            return choice(device, control, word, setting, at);
        }
        (Value::Flag(flag), ControlKind::Boolean) => i64::from(*flag),
        (Value::Number(number), _) => *number,
        _ => {
            return Err(at.refuse(format_args!("wants {} for {name}", expected(control.kind))));
        }
    };
    let whole = control.kind == ControlKind::Bitmask;
    let step = i64::try_from(control.step.max(1)).unwrap_or(i64::MAX);
    let Control { minimum, maximum, .. } = *control;
    if whole || (minimum..=maximum).contains(&value) {
        if whole || value.saturating_sub(minimum) % step == 0 {
            return Ok(value);
        }
        return Err(at.refuse(format_args!("takes {name} in steps of {step} from {minimum} on")));
    }
    Err(at.refuse(format_args!("takes {minimum} to {maximum} for {name}, not {value}")))
}

fn expected(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::Boolean => "true or false",
        ControlKind::Menu => "one of its words or a number",
        _ => "a number",
    }
}

/// The choices of a menu with their numbers.
pub(super) fn menu(device: &dyn Device, control: &Control) -> Vec<(i64, String)> {
    let indices = control.minimum..=control.maximum.min(MENU_ITEMS_MAX);
    // Menus have holes.
    let item = |index| Some((index, device.menu_item(control.id, index as u32).ok()?));
    indices.filter_map(item).collect()
}

fn choice(
    device: &dyn Device,
    control: &Control,
    word: &str,
    setting: &Setting,
    at: &Place,
) -> Result<i64, CameraError> {
    let items = menu(device, control);
    if let Some((index, _)) = items.iter().find(|(_, item)| item.eq_ignore_ascii_case(word)) {
        return Ok(*index);
    }
    let words: Vec<String> = items.iter().map(|(_, item)| format!("{item:?}")).collect();
    Err(at.refuse(format_args!("has no {word:?} for {}: use {}", setting.name, words.join(" or "))))
}
