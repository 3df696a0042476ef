//! Programs of the system that say something about the machine, where they are installed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::sys::clock::{Clock, RealClock};

/// How often a program is looked at while it runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Most of its output that is read, in bytes.
const SAID_BYTES_MAX: u64 = 1 << 20;
/// Last words of a program that failed, in characters.
const WORDS_CHARS_MAX: usize = 300;

/// A program on `PATH` or in one of `folders`.
pub(super) fn find(name: &str, folders: &[&Path]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).chain(folders.iter().map(|f| f.to_path_buf()));
    // An empty entry of PATH means the working folder, where nobody looks for it.
    named.filter(|f| f.is_absolute()).map(|f| f.join(name)).find(|file| file.is_file())
}

/// What a program says on its standard output.
///
/// # Errors
/// When it cannot be started, fails, or takes longer than `limit`; it is then ended.
pub(super) fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<String> {
    let name = program.display();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let out = child.stdout.take().context("no standard output")?;
    // Read beside the wait, so that a full pipe does not stop the program.
    let reader = std::thread::Builder::new().name("crrd-tool".to_owned()).spawn(move || {
        let mut said = Vec::new();
        let _ = out.take(SAID_BYTES_MAX).read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    })?;
    let deadline = RealClock.now().plus_ms(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if RealClock.now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{name} did not end within {} s and was ended", limit.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let said = reader.join().unwrap_or_default();
    if !status.success() {
        let from = said.char_indices().rev().nth(WORDS_CHARS_MAX).map_or(0, |(at, _)| at);
        bail!("{name} failed ({status}): {}", said[from..].trim());
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<String> {
        run(&find("sh", &[]).unwrap(), &["-c", script], limit)
    }

    #[test]
    fn a_program_is_heard_unless_it_fails_or_hangs() {
        let long = Duration::from_secs(20);
        assert_eq!(shell("echo one; echo two", long).unwrap(), "one\ntwo\n");
        // More than a pipe holds.
        assert_eq!(shell("yes | head -c 200000", long).unwrap().len(), 200_000);
        let failed = format!("{:#}", shell("echo why; exit 3", long).unwrap_err());
        assert!(failed.contains("why") && failed.contains('3'), "{failed}");
        let hung = shell("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert!(hung.to_string().contains("did not end"), "{hung}");
        assert!(run(Path::new("/no/such/program"), &[], long).is_err());
        assert_eq!(find("no such program", &[Path::new("/tmp")]), None);
    }
}
