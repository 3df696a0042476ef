//! Equal runs, and runs that were interrupted.

use std::sync::atomic::{AtomicUsize, Ordering};

use crrd_train::checkpoint::{Checkpoint, State};
use crrd_train::trainer::Outcome;

use crate::toy::{finished, settings, train};

const ITERATIONS: usize = 6;

fn assert_equal(a: &State, b: &State) {
    let bits = |s: &State| -> Vec<(String, Vec<u32>)> {
        let values = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect();
        s.weights.iter().map(|(name, t)| (name.clone(), values(&t.values))).collect()
    };
    for (a, b) in bits(a).into_iter().zip(bits(b)) {
        assert_eq!(a, b, "weight {} differs", a.0);
    }
    assert_eq!(a.weights.len(), b.weights.len());
}

#[test]
fn equal_seeds_give_bit_equal_weights_whatever_the_number_of_threads() {
    let run = |threads| finished(train(&settings(), ITERATIONS, threads, None, &|| false));
    let first = run(1);
    assert_equal(&first, &run(1));
    assert_equal(&first, &run(3));
    let longer = finished(train(&settings(), ITERATIONS + 1, 1, None, &|| false));
    let name = "block.0.fc1.weight";
    assert_ne!(first.weights[name], longer.weights[name], "training changes nothing");
}

#[test]
fn a_run_interrupted_in_either_stage_and_resumed_equals_an_uninterrupted_one() {
    let whole = finished(train(&settings(), ITERATIONS, 1, None, &|| false));
    let total = ITERATIONS + (ITERATIONS as f64 * settings().head_share).ceil() as usize;
    for stop_after in [1, 4, ITERATIONS + 1] {
        assert!(stop_after < total);
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::beside(&dir.path().join("toy"));
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) + 1 >= stop_after;
        let outcome = train(&settings(), ITERATIONS, 1, Some(&checkpoint), &stop);
        assert!(matches!(outcome, Outcome::Interrupted), "after {stop_after}");
        let resumed = finished(train(&settings(), ITERATIONS, 1, Some(&checkpoint), &|| false));
        assert_equal(&whole, &resumed);
        assert_eq!(resumed.counters.decoder_iterations, ITERATIONS as u64);
    }
}
