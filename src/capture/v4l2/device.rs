//! What the back-end asks of a V4L2 device: the kernel's requests with safe types.
//!
//! Buffers are moved, not pointed to: who queues one gives it away, and gets it back filled. So
//! nobody can touch memory that the driver writes into, whatever the order of calls.

use std::io;

use super::fourcc::FourCc;
use crate::frame::Slab;

/// One video node of the kernel, or a model of one.
pub trait Device: Send + Sync {
    /// Who it is and what it can do.
    ///
    /// # Errors
    /// As the kernel reports them; the same holds for all that follow.
    fn card(&self) -> io::Result<Card>;

    /// The pixel formats it offers.
    fn formats(&self) -> io::Result<Vec<FourCc>>;

    /// The picture sizes of a format; none when the driver does not list them.
    fn sizes(&self, format: FourCc) -> io::Result<Vec<Sizes>>;

    /// The times between two pictures of a format and size; none when the driver does not list
    /// them. Of a range, the shortest and the longest.
    fn intervals(&self, format: FourCc, size: (u32, u32)) -> io::Result<Vec<Interval>>;

    /// Asks for a format; what the driver made of it.
    fn set_format(&self, format: FourCc, size: (u32, u32)) -> io::Result<Layout>;

    /// Asks for a time between frames; what the driver made of it, `None` when it cannot set any.
    fn set_interval(&self, interval: Interval) -> io::Result<Option<Interval>>;

    /// The control with the lowest number above `id`, of any kind.
    fn control_after(&self, id: u32) -> io::Result<Control>;

    /// The name of a choice of a menu; an error when this choice does not exist.
    fn menu_item(&self, id: u32, index: u32) -> io::Result<String>;

    /// The value of a control.
    fn value(&self, control: &Control) -> io::Result<i64>;

    /// Sets a control.
    fn set_value(&self, control: &Control, value: i64) -> io::Result<()>;

    /// Asks for `count` buffers; how many the driver gives. 0 frees them.
    fn allocate(&self, way: Way, count: u32) -> io::Result<u32>;

    /// The driver's buffer of this number, mapped into the process; once per buffer.
    fn map(&self, slot: u32) -> io::Result<Box<dyn Slab>>;

    /// Gives a buffer to the driver. When it is refused, it is freed.
    fn queue(&self, slot: u32, slab: Box<dyn Slab>) -> io::Result<()>;

    /// Takes the next filled buffer, or `None` when there is none yet.
    fn dequeue(&self) -> io::Result<Option<Filled>>;

    /// The camera begins to fill queued buffers.
    fn start(&self) -> io::Result<()>;

    /// The camera ends; queued buffers are freed.
    fn stop(&self) -> io::Result<()>;

    /// Waits for a filled buffer, at most `ns` nanoseconds.
    fn wait(&self, ns: u64) -> io::Result<Ready>;
}

/// Who a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The kernel's driver.
    pub driver: String,
    /// Name for people.
    pub name: String,
    /// Where it is plugged in.
    pub bus: String,
    /// Whether it delivers pictures (metadata nodes of the same camera do not).
    pub captures: bool,
    /// Whether it streams into queued buffers.
    pub streams: bool,
}

/// How pictures lie in memory, as the driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Pixel format.
    pub format: FourCc,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next; 0 when compressed.
    pub stride: u32,
    /// Bytes of a buffer.
    pub bytes: u32,
    /// Buffers a picture is spread over.
    pub planes: u32,
    /// Whether a picture has all its rows of one moment.
    pub progressive: bool,
}

/// Picture sizes that a format has, (width, height) in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// This one.
    One((u32, u32)),
    /// All from the smallest to the largest in these steps.
    Range {
        /// Smallest.
        min: (u32, u32),
        /// Largest.
        max: (u32, u32),
        /// From one to the next.
        step: (u32, u32),
    },
}

/// Seconds between two frames, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Numerator.
    pub seconds: u32,
    /// Denominator.
    pub per: u32,
}

impl Interval {
    /// The interval of `hz` frames a second, exact to a thousandth.
    pub fn of_hz(hz: f64) -> Interval {
        let per = ((hz * 1000.0).round() as u32).max(1);
        let divisor = gcd(1000, per);
        Interval { seconds: 1000 / divisor, per: per / divisor }
    }

    /// Frames a second.
    pub fn hz(self) -> f64 {
        f64::from(self.per) / f64::from(self.seconds.max(1))
    }

