//! The controls of the model.

use crate::capture::v4l2::device::{Control, ControlKind};

/// An automatic exposure that rules an exposure time, as UVC has it; a gain that rounds.
pub(super) fn controls() -> Vec<(Control, i64)> {
    let control = |id, name: &str, kind, (minimum, maximum, step), flags| Control {
        id,
        name: name.to_owned(),
        kind,
        minimum,
        maximum,
        step,
        default: minimum,
        flags,
    };
    const INACTIVE: u32 = 0x10;
    vec![
        (control(0x0098_0001, "User Controls", ControlKind::Other, (0, 0, 0), 0x4), 0),
        (control(0x0098_0913, "Gain", ControlKind::Integer, (0, 100, 1), 0), 0),
        (control(0x0098_0914, "Horizontal Flip", ControlKind::Boolean, (0, 1, 1), 0), 0),
        (control(0x0098_0920, "Reset", ControlKind::Button, (0, 0, 0), 0), 0),
        (control(0x009a_0901, "Auto Exposure", ControlKind::Menu, (0, 3, 1), 0), 3),
        (
            control(
                0x009a_0902,
                "Exposure Time, Absolute",
                ControlKind::Integer,
                (1, 5000, 1),
                INACTIVE,
            ),
            157,
        ),
        (control(0x009a_0910, "Line Time", ControlKind::Integer, (10, 1000, 10), 0), 100),
    ]
}
