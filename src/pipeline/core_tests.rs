//! The processor that the inspection keeps to.

use std::sync::mpsc;

use super::tests::{GOOD, answer, parts, run, scripted, spec};
use crate::capture::scripted::Step;
use crate::engine::ScriptedEngine;
use crate::sys::cores;

#[test]
fn the_inspection_keeps_to_its_processor_and_a_wrong_one_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mine = *cores::allowed().unwrap().last().unwrap();
    // The engine runs where the inspecting thread does.
    for (core, expected) in [(mine, vec![mine]), (1_000_000, cores::allowed().unwrap())] {
        let (mut parts, seen) = parts(dir.path(), scripted([Step::Grey(GOOD)]));
        let (tell, told) = mpsc::channel();
        parts.core = Some(core);
        parts.engine = Box::new(ScriptedEngine::new(spec(), move |input, map| {
            tell.send(cores::allowed().unwrap()).unwrap();
            answer(input, map)
        }));
        run(parts).unwrap();
        assert_eq!(told.iter().collect::<Vec<_>>(), [expected]);
        assert_eq!(seen.iter().count(), 1, "judged all the same");
    }
}
