//! A build that is watched and may be ended from another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Phases under way that are remembered; the builder nests a few.
const PHASES_MAX: usize = 16;
/// Longest name of a phase that is kept, in characters.
const NAME_CHARS_MAX: usize = 80;

/// A part of a build, as the builder names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// For people; names change between versions of the library.
    pub name: String,
    /// Steps that are done.
    pub done: u32,
    /// Steps in all.
    pub steps: u32,
}

/// Shared by the thread that builds and those who watch: clones speak of the same build.
#[derive(Clone, Debug, Default)]
pub struct BuildControl(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    phases: Mutex<Vec<Phase>>,
}

impl BuildControl {
    /// Ends the build at its next step. A build that is begun later ends at its first one.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// Whether that was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// What is under way, outermost first; nothing between two builds.
    pub fn phases(&self) -> Vec<Phase> {
        self.lock().clone()
    }

    pub(super) fn phase_starts(&self, name: &str, steps: i32) {
        let mut phases = self.lock();
        if phases.len() < PHASES_MAX {
            let steps = u32::try_from(steps).unwrap_or(0);
            phases.push(Phase { name: short(name), done: 0, steps });
        }
    }

    /// A step with this number, counted from 0, is done.
    pub(super) fn step_done(&self, name: &str, step: i32) {
        let name = short(name);
        // The library may do several phases at once; the innermost of a name is meant.
        if let Some(phase) = self.lock().iter_mut().rev().find(|phase| phase.name == name) {
            phase.done = u32::try_from(step).map_or(phase.done, |step| step.saturating_add(1));
        }
    }

    /// Phases may end before all their steps are done.
    pub(super) fn phase_ends(&self, name: &str) {
        let name = short(name);
        let mut phases = self.lock();
        if let Some(at) = phases.iter().rposition(|phase| phase.name == name) {
            phases.remove(at);
        }
    }

    /// A build is over, whatever it told.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Phase>> {
        self.0.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn short(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(control: &BuildControl) -> Vec<(String, u32, u32)> {
        control.phases().into_iter().map(|p| (p.name, p.done, p.steps)).collect()
    }

    #[test]
    fn phases_are_shown_outermost_first_with_their_steps() {
        let control = BuildControl::default();
        control.phase_starts("building", 5);
        control.step_done("building", 0);
        control.phase_starts("tactics", 40);
        control.step_done("tactics", 6);
        let building = ("building".to_owned(), 1, 5);
        assert_eq!(shown(&control), [building.clone(), ("tactics".to_owned(), 7, 40)]);
        control.step_done("no such phase", 3);
        control.phase_ends("no such phase");
        control.phase_ends("tactics");
        assert_eq!(shown(&control), [building]);
        control.clear();
        assert!(shown(&control).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded_whatever_the_library_says() {
        let control = BuildControl::default();
        for n in 0..PHASES_MAX + 5 {
            control.phase_starts(&format!("{n}{}", "x".repeat(200)), -1);
        }
        assert_eq!(control.phases().len(), PHASES_MAX);
        assert_eq!(control.phases()[0].name.len(), NAME_CHARS_MAX);
        control.step_done(&format!("0{}", "x".repeat(200)), -7);
        assert_eq!((control.phases()[0].done, control.phases()[0].steps), (0, 0));
    }

    #[test]
    fn clones_speak_of_the_same_build() {
        let control = BuildControl::default();
        let watcher = control.clone();
        assert!(!control.is_cancelled());
        watcher.cancel();
        assert!(control.is_cancelled());
    }
}
