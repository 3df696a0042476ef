//! Tests of the configuration: one bad file, every message.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::frame::{Geometry, PixelFormat, RecipeId, Tiling};
use crate::sys::log::{Format, Level};

const EXAMPLE: &str = include_str!("../../systemd/crrd.toml.example");
const SPEC: &str = include_str!("../../docs/spec/config.md");
const FILE: &str = "/etc/crrd/crrd.toml";

const SMALL: &str = r#"
station = "line1"
engine = "engines/steel"
calibration = "steel.toml"
[[recipe]]
id = 7
class = "steel"
[camera]
folder = "parts"
"#;

fn messages(text: &str) -> Vec<String> {
    match parse(Path::new(FILE), text) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

/// `SMALL` with `from` replaced, and the one message it gives.
fn one_message(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    let found = messages(&SMALL.replacen(from, to, 1));
    assert_eq!(found.len(), 1, "{to}: {found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn a_small_file_is_valid_and_has_the_documented_defaults() {
    let config = parse(Path::new(FILE), SMALL).unwrap();
    assert_eq!(config.station.as_str(), "line1");
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/crrd"));
    assert_eq!(config.engine, EngineSource::Folder("/etc/crrd/engines/steel".into()));
    assert_eq!(config.calibration, CalibrationSource::File("/etc/crrd/steel.toml".into()));
    assert_eq!(
        config.recipes,
        [Recipe {
            id: RecipeId(7),
            class: "steel".into(),
            views: Default::default(),
            tiling: Tiling::WHOLE
        }]
    );
    let CameraSource::Replay(replay) = &config.camera().source else { panic!("not a replay") };
    assert_eq!(replay.folder, PathBuf::from("/etc/crrd/parts"));
    assert_eq!(config.camera().recipe, RecipeChoice::Fixed(RecipeId(7)));
    let camera = config.camera();
    assert_eq!((camera.name.as_str(), camera.queue), ("camera", QueuePolicy::Every));
    assert_eq!((config.cameras.len(), config.trigger.window_ms_max), (1, 50));
    assert_eq!((replay.format, replay.mode), (FileFormat::Image, Mode::Once));
    assert_eq!(replay.rate_hz, 0.0);
    assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("127.0.0.1", 1883));
    assert_eq!(config.mqtt.client_id, "crrd-line1");
    assert_eq!((config.mqtt.username, config.mqtt.password), (None, None));
    assert_eq!((config.mqtt.version, config.mqtt.tls), (MqttVersion::V3_1_1, None));
    assert_eq!(config.limits, Limits { latency_ms_max: 1000, queue_frames: 4 });
    assert_eq!(config.journal.sync, SyncMode::Full);
    assert_eq!(config.journal.bytes_max, 2_000_000_000);
    assert_eq!(config.journal.age_max, Duration::from_secs(365 * 86_400));
    assert_eq!((config.log.level, config.log.format), (Level::Info, Format::Text));
}

#[test]
fn every_problem_is_reported_at_once_with_line_field_value_and_remedy() {
    let text = r#"station = "line 1"
engine = 5
calbration = "x.toml"
[mqtt]
port = 70000
password = "secret-word"
[camera]
rate_hz = nan
mode = "twice"
"#;
    let found = messages(text);
    let expected = [
        "/etc/crrd/crrd.toml:1: station = \"line 1\": cannot be one level",
        "/etc/crrd/crrd.toml:2: engine = 5: this is of type integer; write a text in quotes",
        "/etc/crrd/crrd.toml:3: calbration: unknown field; did you mean \"calibration\"?",
        "/etc/crrd/crrd.toml:5: mqtt.port = 70000: out of range; use 1 to 65535",
        "/etc/crrd/crrd.toml:6: mqtt.password: unknown field; put the password into a file",
        "/etc/crrd/crrd.toml:7: camera.folder: missing; name the folder",
        "/etc/crrd/crrd.toml:8: camera.rate_hz = nan: out of range; use 0 to 1000",
        "/etc/crrd/crrd.toml:9: camera.mode = \"twice\": not one of the known words; use \"once\"",
        "/etc/crrd/crrd.toml: calibration: missing; name the file",
        "/etc/crrd/crrd.toml: recipe: missing; add a [[recipe]] table",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (message, start) in found.iter().zip(expected) {
        assert!(message.starts_with(start), "{message}\nshould start with\n{start}");
        assert!(!message.contains("secret-word"), "{message}");
    }
}

#[test]
fn each_bad_value_gives_one_message_that_says_what_to_do() {
    for (from, to, says) in [
        ("\"line1\"", "\"a/b\"", "ASCII letters"),
        ("\"engines/steel\"", "\"\"", "bundle folder"),
        ("\"steel.toml\"", "\"demo\"", "belong to the demo engine"),
        ("id = 7", "id = 65536", "use 0 to 65535"),
        ("id = 7", "id = -1", "use 0 to 65535"),
        ("id = 7", "id = 99999999999999999999", "use 0 to 65535"),
        ("class = \"steel\"", "class = \"a/b\"", "without '/'"),
        ("[[recipe]]", "[[recipe]]\nid = 7\nclass = \"b\"\n[[recipe]]", "several recipes"),
        ("folder = \"parts\"", "folder = \"\"", "folder with the pictures"),
        ("folder = \"parts\"", "folder = \"parts\"\nrecipe = 8", "no [[recipe]] has this id"),
        ("folder = \"parts\"", "folder = \"p\"\nrecipe_from = \"name\"", "use \"folder\""),
        ("folder = \"parts\"", "folder = \"p\"\nrecipe = 7\nrecipe_from = \"folder\"", "not both"),
        ("folder = \"parts\"", "folder = \"parts\"\nname = \"top view\"", "16 ASCII letters"),
        (
            "folder = \"parts\"",
            "folder = \"parts\"\nqueue = \"newest\"",
            "use \"every\" or \"latest\"",
        ),
        ("folder = \"parts\"", "folder = \"parts\"\nwidth = 3", "set format = \"raw\""),
        ("folder = \"parts\"", "folder = \"parts\"\nrate_hz = -1", "use 0 to 1000"),
        ("folder = \"parts\"", "folder = \"parts\"\nkind = \"usb\"", "use \"replay\""),
        ("folder = \"parts\"", "kind = \"v4l2\"", "camera.v4l2.device: missing"),
        ("folder = \"parts\"", "folder = \"p\"\nkind = \"v4l2\"", "camera.folder: of no use here"),
        (
            "folder = \"parts\"",
            "kind = \"v4l2\"\ntrigger = \"software\"",
            "the kernel knows no trigger by software",
        ),
        (
            "folder = \"parts\"",
            "folder = \"p\"\n[camera.v4l2]\ndevice = \"/dev/video0\"",
            "set kind = \"v4l2\"",
        ),
        (
            "folder = \"parts\"",
            "kind = \"v4l2\"\n[camera.v4l2]\npixel_format = \"GREY\"",
            "of Mono8, Mono10",
        ),
        (
            "folder = \"parts\"",
            "kind = \"v4l2\"\n[camera.v4l2]\ncontrols = { gain = 1.5 }",
            "no control takes a fraction",
        ),
        (
            "folder = \"parts\"",
            "kind = \"v4l2\"\n[camera.v4l2]\nbuffers = \"dmabuf\"",
            "use \"mmap\" or \"userptr\"",
        ),
        ("[camera]", "[mqtt]\nhost = \"broker:1883\"\n[camera]", "field of its own"),
        ("[camera]", "[mqtt]\nprefix = \"a//b\"\n[camera]", "joined by '/'"),
        ("[camera]", "[mqtt]\nprefix = \"a/#\"\n[camera]", "joined by '/'"),
        ("[camera]", "[mqtt]\nprefix = \"a/b/c/d/e/f/g/h/i\"\n[camera]", "11 levels"),
        ("[camera]", "[mqtt]\nclient_id = \"a b\"\n[camera]", "without white space"),
        ("[camera]", "[mqtt]\npassword_file = \"p\"\n[camera]", "set username too"),
        ("[camera]", "[mqtt]\npassword_credential = \"p\"\n[camera]", "set username too"),
        (
            "[camera]",
            "[mqtt]\nusername = \"u\"\npassword_file = \"p\"\npassword_credential = \"p\"\n[camera]",
            "two places",
        ),
        (
            "[camera]",
            "[mqtt]\nusername = \"u\"\npassword_credential = \"../p\"\n[camera]",
            "LoadCredential",
        ),
        ("[camera]", "[mqtt]\nversion = \"4\"\n[camera]", "\"3.1.1\" or \"5\""),
        ("[camera]", "[mqtt]\nversion = \"5\"\nkeep_alive_s = 4\n[camera]", "5 to 600"),
        ("[camera]", "[mqtt]\ntls = 1\n[camera]", "true or false"),
        ("[camera]", "[mqtt]\ntls = true\n[camera]", "authority"),
        ("[camera]", "[mqtt]\nca_file = \"ca\"\n[camera]", "set tls = true"),
        (
            "[camera]",
            "[mqtt]\ntls = true\nca_file = \"ca\"\nclient_cert_file = \"c\"\n[camera]",
            "set client_key_file too",
        ),
        ("[camera]", "[journal]\nsync = \"off\"\n[camera]", "use \"full\" or \"normal\""),
        ("[camera]", "[limits]\nqueue_frames = 0\n[camera]", "use 1 to 64"),
        ("[camera]", "[log]\nlevel = \"loud\"\n[camera]", "\"error\" or \"warn\""),
        ("[camera]", "[lgo]\n[camera]", "did you mean \"log\"?"),
        ("[camera]", "[camera", "mend the TOML syntax"),
        ("[[recipe]]", "[recipe]", "write a list of tables"),
    ] {
        // Some edits bring a second, true message; the one that is looked for must be there.
        let found = messages(&SMALL.replacen(from, to, 1));
        assert!(found.iter().any(|m| m.contains(says)), "{to}: {found:#?}");
        assert!(found.iter().all(|m| m.starts_with(FILE)), "{found:#?}");
    }
    assert!(one_message("id = 7", "id = 7.5").contains("type float"));
}

#[test]
fn live_and_late_messages_in_flight_share_one_window() {
    let text = |lines: &str| SMALL.to_owned() + "[mqtt]\n" + lines;
    for fits in ["live_in_flight_max = 992", "live_in_flight_max = 1\nhist_in_flight_max = 999"] {
        assert_eq!(messages(&text(fits)), [""; 0], "{fits}");
    }
    for (lines, says) in [
        ("live_in_flight_max = 993", ["live_in_flight_max = 993", "hist_in_flight_max = 8", "992"]),
        (
            "hist_in_flight_max = 969",
            ["hist_in_flight_max = 969", "live_in_flight_max = 32", "968"],
        ),
        (
            "live_in_flight_max = 600\nhist_in_flight_max = 700",
            [":12: mqtt.hist_in_flight_max = 700", "live_in_flight_max = 600", "at most 400"],
        ),
        ("live_in_flight_max = 1000", ["live_in_flight_max = 1000", "out of range", "1 to 999"]),
    ] {
        let found = messages(&text(lines));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(says.iter().all(|says| found[0].contains(says)), "{lines}: {found:#?}");
    }
}

#[test]
fn a_topic_that_a_plc_cannot_take_is_refused() {
    let station = "s".repeat(32);
    let text = |prefix: usize| {
        SMALL.replacen("line1", &station, 1)
            + &format!("[mqtt]\nprefix = \"{}\"", "p".repeat(prefix))
    };
    // 23 + 32 + 7 + 2 slashes = 64.
    assert!(messages(&text(23)).is_empty());
    assert!(messages(&text(24))[0].contains("65 characters"));
}

#[test]
fn raw_files_need_their_size_and_layout() {
    let raw = SMALL.to_owned() + "format = \"raw\"\nwidth = 640\n";
    let found = messages(&raw);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("camera.height: missing"), "{found:#?}");
    assert!(found[1].contains("camera.pixel_format: missing"), "{found:#?}");
    let whole = raw + "height = 480\npixel_format = \"BGR8\"";
    let config = parse(Path::new(FILE), &whole).unwrap();
    let pixel_format = PixelFormat::Bgr8;
    let CameraSource::Replay(replay) = &config.camera().source else { panic!("not a replay") };
    assert_eq!(replay.format, FileFormat::Raw { width: 640, height: 480, pixel_format });
}

#[test]
fn raw_files_may_have_any_layout_that_is_rows_of_pixels() {
    let raw = |layout: &str, width: u32| {
        let size = format!("format = \"raw\"\nwidth = {width}\nheight = 480\n");
        SMALL.to_owned() + &size + &format!("pixel_format = \"{layout}\"")
    };
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
        assert_eq!(messages(&raw(format.name(), 640)), [""; 0], "{format}");
    }
    assert!(messages(&raw("Bayer", 640))[0].contains("BayerRG8, "));
    assert!(messages(&raw("MJPEG", 640))[0].contains("format = \"image\""));
    assert!(messages(&raw("NV12", 641))[0].contains("even width"));
}

