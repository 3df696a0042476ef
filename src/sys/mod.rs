//! The operating system, behind small doors: clock, processors, files, service manager,
//! signals, log.
//!
//! The only place that reads the wall clock. Everything here is shell: the core never uses it.

pub mod clock;
pub mod cores;
pub mod fs;
pub mod hash;
pub mod log;
pub mod notify;
pub mod shutdown;
