//! A build as people see it: its phases with their steps, and Ctrl-C that ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::tensorrt::{BuildControl, Phase};
use crate::sys::shutdown::Shutdown;

/// Time between two looks at the build, and so between two steps of the spinner.
const LOOK_EVERY: Duration = Duration::from_millis(120);

/// Runs `build` while a thread beside it shows how it goes and hands a request to stop on to it.
pub(super) fn watched<T>(
    control: &BuildControl,
    shutdown: &Shutdown,
    build: impl FnOnce() -> T,
) -> T {
    let bar = spinner();
    let over = AtomicBool::new(false);
    let built = std::thread::scope(|scope| {
        scope.spawn(|| watch(&bar, control, shutdown, &over));
        // A build that panics is over, too; else its watcher would be waited for.
        let _ends = Ends(&over);
        build()
    });
    bar.finish_and_clear();
    built
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn watch(bar: &ProgressBar, control: &BuildControl, shutdown: &Shutdown, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        if shutdown.wait(LOOK_EVERY) {
            control.cancel();
            bar.set_message("ending at the next step of the builder");
            std::thread::sleep(LOOK_EVERY);
        } else {
            bar.set_message(words(&control.phases()));
        }
        bar.tick();
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Phases from the whole to its part, each with its steps where it has several.
fn words(phases: &[Phase]) -> String {
    let one = |phase: &Phase| match phase.steps {
        0 | 1 => phase.name.clone(),
        steps => format!("{} {}/{steps}", phase.name, phase.done),
    };
    let path: Vec<String> = phases.iter().map(one).collect();
    match path.is_empty() {
        // No phase was begun: a kept engine is being loaded, or a model parsed.
        true => "making the engine ready; Ctrl-C ends it, nothing half-built stays".to_owned(),
        false => format!("building: {}; Ctrl-C ends it", path.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_with_their_steps() {
        let phase = |name: &str, done, steps| Phase { name: name.to_owned(), done, steps };
        assert!(words(&[]).starts_with("making the engine ready; Ctrl-C"));
        let phases = [phase("Building Engine", 2, 5), phase("Tactics", 7, 40), phase("Link", 0, 1)];
        assert_eq!(
            words(&phases),
            "building: Building Engine 2/5, Tactics 7/40, Link; Ctrl-C ends it"
        );
    }

    #[test]
    fn a_request_to_stop_reaches_the_build_and_a_build_that_is_done_is_left_alone() {
        let (control, shutdown) = (BuildControl::default(), Shutdown::manual());
        assert_eq!(watched(&control, &shutdown, || 7), 7);
        assert!(!control.is_cancelled());
        let ended = watched(&control, &shutdown, || {
            shutdown.request();
            while !control.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            "ended"
        });
        assert_eq!(ended, "ended");
    }
}
