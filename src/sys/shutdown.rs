//! Stopping: the first SIGTERM or SIGINT asks for a staged shutdown, the second ends the
//! process at once. [`leave`] is the last step of every end.
//!
//! The second signal is served inside the signal handler itself, so that it works even when
//! every thread hangs.

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Shells report a process that died of signal N as 128 + N.
const EXIT_SIGNAL_BASE: i32 = 128;

/// A request to stop, shared by all threads.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: Arc<AtomicBool>,
    // Dropping the sender wakes every receiver for good; nothing is ever sent.
    waker: Arc<Mutex<Option<Sender<Infallible>>>>,
    woken: Receiver<Infallible>,
}

impl Shutdown {
    /// A request that only [`Self::request`] makes: tests and commands without signals.
    pub fn manual() -> Self {
        let (sender, woken) = bounded(0);
        Self {
            requested: Arc::new(AtomicBool::new(false)),
            waker: Arc::new(Mutex::new(Some(sender))),
            woken,
        }
    }

    /// The same, also made by SIGTERM or SIGINT. Call once per process, before other threads.
    ///
    /// # Errors
    /// When the operating system refuses the handlers or the thread.
    pub fn install() -> io::Result<Self> {
        let shutdown = Self::manual();
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order the first signal arms what the second fires.
            let exit_code = EXIT_SIGNAL_BASE + signal;
            signal_hook::flag::register_conditional_shutdown(
                signal,
                exit_code,
                Arc::clone(&armed),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&armed))?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let requester = shutdown.clone();
        std::thread::Builder::new().name("crrd-signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("signal");
                tracing::info!(signal = name, "stopping in order; a second signal ends at once");
                requester.request();
            }
        })?;
        Ok(shutdown)
    }

    /// Asks everybody to stop. Further calls change nothing.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        // A poisoned lock still holds the sender; dropping it is all that is wanted.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Waits at most `timeout`; true as soon as a stop is asked for.
    pub fn wait(&self, timeout: Duration) -> bool {
        matches!(self.woken.recv_timeout(timeout), Err(RecvTimeoutError::Disconnected))
    }

    /// For `crossbeam_channel::select!`: becomes ready (disconnected) when a stop is asked for.
    pub fn channel(&self) -> Receiver<Infallible> {
        self.woken.clone()
    }
}

/// The end of the process with this code, when everything was done and dropped.
///
/// In the ordinary way, which `main` goes on with, libraries tidy up. With `at_once` they do not get to: it is
/// for when somebody was left behind inside a foreign library, who would crash or hang there. Nothing
/// is lost by it: what is to last was written before, and the log is not buffered.
pub fn leave(code: ExitCode, at_once: bool) -> ExitCode {
    if at_once {
        tracing::warn!("a library is still at work: the process ends without its tidying up");
        // Nobody reads it any more when that fails.
        let _ = io::stdout().flush();
        signal_hook::low_level::exit(number(code));
    }
    code
}

/// The number of a code, which the standard library does not tell.
fn number(code: ExitCode) -> i32 {
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).map_or(1, i32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_keeps_its_number() {
        assert_eq!([number(ExitCode::SUCCESS), number(ExitCode::FAILURE)], [0, 1]);
        assert!((0..=u8::MAX).all(|code| number(ExitCode::from(code)) == i32::from(code)));
        // What goes on in the ordinary way; the other one is tried in a process of its own.
        assert_eq!(leave(ExitCode::from(7), false), ExitCode::from(7));
    }

    #[test]
    fn a_request_wakes_every_waiter_and_stays() {
        let shutdown = Shutdown::manual();
        assert!(!shutdown.is_requested());
        assert!(!shutdown.wait(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let shutdown = shutdown.clone();
                    scope.spawn(move || shutdown.wait(Duration::from_secs(30)))
                })
                .collect();
            shutdown.request();
            for waiter in waiters {
                assert!(waiter.join().unwrap());
            }
        });
        shutdown.request();
        assert!(shutdown.is_requested());
        assert!(shutdown.wait(Duration::ZERO));
        crossbeam_channel::select! {
            recv(shutdown.channel()) -> message => assert!(message.is_err()),
            default => panic!("a requested stop must be ready in a select"),
        }
    }
}
