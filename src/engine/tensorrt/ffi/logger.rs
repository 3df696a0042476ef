//! The logger that the library calls: an object with a vtable of our own.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, PoisonError};

/// Errors kept for the message of the step that failed; the first ones say why.
const ERRORS_MAX: usize = 8;
/// Longest message kept, in characters.
const ERROR_CHARS_MAX: usize = 400;

/// `ILogger::Severity`.
mod severity {
    pub(super) const ERROR: i32 = 1;
    pub(super) const WARNING: i32 = 2;
    pub(super) const INFO: i32 = 3;
}

/// `ILogger` in memory: the pointer to the vtable comes first.
#[repr(C)]
pub(super) struct Logger {
    vtable: *const c_void,
    errors: Mutex<Vec<String>>,
}

// SAFETY: the vtable is constant and the rest is behind a lock; the library calls from any thread.
unsafe impl Send for Logger {}
// SAFETY: as above.
unsafe impl Sync for Logger {}

impl Logger {
    /// One of the layout that the library's major version expects. It must not move afterwards.
    pub(super) fn new(versioned: bool) -> Box<Self> {
        let vtable =
            if versioned { (&raw const VERSIONED).cast() } else { (&raw const PLAIN).cast() };
        Box::new(Self { vtable, errors: Mutex::default() })
    }

    /// What the library is given.
    pub(super) fn as_ptr(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// The errors since the last call, in one line.
    pub(super) fn take_errors(&self) -> String {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *errors).join("; ")
    }

    fn note(&self, level: i32, text: &str) {
        match level {
            ..=severity::ERROR => {
                tracing::warn!(target: "tensorrt", "{text}");
                let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
                if errors.len() < ERRORS_MAX {
                    errors.push(text.chars().take(ERROR_CHARS_MAX).collect());
                }
            }
            severity::WARNING => tracing::debug!(target: "tensorrt", "{text}"),
            severity::INFO => tracing::debug!(target: "tensorrt", "{text}"),
            _ => tracing::trace!(target: "tensorrt", "{text}"),
        }
    }
}

/// `ILogger` of TensorRT 10: `log`, then the destructors.
#[repr(C)]
struct Plain {
    log: extern "C" fn(*const Logger, i32, *const c_char),
    destroy: [extern "C" fn(*const Logger); 2],
}

/// `ILogger` of TensorRT 11, a versioned interface.
#[repr(C)]
struct Versioned {
    language: extern "C" fn(*const c_void) -> i32,
    info: extern "C" fn(*const Logger) -> InterfaceInfo,
    destroy: [extern "C" fn(*const Logger); 2],
    log: extern "C" fn(*const Logger, i32, *const c_char),
}

/// `InterfaceInfo`: name and version of an interface.
#[repr(C)]
pub(super) struct InterfaceInfo {
    kind: *const c_char,
    major: i32,
    minor: i32,
}

impl InterfaceInfo {
    /// The first version, which is the only one that any header has of the interfaces used here.
    pub(super) fn new(kind: &'static CStr) -> Self {
        Self { kind: kind.as_ptr(), major: 1, minor: 0 }
    }
}

static PLAIN: Plain = Plain { log, destroy: [destroy; 2] };
static VERSIONED: Versioned = Versioned { language, info, destroy: [destroy; 2], log };

extern "C" fn log(this: *const Logger, level: i32, text: *const c_char) {
    if this.is_null() || text.is_null() {
        return;
    }
    // SAFETY: `this` is the logger that was handed over, which lives as long as the library, and
    // the text is a C string for the time of the call.
    let (logger, text) = unsafe { (&*this, CStr::from_ptr(text)) };
    logger.note(level, &text.to_string_lossy());
}

/// The library never owns the logger.
extern "C" fn destroy(_: *const Logger) {}

/// The language that an interface is written for, of every versioned interface.
pub(super) extern "C" fn language(_: *const c_void) -> i32 {
    const CPP: i32 = 0;
    CPP
}

extern "C" fn info(_: *const Logger) -> InterfaceInfo {
    InterfaceInfo::new(c"ILogger")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_kept_for_the_one_who_asks_and_bounded() {
        let logger = Logger::new(true);
        // As the library calls: through the vtable.
        // SAFETY: the object begins with the pointer to the vtable it was made with.
        let table = unsafe { &*logger.vtable.cast::<Versioned>() };
        for n in 0..ERRORS_MAX + 3 {
            let text = std::ffi::CString::new(format!("error {n}")).unwrap();
            (table.log)(&*logger, severity::ERROR, text.as_ptr());
            (table.log)(&*logger, severity::WARNING, text.as_ptr());
        }
        (table.log)(&*logger, severity::ERROR, std::ptr::null());
        let told = logger.take_errors();
        assert!(told.starts_with("error 0; error 1; "), "{told}");
        assert_eq!(told.split("; ").count(), ERRORS_MAX);
        assert_eq!(logger.take_errors(), "");
    }
}
