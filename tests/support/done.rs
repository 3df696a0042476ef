//! A program that was run to its end.

use std::process::Command;

/// What it left behind.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `command`; fails when it was killed or wrote something that is no text.
pub fn done(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