#[test]
fn the_geometry_says_what_the_model_sees() {
    let geometry = |lines: &str| SMALL.to_owned() + "[camera.geometry]\n" + lines;
    let parsed = |lines: &str| parse(Path::new(FILE), &geometry(lines)).unwrap().camera().geometry;
    let turned = parsed("roi = [10, 20, 300, 200]\nmirror = true\nrotate = 270");
    let roi = Some([10, 20, 300, 200]);
    assert_eq!(turned, Geometry { roi, mirror: true, rotate: 270, corners: None });
    let corners = parsed("corners = [[1, 2.5], [90, 3], [91.5, 80], [0, 79]]").corners;
    assert_eq!(corners, Some([[1.0, 2.5], [90.0, 3.0], [91.5, 80.0], [0.0, 79.0]]));
    assert!(parse(Path::new(FILE), SMALL).unwrap().camera().geometry.is_whole());
    for (lines, says) in [
        ("rotate = 45", "0, 90, 180 or 270"),
        ("roi = [1, 2, 3]", "[left, top, width, height]"),
        ("roi = [1, 2, 3.5, 9]", "[left, top, width, height]"),
        ("roi = [1, 2, -3, 9]", "[left, top, width, height]"),
        ("roi = [1, 2, 1, 9]", "2x2 pixels"),
        ("roi = \"all\"", "a list of numbers"),
        ("corners = [[1, 2], [90, 3], [91, 80]]", "top left, top right"),
        ("corners = [[1, 2], [0, 79], [91, 80], [90, 3]]", "clockwise"),
        ("corners = [[1, 2], [90, 3], [91, 80], [0, 79]]\nrotate = 90", "alone"),
        ("corners = [[1, 2], [90, 3], [91, 80], [0, \"x\"]]", "a list of numbers"),
        ("turn = 90", "unknown"),
    ] {
        let found = messages(&geometry(lines));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].contains(says) && found[0].contains("camera.geometry"), "{found:#?}");
    }
}

