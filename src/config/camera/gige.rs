//! A GigE Vision or USB3 Vision camera. Pure; read whether or not the program can open one.

use super::types::{Feature, FeatureValue, Gige, GigeLink, LineTrigger, Region};
use crate::config::reader::{Entry, Found, Scalar, Section};
use crate::frame::PixelFormat;

/// Longest name of a camera: an id of vendor, model and serial number.
const DEVICE_BYTES_MAX: usize = 128;
/// Longest side of a sensor, line-scan cameras included.
const SIDE_PIXELS_MAX: i64 = 65_536;
/// Smallest packet that every GigE Vision device must be able to send, and the largest of the
/// standard, in bytes with the headers of IP.
const PACKET_BYTES: std::ops::RangeInclusive<i64> = 576..=16_404;
/// More than a second of a 10 Gbit link; a larger number is a slip.
const SOCKET_BUFFER_BYTES_MAX: i64 = 1 << 30;
/// Longest delay in microseconds: a part that is exposed later is another part.
const DELAY_US_MAX: f64 = 10_000_000.0;
/// Longest GenICam name taken, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Features in all: more than any camera needs set.
const FEATURES_MAX: usize = 256;

/// Layouts that a GenICam camera can send and an engine can read.
fn is_sent(format: PixelFormat) -> bool {
    !matches!(format, PixelFormat::Nv12 | PixelFormat::Mjpeg)
}

pub(super) fn gige(section: Section<'_>, wanted: bool) -> Option<Gige> {
    let device = device(&section, wanted);
    let pixel_format = pixel_format(&section, wanted);
    let side = 1..=SIDE_PIXELS_MAX;
    let pixels = |found: Option<Found<'_, i64>>| found.map(|found| found.value as u32);
    let region = Region {
        width: pixels(section.integer_optional("width", side.clone(), "the whole sensor")),
        height: pixels(section.integer_optional("height", side, "the whole sensor")),
        offset_x: section.integer("offset_x", 0..=SIDE_PIXELS_MAX, 0) as u32,
        offset_y: section.integer("offset_y", 0..=SIDE_PIXELS_MAX, 0) as u32,
    };
    let user_set = name(section.text("user_set", "none"));
    let chunks = section.boolean("chunks", true);
    let trigger = trigger(&section, chunks);
    let packet_size =
        section.integer_optional("packet_size", PACKET_BYTES, "the largest that passes");
    let (buffer, default) = (0..=SOCKET_BUFFER_BYTES_MAX, GigeLink::default());
    let buffer = section.integer("socket_buffer_bytes", buffer, default.socket_buffer_bytes.into());
    let link = GigeLink {
        packet_bytes: packet_size.map(|found| found.value as u32),
        resend: section.boolean("resend", default.resend),
        socket_buffer_bytes: buffer as u32,
        packet_socket: section.boolean("packet_socket", default.packet_socket),
    };
    let features = features(&section);
    section.finish();
    let (device, pixel_format) = (device?, pixel_format?);
    Some(Gige { device, pixel_format, region, user_set, trigger, chunks, link, features })
}

fn device(section: &Section<'_>, wanted: bool) -> Option<String> {
    let remedy = "name the camera by its id, IP or MAC address, serial number or user name; \
                  `crrd camera list` shows them";
    let found = if wanted {
        section.text_required("device", remedy)?
    } else {
        section.text("device", "required")?
    };
    if found.value.is_empty() || found.value.len() > DEVICE_BYTES_MAX {
        found.refuse("not the name of a camera", remedy);
        return None;
    }
    Some(found.value.to_owned())
}

fn pixel_format(section: &Section<'_>, wanted: bool) -> Option<PixelFormat> {
    let names: Vec<_> = PixelFormat::ALL.into_iter().filter(|f| is_sent(*f)).collect();
    let names = names.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
    let remedy = format!("use one that the camera has, of {names}");
    let found = if wanted {
        section.text_required("pixel_format", &remedy)?
    } else {
        section.text("pixel_format", "required")?
    };
    let format = PixelFormat::named(found.value).filter(|format| is_sent(*format));
    if format.is_none() {
        found.refuse("not a known layout", remedy);
    }
    format
}

/// A GenICam name: letters, digits, `_`.
fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(legal)
}

fn name(found: Option<Found<'_, &str>>) -> Option<String> {
    let found = found?;
    if !is_name(found.value) {
        found.refuse("not a name as cameras have them", "use letters, digits and '_'");
        return None;
    }
    Some(found.value.to_owned())
}

