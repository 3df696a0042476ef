//! The Python module, run by the Python of this machine: its own tests, and masks at random.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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
    let python = Command::new("python3")
        .arg("-B")
        .arg(module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        println!("skipped: python3 is not installed");
        return;
    };
    let mut input = python.stdin.take().unwrap();
    // From a thread: both pipes are smaller than what goes through them.
    let feeder = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    feeder.join().unwrap();
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