#[test]
fn a_recipe_says_in_how_many_tiles_it_is_seen() {
    let recipe = |lines: &str| {
        SMALL.replacen("class = \"steel\"", &format!("class = \"steel\"\n{lines}"), 1)
    };
    let parsed = |lines: &str| parse(Path::new(FILE), &recipe(lines)).unwrap().recipes[0].tiling;
    assert_eq!(parsed(""), Tiling::WHOLE);
    assert_eq!(parsed("tiles = \"4x3\""), Tiling { columns: 4, rows: 3, overlap: 0.1 });
    let tiling = Tiling { columns: 2, rows: 1, overlap: 0.25 };
    assert_eq!(parsed("tiles = \"2x1\"\noverlap = 0.25"), tiling);
    for (lines, says) in [
        ("tiles = \"4\"", "4x3"),
        ("tiles = 4", "a text"),
        ("tiles = \"9x9\"", "fewer"),
        ("tiles = \"4x3\"\noverlap = 0.6", "0 to 0.5"),
        ("overlap = 0.2", "tiles"),
    ] {
        let found = messages(&recipe(lines));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].contains(says), "{found:#?}");
    }
    let two = recipe("tiles = \"4x3\"") + "\n[[recipe]]\nid = 8\nclass = \"steel\"";
    let found = messages(&two);
    assert!(found.iter().any(|m| m.contains("other tiles")), "{found:#?}");
}