fn trigger(section: &Section<'_>, chunks: bool) -> Option<LineTrigger> {
    let source = section.text("trigger_source", "none");
    let edges = ["RisingEdge", "FallingEdge", "AnyEdge", "LevelHigh", "LevelLow"];
    let words = edges.map(|edge| (edge, edge));
    let activation = section.word("trigger_activation", &words, 0).to_owned();
    let delay_us = section.number("trigger_delay_us", 0.0..=DELAY_US_MAX, 0.0);
    let debounce_us = section.number_optional("trigger_debounce_us", 0.0..=DELAY_US_MAX, "none");
    let counter = section.text("trigger_counter", "none");
    if let Some(found) = counter.as_ref().filter(|_| !chunks) {
        let remedy = "remove chunks = false: the count comes with each frame";
        found.refuse("the camera would not tell it", remedy);
    }
    let counter = name(counter);
    if let Some(found) = source.as_ref().filter(|found| found.value == "Software") {
        let remedy = "set trigger = \"software\" in [camera] instead: then the PLC can ask for it";
        found.refuse("a picture on request", remedy);
        return None;
    }
    if source.is_none() {
        let idle =
            ["trigger_activation", "trigger_delay_us", "trigger_debounce_us", "trigger_counter"];
        for field in idle.into_iter().filter(|field| section.has(field)) {
            section.missing("trigger_source", &format!("{field} needs it, for example \"Line1\""));
        }
    }
    Some(LineTrigger { source: name(source)?, activation, delay_us, debounce_us, counter })
}

/// Features that have a field of their own, and the field.
const FIELDS: [(&str, &str); 12] = [
    ("PixelFormat", "pixel_format"),
    ("Width", "width"),
    ("Height", "height"),
    ("OffsetX", "offset_x"),
    ("OffsetY", "offset_y"),
    ("UserSetLoad", "user_set"),
    ("TriggerMode", "trigger_source"),
    ("TriggerSource", "trigger_source"),
    ("TriggerActivation", "trigger_activation"),
    ("TriggerDelay", "trigger_delay_us"),
    ("ChunkModeActive", "chunks"),
    ("GevSCPSPacketSize", "packet_size"),
];

fn features(section: &Section<'_>) -> Vec<Feature> {
    let entries = section.entries("features", "none");
    if let Some(beyond) = entries.get(FEATURES_MAX) {
        beyond.found.refuse("too many features", format!("set at most {FEATURES_MAX}"));
    }
    entries.iter().take(FEATURES_MAX).filter_map(feature).collect()
}

fn feature(entry: &Entry<'_>) -> Option<Feature> {
    let found = &entry.found;
    let Some((name, selector)) = parts(entry.key) else {
        let remedy = "write the feature's name, or \"Name[Selector=Entry]\" in quotes";
        found.refuse("not the name of a feature", remedy);
        return None;
    };
    if let Some((_, field)) = FIELDS.iter().find(|(feature, _)| *feature == name) {
        found.refuse("this feature has a field of its own", format!("set camera.gige.{field}"));
        return None;
    }
    let value = match found.value {
        Scalar::Text(text) => FeatureValue::Text(text.to_owned()),
        Scalar::Boolean(word) => FeatureValue::Boolean(word),
        Scalar::Integer(whole) => FeatureValue::Integer(whole),
        Scalar::Number(number) => FeatureValue::Float(number),
    };
    // Limits are certified for one brightness.
    let automatic = ["ExposureAuto", "GainAuto", "BalanceWhiteAuto"].contains(&name);
    if automatic && value != FeatureValue::Text("Off".into()) {
        found.refuse(
            "a camera that changes its own brightness or colour makes every limit void",
            "remove it (it is switched off at the start) and set the value itself",
        );
        return None;
    }
    let selector = selector.map(|(name, entry)| (name.to_owned(), entry.to_owned()));
    Some(Feature { name: name.to_owned(), selector, value })
}

