//! Whether anything of a foreign library is still in use.
//!
//! NVIDIA's libraries tidy up when a process ends in the ordinary way. A thread that is inside them then
//! crashes the process or keeps it for good. So whoever ends the process asks here, after everything
//! was dropped, whether somebody was left behind in there.

use std::sync::atomic::{AtomicUsize, Ordering};

static USERS: AtomicUsize = AtomicUsize::new(0);

/// Held as long as a foreign library is in use, by whoever calls it.
#[derive(Debug)]
pub struct InUse(());

impl InUse {
    /// From now on.
    #[expect(clippy::new_without_default, reason = "a value that counts is made on purpose only")]
    pub fn new() -> Self {
        USERS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        USERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a foreign library is in use in this process.
pub fn in_use() -> bool {
    USERS.load(Ordering::SeqCst) > 0
}