#[test]
fn the_class_folder_names_the_recipe_when_classes_are_unique() {
    let two = |class: &str| {
        SMALL.replacen("folder", "recipe_from = \"folder\"\nfolder", 1)
            + &format!("[[recipe]]\nid = 8\nclass = \"{class}\"")
    };
    let config = parse(Path::new(FILE), &two("brass")).unwrap();
    assert_eq!(config.camera().recipe, RecipeChoice::ClassFolder);
    assert!(messages(&two("steel"))[0].contains("two recipes have the class"));
}

/// `SMALL` with two cameras.
const TWO: &str = r#"
station = "line1"
engine = "engines/steel"
calibration = "steel.toml"
[[recipe]]
id = 7
class = "steel"
views = { side = "steel-side" }
[trigger]
window_ms_max = 20
[[camera]]
name = "top"
folder = "top"
[[camera]]
name = "side"
folder = "side"
"#;

#[test]
fn several_cameras_look_at_one_part_each_with_its_class() {
    let config = parse(Path::new(FILE), TWO).unwrap();
    let names: Vec<_> = config.cameras.iter().map(|camera| camera.name.as_str()).collect();
    assert_eq!(names, ["top", "side"]);
    assert!(config.cameras.iter().all(|c| c.recipe == RecipeChoice::Fixed(RecipeId(7))));
    let views = [("side".to_owned(), "steel-side".to_owned())];
    assert_eq!((config.recipes[0].views.clone(), config.trigger.window_ms_max), (views.into(), 20));
    for (from, to, says) in [
        ("name = \"side\"\n", "", "camera[1]"),
        ("name = \"side\"", "name = \"top\"", "name of its own"),
        ("{ side =", "{ left =", "use the name of a [[camera]]: top, side"),
        ("\"steel-side\"", "5", "write a text in quotes"),
        ("\"steel-side\"", "\"a/b\"", "without '/'"),
        ("folder = \"side\"", "folder = \"side\"\nqueue = \"latest\"", "the same queue"),
        ("folder = \"side\"", "folder = \"side\"\nrecipe = 7", "the first [[camera]] says"),
        ("folder = \"side\"", "folder = \"side\"\nforder = 1", "did you mean \"folder\""),
        ("= 20", "= 1000", "no part could be answered in time"),
    ] {
        let found = messages(&TWO.replacen(from, to, 1));
        assert!(found.iter().any(|m| m.contains(says)), "{to}: {found:#?}");
    }
    let nine = (0..9).map(|i| format!("[[camera]]\nname = \"c{i}\"\nfolder = \"f\"\n"));
    let text =
        TWO.split("[[camera]]").next().unwrap().replace("views", "#") + &nine.collect::<String>();
    assert!(messages(&text)[0].contains("2 to 8"), "{:#?}", messages(&text));
}