    /// Whether both are the same time.
    pub fn is(self, other: Interval) -> bool {
        u64::from(self.seconds) * u64::from(other.per)
            == u64::from(other.seconds) * u64::from(self.per)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Who provides the memory of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The driver (`V4L2_MEMORY_MMAP`).
    Mmap,
    /// The station's pool (`V4L2_MEMORY_USERPTR`).
    UserPtr,
}

/// What a control takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Integer64,
    /// 0 or 1.
    Boolean,
    /// One of some named choices.
    Menu,
    /// One of some numbers.
    IntegerMenu,
    /// Bits.
    Bitmask,
    /// An action without a value.
    Button,
    /// A heading, a text or something newer.
    Other,
}

/// A control of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The kernel's number.
    pub id: u32,
    /// As the driver calls it, for people.
    pub name: String,
    /// What it takes.
    pub kind: ControlKind,
    /// Smallest value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// Values are multiples of it above the minimum.
    pub step: u64,
    /// Value after plugging in.
    pub default: i64,
    /// `V4L2_CTRL_FLAG_...`
    pub flags: u32,
}

impl Control {
    const DISABLED: u32 = 0x1;
    const READ_ONLY: u32 = 0x4;
    const INACTIVE: u32 = 0x10;

    /// Whether it exists in name only.
    pub fn disabled(&self) -> bool {
        self.flags & Self::DISABLED != 0
    }

    /// Whether it cannot be set.
    pub fn read_only(&self) -> bool {
        self.flags & Self::READ_ONLY != 0
    }

    /// Whether another control, as a rule an automatic one, makes it ineffective now.
    pub fn inactive(&self) -> bool {
        self.flags & Self::INACTIVE != 0
    }

    /// The name in a configuration file: small letters and digits, everything else one `_`. These
    /// are the names that `v4l2-ctl --list-ctrls` shows.
    pub fn key(&self) -> String {
        let mut key = String::new();
        for c in self.name.chars() {
            if c.is_ascii_alphanumeric() {
                key.push(c.to_ascii_lowercase());
            } else if !key.is_empty() && !key.ends_with('_') {
                key.push('_');
            }
        }
        key.truncate(key.trim_end_matches('_').len());
        key
    }
}

/// A buffer that the driver gave back.
pub struct Filled {
    /// The buffer's number.
    pub slot: u32,
    /// Its memory.
    pub slab: Box<dyn Slab>,
    /// Bytes of the picture.
    pub bytes: usize,
    /// Bytes before the picture.
    pub offset: usize,
    /// The driver says that the picture is damaged.
    pub damaged: bool,
    /// The driver's frame number.
    pub sequence: u32,
    /// The driver's time stamp, where it is of the monotonic clock.
    pub stamp_ns: Option<u64>,
    /// Time since then.
    pub age_ns: Option<u64>,
}

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A buffer is filled.
    Filled,
    /// Nothing came in time.
    Nothing,
    /// The device is gone, or its stream broke.
    Broken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_become_the_fractions_that_drivers_know() {
        for (hz, seconds, per) in
            [(25.0, 1, 25), (29.97, 100, 2997), (0.5, 2, 1), (7.5, 2, 15), (1000.0, 1, 1000)]
        {
            assert_eq!(Interval::of_hz(hz), Interval { seconds, per }, "{hz}");
        }
        assert!(Interval { seconds: 2, per: 50 }.is(Interval { seconds: 1, per: 25 }));
        assert!(!Interval { seconds: 1001, per: 30_000 }.is(Interval::of_hz(29.97)));
    }

    #[test]
    fn controls_have_the_names_that_other_tools_show() {
        let key = |name: &str| {
            let name = name.to_owned();
            let kind = ControlKind::Integer;
            let bounds = (0, 1, 1, 0);
            let (minimum, maximum, step, default) = bounds;
            Control { id: 1, name, kind, minimum, maximum, step, default, flags: 0 }.key()
        };
        assert_eq!(key("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(key("White Balance, Automatic (K)"), "white_balance_automatic_k");
        assert_eq!(key("!?"), "");
    }

    proptest! {
        #[test]
        fn a_rate_survives_as_a_fraction(mhz in 1u32..1_000_000) {
            let hz = f64::from(mhz) / 1000.0;
            prop_assert!((Interval::of_hz(hz).hz() - hz).abs() < 1e-6);
        }
    }
}
