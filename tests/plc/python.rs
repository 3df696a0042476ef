//! The Python module, run by the Python of this machine: its own tests, and masks at random. And
//! an independent reading of the Structured Text by blark, a parser for TwinCAT.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crrd::message::decode_mask;

use crate::golden::{mask_message, noise};

#[test]
fn the_python_module_reads_the_golden_files() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plc/python");
    let python =
        Command::new("python3").args(["-B", "-m", "unittest", "-v"]).current_dir(folder).output();
    let Ok(output) = python else {
        println!("skipped: python3 is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Ran 0 tests"), "{said}");
}

#[test]
fn masks_of_every_shape_and_density_are_decoded_pixel_by_pixel() {
    // From a few pixels (run-length text) to half of them (PNG), and too large (coarser).
    let sides = [1, 2, 7, 8, 9, 31, 64, 100, 300];
    let shapes = sides.iter().flat_map(|side| {
        [(1, 2), (1, 40), (3, 128), (5, 255), (9, 20)].map(|(block, set)| (*side, block, set))
    });
    let masks = shapes.map(|(side, block, of_256)| noise(side, block, of_256));
    let messages: Vec<_> = masks
        .filter(|mask| mask.count() > 0)
        .enumerate()
        .map(|(i, mask)| mask_message(&mask, (2 * mask.width(), 1000), i % 9))
        .collect();
    assert!(messages.len() > 30);
    let mut lines = String::new();
    for message in &messages {
        let hex: String = message.bytes().map(|b| format!("{b:02x}")).collect();
        lines += &format!("crr/s1/mask {hex}\n");
    }
    let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plc/python/crrd_plc.py");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("messages");
    std::fs::write(&file, lines).unwrap();
    let input = File::open(file).unwrap();
    let Ok(output) = Command::new("python3").arg("-B").arg(module).stdin(input).output() else {
        println!("skipped: python3 is not installed");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), messages.len());
    let mut coarser = 0;
    for (line, message) in text.lines().zip(&messages) {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        let read = decode_mask(message.as_bytes()).unwrap();
        let (width, height, pixels) = read.mask.unwrap();
        assert_eq!(said["size"], serde_json::json!([width, height]));
        let hex: String = pixels.iter().map(|p| format!("{p:02x}")).collect();
        assert_eq!(said["pixels"], hex, "{message}");
        assert_eq!(said["affine"], serde_json::json!(read.affine_milli));
        assert_eq!(said["boxes"].as_array().unwrap().len(), read.boxes.len());
        coarser += u32::from(said["map_size"][0] != width);
    }
    assert!(coarser > 0, "none was too large");
}

/// `.ci/run` puts blark here.
const BLARK_PYTHON: &str = "target/plc-venv/bin/python3";

/// What blark says of a source; `None` where it is not installed.
fn blark_refuses(source: &str) -> Option<bool> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(BLARK_PYTHON);
    if !python.is_file() {
        println!("skipped: blark is not installed in target/plc-venv");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("source.st");
    std::fs::write(&file, source).unwrap();
    let script = "import blark, sys\nparsed = blark.parse_source_code(open(sys.argv[1]).read())\n\
                  sys.exit(3 if parsed.exception else 0)";
    let status = Command::new(python).arg("-c").arg(script).arg(file).status().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    Some(status.code() == Some(3))
}

#[test]
fn a_parser_for_twincat_reads_the_structured_text() {
    let source = include_str!("../../plc/codesys/crrd.st");
    let Some(refused) = blark_refuses(source) else { return };
    assert!(!refused, "blark does not read codesys/crrd.st");
    let broken = "FUNCTION Broken : BOOL\nBroken := (TRUE;\nEND_FUNCTION\n";
    assert_eq!(blark_refuses(broken), Some(true));
}