#[test]
fn the_shipped_example_is_valid_and_shows_every_field_with_its_default() {
    parse(Path::new(FILE), EXAMPLE).unwrap();
    for (path, default) in fields() {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", &path));
        let header = match section {
            "" => "# Configuration".to_owned(),
            "recipe[0]" => "[[recipe]]".to_owned(),
            other => format!("[{other}]"),
        };
        // An optional table is there as a comment.
        let begins = |l: &str, with: &str| {
            l.starts_with(with) || l.strip_prefix('#').is_some_and(|l| l.starts_with(with))
        };
        let mut lines = EXAMPLE.lines().skip_while(|l| !begins(l, &header)).skip(1);
        let line = lines.by_ref().take_while(|l| !begins(l, "[")).find(|l| {
            l.trim_start_matches('#').strip_prefix(name).is_some_and(|l| l.starts_with(" = "))
        });
        let line = line.unwrap_or_else(|| panic!("{path} is not in the example"));
        if default.starts_with('"') && !default.contains("STATION")
            || default.bytes().all(|b| b.is_ascii_digit())
        {
            assert_eq!(line, format!("#{name} = {default}"), "{path}");
        }
    }
}

#[test]
fn the_reference_has_every_field_with_its_default_and_no_other() {
    let rows: Vec<(String, String)> = SPEC
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let field = cells.next()?.trim_end_matches('`').to_owned();
            let default = cells.nth(1)?.trim_matches('`').to_owned();
            Some((field, default))
        })
        .collect();
    let mut documented = rows.clone();
    let mut expected: Vec<_> =
        fields().into_iter().map(|(path, default)| (path.replace("[0]", ""), default)).collect();
    documented.sort();
    expected.sort();
    assert_eq!(documented, expected);
}

