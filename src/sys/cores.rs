//! Which of the machine's processors a thread runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this thread may run on, by number: those of the machine, less what a
/// service manager, a container or [`keep_to`] took away.
///
/// # Errors
/// When the kernel does not tell.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Keeps this thread, and those that it starts from now on, to one processor.
///
/// # Errors
/// When there is no such processor for it; it then runs where it ran.
pub fn keep_to(core: usize) -> io::Result<()> {
    // Asked first: the kernel takes a processor that a container has not, and larger numbers than
    // it can count make the set panic.
    let allowed = allowed()?;
    if !allowed.contains(&core) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no processor {core} for this program; it has {allowed:?}"),
        ));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Whether [`keep_to`] would work, found out by a thread that does it and ends. What the kernel
/// lists as allowed is no proof: a filter of system calls may forbid to choose among them.
///
/// # Errors
/// As [`keep_to`], or when there can be no thread.
pub fn try_keep_to(core: usize) -> io::Result<()> {
    let trial = std::thread::Builder::new().name("crrd-core".to_owned());
    let ended = trial.spawn(move || keep_to(core))?.join();
    ended.unwrap_or_else(|_| Err(io::Error::other("the trial panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: the others of the test keep their processors.
    fn apart<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(f).join().unwrap())
    }

    #[test]
    fn a_thread_keeps_to_its_processor_and_so_do_its_children() {
        let last = *allowed().unwrap().last().unwrap();
        let (own, child) = apart(|| {
            keep_to(last).unwrap();
            (allowed().unwrap(), apart(|| allowed().unwrap()))
        });
        assert_eq!((own, child), (vec![last], vec![last]));
    }

    #[test]
    fn a_trial_tells_and_moves_nobody() {
        let (before, last) = (allowed().unwrap(), *allowed().unwrap().last().unwrap());
        try_keep_to(last).unwrap();
        assert!(try_keep_to(1_000_000).is_err());
        assert_eq!(allowed().unwrap(), before);
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused_with_those_that_are() {
        let (error, before, after) = apart(|| {
            let before = allowed().unwrap();
            (keep_to(1_000_000).unwrap_err().to_string(), before, allowed().unwrap())
        });
        assert!(error.contains("no processor 1000000"), "{error}");
        assert!(error.contains(&format!("{before:?}")), "{error}");
        assert_eq!(before, after);
    }
}
