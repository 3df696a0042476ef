//! A thread that makes engines, and how it is left.

use std::thread::JoinHandle;
use std::time::Duration;

use super::{EngineError, EngineErrorKind};
use crate::sys::clock::{Clock, RealClock};

/// Longest wait for the thread to end in milliseconds: steps of NVIDIA's builder take less than a second
/// on most devices.
const WAIT_MS_MAX: u64 = 3_000;
/// How often it is looked at while it ends.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Ends what such a thread has begun, from another one.
pub type Stopper = Box<dyn Fn() + Send>;

/// A thread that makes engines. Dropped, it is told to end and waited for, for a while: a builder may hold
/// the device, and a process must not end in the ordinary way while it works. One that does not end
/// is left behind; [`super::in_use()`] tells whether it is still in there.
///
/// Its owner must drop the channels on which it waits before.
pub struct Background {
    thread: JoinHandle<()>,
    stop: Stopper,
    wait_ms_max: u64,
}

impl Background {
    /// Starts `work` on a thread of this name; `stop` is called once, when nobody wants its engines any
    /// more.
    ///
    /// # Errors
    /// `Backend` when the thread cannot be started.
    pub fn start(
        name: &str,
        stop: Stopper,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self, EngineError> {
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|e| {
                let what = "cannot start the thread that makes engines: raise the limit on tasks";
                EngineError::with_source(EngineErrorKind::Backend, what, e)
            })?;
        Ok(Self { thread, stop, wait_ms_max: WAIT_MS_MAX })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        (self.stop)();
        let deadline = RealClock.now().plus_ms(self.wait_ms_max);
        while !self.thread.is_finished() {
            if RealClock.now() > deadline {
                tracing::warn!("the building of an engine does not end; it is left behind");
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_thread_is_told_to_end_once_and_is_gone_when_its_owner_is() {
        let told = Arc::new(AtomicUsize::new(0));
        let (teller, listener) = (Arc::clone(&told), Arc::clone(&told));
        let stop = Box::new(move || _ = teller.fetch_add(1, Ordering::SeqCst));
        let work = move || {
            while listener.load(Ordering::SeqCst) == 0 {
                std::thread::sleep(LOOK_EVERY);
            }
            // The step of the builder that is under way.
            std::thread::sleep(Duration::from_millis(30));
        };
        drop(Background::start("test", stop, work).unwrap());
        // What the thread had is freed.
        assert_eq!((told.load(Ordering::SeqCst), Arc::strong_count(&told)), (1, 1));
    }

    #[test]
    fn one_that_does_not_end_is_left_behind_in_bounded_time() {
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let background = Background::start("test", Box::new(|| {}), move || _ = waits.recv());
        let mut background = background.unwrap();
        background.wait_ms_max = 50;
        let begin = Instant::now();
        drop(background);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(50) && took < Duration::from_secs(20), "{took:?}");
        // It was there all the time.
        go_on.send(()).unwrap();
    }
}