/// Every field the code asks for and its default.
fn fields() -> Vec<(String, String)> {
    validate::examine(Path::new(FILE), EXAMPLE).1.asked
}

#[test]
fn loading_names_each_missing_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crrd.toml");
    std::fs::write(&file, SMALL).unwrap();
    std::fs::write(dir.path().join("parts"), "a file, not a folder").unwrap();
    let error = load(&file).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Invalid);
    let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    for (message, says) in
        found.iter().zip([":3: engine = ", ":4: calibration = ", ":9: camera.folder = "])
    {
        assert!(message.contains(says), "{message}");
        assert!(message.starts_with(&file.display().to_string()), "{message}");
    }
    assert!(found[1].contains("crrd calibrate"));
    assert!(found[2].contains("not a folder"));
}

#[test]
fn an_unreadable_file_is_named() {
    let error = load(Path::new("/nonexistent/crrd.toml")).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Unreadable);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("/nonexistent/crrd.toml"), "{source}");
}

proptest! {
    #[test]
    fn no_text_brings_the_parser_down(text in "\\PC*") {
        let _ = parse(Path::new(FILE), &text);
    }

    #[test]
    fn a_file_with_one_byte_changed_is_valid_or_explained(at in 0..SMALL.len(), byte in 32..127u8) {
        let mut bytes = SMALL.as_bytes().to_vec();
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Err(error) = parse(Path::new(FILE), &text) {
            prop_assert!(!error.problems().is_empty());
            for problem in error.problems() {
                prop_assert!(!problem.what.is_empty() && !problem.remedy.is_empty());
            }
        }
    }
}

#[test]
fn tls_has_a_port_of_its_own_and_files_beside_the_configuration() {
    let tls = "tls = true\nca_file = \"ca.pem\"\n";
    let client = "client_cert_file = \"c.pem\"\nclient_key_file = \"/k.pem\"\nversion = \"5\"\n";
    let text = SMALL.replace("[camera]", &format!("[mqtt]\n{tls}{client}[camera]"));
    let mqtt = parse(Path::new(FILE), &text).unwrap().mqtt;
    assert_eq!((mqtt.port, mqtt.version), (8883, MqttVersion::V5));
    let files = mqtt.tls.unwrap();
    assert_eq!(files.ca_file, Path::new("/etc/crrd/ca.pem"));
    let client = files.client.unwrap();
    assert_eq!(
        (client.0.as_path(), client.1.as_path()),
        (Path::new("/etc/crrd/c.pem"), Path::new("/k.pem"))
    );
    let text = SMALL.replace("[camera]", &format!("[mqtt]\nport = 8884\n{tls}[camera]"));
    let mqtt = parse(Path::new(FILE), &text).unwrap().mqtt;
    assert_eq!((mqtt.port, mqtt.tls.unwrap().client), (8884, None));
}