/// `Name` or `Name[Selector=Entry]`.
fn parts(key: &str) -> Option<(&str, Option<(&str, &str)>)> {
    let (name, selector) = match key.strip_suffix(']') {
        None => (key, None),
        Some(key) => {
            let (name, rest) = key.split_once('[')?;
            let (selector, entry) = rest.split_once('=')?;
            (name, Some((selector, entry)))
        }
    };
    let whole = is_name(name) && selector.is_none_or(|(s, e)| is_name(s) && is_name(e));
    whole.then_some((name, selector))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{CameraSource, ConfigError, ValidConfig, parse};

    fn read(camera: &str) -> Result<ValidConfig, ConfigError> {
        let text = format!(
            "station = \"a\"\nengine = \"e\"\ncalibration = \"c\"\n[[recipe]]\nid = 1\n\
             class = \"steel\"\n[camera]\n{camera}"
        );
        parse(Path::new("/etc/crrd.toml"), &text)
    }

    const SMALL: &str = "kind = \"gige\"\n[camera.gige]\ndevice = \"10.0.0.7\"\n\
                         pixel_format = \"BayerRG8\"\n";

    fn gige_of(more: &str) -> Gige {
        match read(&format!("{SMALL}{more}")).unwrap().cameras.remove(0).source {
            CameraSource::Gige(gige) => gige,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_names_a_feature_and_may_name_its_selector() {
        assert_eq!(parts("Gain"), Some(("Gain", None)));
        let selected = Some(("LineSource", Some(("LineSelector", "Line2"))));
        assert_eq!(parts("LineSource[LineSelector=Line2]"), selected);
        for bad in ["", "Ga in", "Gain[", "Gain[A]", "Gain[A=]", "[A=B]", "Gain]", "Gain[A=B]x"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_small_table_has_the_documented_defaults() {
        let gige = gige_of("");
        assert_eq!((gige.device.as_str(), gige.pixel_format), ("10.0.0.7", PixelFormat::BayerRG8));
        assert_eq!((gige.region, gige.user_set, gige.trigger), (Region::default(), None, None));
        let link = GigeLink {
            packet_bytes: None,
            resend: true,
            socket_buffer_bytes: 32 << 20,
            packet_socket: true,
        };
        assert_eq!((gige.chunks, gige.link), (true, link));
        assert_eq!(gige.features, []);
    }

    #[test]
    fn features_come_in_the_order_of_the_file_whatever_their_names() {
        let gige = gige_of(
            "[camera.gige.features]\nZoom = 2\nExposureTime = 500.5\nReverseX = true\n\
             \"LineMode[LineSelector=Line2]\" = \"Output\"\nA = -1\n",
        );
        let told: Vec<_> =
            gige.features.iter().map(|f| format!("{} {}", f.name, f.value)).collect();
        let expected =
            ["Zoom 2", "ExposureTime 500.5", "ReverseX true", "LineMode \"Output\"", "A -1"];
        assert_eq!(told, expected);
        let selector = Some(("LineSelector".to_owned(), "Line2".to_owned()));
        assert_eq!(gige.features[3].selector, selector);
    }

    #[test]
    fn a_line_trigger_has_its_edge_delay_and_debounce() {
        let gige = gige_of("trigger_source = \"Line1\"\ntrigger_debounce_us = 5\n");
        let trigger = gige.trigger.unwrap();
        assert_eq!((trigger.source.as_str(), trigger.activation.as_str()), ("Line1", "RisingEdge"));
        assert_eq!(
            (trigger.delay_us, trigger.debounce_us, trigger.counter),
            (0.0, Some(5.0), None)
        );
        let gige = gige_of("trigger_source = \"Line1\"\ntrigger_counter = \"Counter0\"\n");
        assert_eq!(gige.trigger.unwrap().counter.as_deref(), Some("Counter0"));
    }

    #[test]
    fn each_bad_value_gives_a_message_that_says_what_to_do() {
        for (camera, says) in [
            ("kind = \"gige\"".to_owned(), "camera.gige.device: missing; name the camera"),
            ("kind = \"gige\"".to_owned(), "camera.gige.pixel_format: missing; use one"),
            (format!("{SMALL}device = \"b\""), "mend the TOML syntax"),
            (SMALL.replace("BayerRG8", "NV12"), "not a known layout; use one that the camera has"),
            (SMALL.replace("10.0.0.7", ""), "not the name of a camera"),
            (format!("{SMALL}packet_size = 100"), "use 576 to 16404"),
            (format!("{SMALL}width = 0"), "use 1 to 65536"),
            (format!("{SMALL}trigger_delay_us = 5"), "trigger_delay_us needs it"),
            (format!("{SMALL}trigger_counter = \"Counter0\""), "trigger_counter needs it"),
            (
                format!(
                    "{SMALL}trigger_source = \"Line1\"\nchunks = false\ntrigger_counter = \"C\""
                ),
                "remove chunks = false",
            ),
            (format!("{SMALL}trigger_source = \"Software\""), "trigger = \"software\" in [camera]"),
            (format!("{SMALL}trigger_source = \"Line 1\""), "letters, digits and '_'"),
            (format!("{SMALL}features = 3"), "write a table"),
            (format!("{SMALL}features = {{ \"a b\" = 3 }}"), "Name[Selector=Entry]"),
            (format!("{SMALL}features = {{ Gain = [3] }}"), "not a single value"),
            (format!("{SMALL}features = {{ Gain = nan }}"), "not a single value"),
            (format!("{SMALL}features = {{ Width = 3 }}"), "set camera.gige.width"),
            (
                format!("{SMALL}features = {{ ExposureAuto = \"Once\" }}"),
                "camera.gige.features.ExposureAuto = \"Once\": a camera that changes its own",
            ),
            (format!("folder = \"p\"\n{SMALL}"), "camera.folder: of no use here; remove it"),
            (
                "folder = \"p\"\n[camera.gige]\ndevice = \"x\"".to_owned(),
                "camera.gige: of no use here; set kind = \"gige\"",
            ),
            (format!("recipe_from = \"folder\"\n{SMALL}"), "camera come from no folder"),
        ] {
            let error = read(&camera).err().unwrap_or_else(|| panic!("{camera} is refused"));
            let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|m| m.contains(says)), "{camera}: {found:#?}");
        }
        assert!(read(&format!("{SMALL}features = {{ ExposureAuto = \"Off\" }}")).is_ok());
    }
}
