//! The PLC side of the contract: the golden files are what the encoders write, and the shipped
//! sources of `plc/` read them. The Structured Text and SCL sources are executed by a small
//! interpreter of exactly the subset they use (`lex`, `parse`, `value`, `machine`), which treats
//! as an error whatever two platforms might understand differently. It is no vendor's compiler.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step of a test is a failed test")]

mod golden;
mod lex;
mod machine;
mod parse;
mod python;
mod readers;
mod rules;
mod value;

use machine::Machine;

/// The shipped sources with their names.
const SOURCES: [(&str, &str); 2] = [
    ("codesys/crrd.st", include_str!("../../plc/codesys/crrd.st")),
    ("s7/crrd.scl", include_str!("../../plc/s7/crrd.scl")),
];

/// Both platforms do the same in all of `test`.
fn on_each_platform(mut test: impl FnMut(&mut Machine)) {
    for (name, source) in SOURCES {
        println!("{name}");
        test(&mut Machine::new(source));
    }
}

#[test]
fn every_statement_of_the_sources_is_executed_by_these_tests() {
    on_each_platform(|machine| {
        readers::golden_files(machine);
        readers::refusals(machine);
        rules::all(machine);
        assert_eq!(machine.unexecuted(), [0usize; 0], "lines that no test executes");
    });
}
