//! A network of its own for a test: cameras of this standard all listen on the same port.

// One system call without a safe wrapper.
#![allow(unsafe_code)]

use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The machine's loopback, for when there is no other.
static LOOPBACK: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this thread has a network of its own.
    static OWN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `test` on a thread with an empty network of its own and `addresses` on its loopback. Its
/// threads and child processes have the same network.
pub(crate) fn alone(addresses: &[&str], test: impl FnOnce() + Send + 'static) {
    let addresses: Vec<_> = addresses.iter().map(|a| (*a).to_owned()).collect();
    let run = move || {
        let _shared = (!leave()).then(|| LOOPBACK.lock().unwrap_or_else(PoisonError::into_inner));
        if _shared.is_some() && !addresses.is_empty() {
            println!("skipped: no right to a network of its own");
            return;
        }
        if _shared.is_none() {
            OWN.with(|own| own.set(true));
            ip(&["link", "set", "lo", "up"]);
            addresses.iter().for_each(|address| ip(&["addr", "add", address, "dev", "lo"]));
        }
        test();
    };
    std::thread::Builder::new().name("alone".into()).spawn(run).unwrap().join().unwrap();
}

/// Whether this thread left the machine's network.
fn leave() -> bool {
    if Command::new("ip").arg("-V").output().is_err() {
        return false;
    }
    // SAFETY: concerns this thread and its later children only; no memory is touched.
    unsafe { libc::unshare(libc::CLONE_NEWNET) == 0 }
}

/// Takes the loopback of a network of one's own down or up; false, with a printed line, where the
/// test has none.
pub(crate) fn link(up: bool) -> bool {
    // Of the machine's own network nothing is touched.
    if !OWN.with(std::cell::Cell::get) {
        println!("skipped: no right to a network of its own");
        return false;
    }
    ip(&["link", "set", "lo", if up { "up" } else { "down" }]);
    true
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}
