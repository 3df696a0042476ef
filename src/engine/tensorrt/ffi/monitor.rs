//! The progress monitor that the builder calls: `IProgressMonitor`, an object with a vtable of our own.
//!
//! It is the same in all public headers, 10.0 to 10.16 and 11.0 and 11.1 (docs/logs/slots.txt; of 11.2 to
//! 11.4 there are none, see ADR 0013): the two methods of a versioned interface, the destructors, then its own three.

use std::ffi::{CStr, c_char, c_void};

use super::logger::{InterfaceInfo, language};
use crate::engine::tensorrt::control::BuildControl;

/// `IProgressMonitor` in memory: the pointer to the vtable comes first.
#[repr(C)]
pub(super) struct Monitor {
    vtable: *const Methods,
    control: BuildControl,
}

/// Its vtable.
#[repr(C)]
struct Methods {
    language: extern "C" fn(*const c_void) -> i32,
    info: extern "C" fn(*const Monitor) -> InterfaceInfo,
    destroy: [extern "C" fn(*const Monitor); 2],
    phase_start: extern "C" fn(*const Monitor, *const c_char, *const c_char, i32),
    step_complete: extern "C" fn(*const Monitor, *const c_char, i32) -> bool,
    phase_finish: extern "C" fn(*const Monitor, *const c_char),
}

static METHODS: Methods =
    Methods { language, info, destroy: [destroy; 2], phase_start, step_complete, phase_finish };

impl Monitor {
    /// One that tells `control` and asks it whether to go on. It must not move, and must outlive the
    /// settings of the build that it is given to.
    pub(super) fn new(control: BuildControl) -> Box<Self> {
        Box::new(Self { vtable: &raw const METHODS, control })
    }

    /// What the library is given.
    pub(super) fn as_ptr(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// Calls `tell` with the control and the name; a null pointer says nothing.
fn with(this: *const Monitor, name: *const c_char, tell: impl FnOnce(&BuildControl, &str)) {
    if this.is_null() || name.is_null() {
        return;
    }
    // SAFETY: `this` is the monitor that was handed over, which lives as long as the build, and the
    // name is a C string for the time of the call. The control may be used from any thread.
    let (monitor, name) = unsafe { (&*this, CStr::from_ptr(name)) };
    tell(&monitor.control, &name.to_string_lossy());
}

extern "C" fn phase_start(
    this: *const Monitor,
    name: *const c_char,
    _parent: *const c_char,
    steps: i32,
) {
    with(this, name, |control, name| control.phase_starts(name, steps));
}

/// False ends the build.
extern "C" fn step_complete(this: *const Monitor, name: *const c_char, step: i32) -> bool {
    let mut goes_on = true;
    with(this, name, |control, name| {
        control.step_done(name, step);
        goes_on = !control.is_cancelled();
    });
    goes_on
}

extern "C" fn phase_finish(this: *const Monitor, name: *const c_char) {
    with(this, name, BuildControl::phase_ends);
}

/// The library never owns the monitor.
extern "C" fn destroy(_: *const Monitor) {}

extern "C" fn info(_: *const Monitor) -> InterfaceInfo {
    InterfaceInfo::new(c"IProgressMonitor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_to_end_at_the_step_after_the_cancellation() {
        let control = BuildControl::default();
        let monitor = Monitor::new(control.clone());
        // As the library calls: through the vtable.
        // SAFETY: the object begins with the pointer to the vtable it was made with.
        let methods = unsafe { &*monitor.vtable };
        let (this, name, null) = (&raw const *monitor, c"tactics".as_ptr(), std::ptr::null());
        (methods.phase_start)(this, name, null, 3);
        assert!((methods.step_complete)(this, name, 0));
        assert_eq!(control.phases()[0].done, 1);
        control.cancel();
        assert!(!(methods.step_complete)(this, name, 1));
        (methods.phase_finish)(this, name);
        assert!(control.phases().is_empty());
        // Nothing is said of what has no name.
        (methods.phase_start)(this, null, null, 3);
        assert!((methods.step_complete)(this, null, 0));
    }
}
