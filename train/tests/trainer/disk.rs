//! A disk that is too small, which a test may make in a namespace of its own.

use std::path::Path;
use std::process::Command;

use crrd_train::trainer::{FitOptions, TrainErrorKind};

use crate::fit::{failure, options};

/// Names the folder of the small disk to the copy of the test that runs in its namespace.
const SMALL_DISK: &str = "CRRD_TEST_SMALL_DISK";

#[test]
fn a_disk_without_room_for_the_bundle_is_told_before_pictures_are_read() {
    if let Ok(disk) = std::env::var(SMALL_DISK) {
        return refused(Path::new(&disk));
    }
    let folder = tempfile::tempdir().unwrap();
    crate::fit::encoder_file(folder.path());
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let small = |program: &Path| {
        let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]).arg(&disk).arg(program);
        command
    };
    if !small(Path::new("true")).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount a small disk in a namespace of its own");
        return;
    }
    let output = small(&std::env::current_exe().unwrap())
        .args([
            "--exact",
            "disk::a_disk_without_room_for_the_bundle_is_told_before_pictures_are_read",
        ])
        .arg("--nocapture")
        .env(SMALL_DISK, &disk)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("the disk was too small"), "{said}");
}

fn refused(disk: &Path) {
    // There is no data set: whoever looked for it first would say so.
    let options = options(disk.parent().unwrap());
    let error = failure(&FitOptions { out: disk.join("model"), ..options });
    assert_eq!(error.kind(), TrainErrorKind::Export, "{error}");
    for says in ["MB are free at", "choose another --out"] {
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(std::fs::read_dir(disk).unwrap().count(), 0);
    println!("the disk was too small");
}
