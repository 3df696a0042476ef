//! What the demonstration counts and how a part is shown.

use super::camera::Truth;
use crate::judge::Outcome;
use crate::pipeline::{Decision, Summary};

/// Verdicts against ground truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) parts: u64,
    pub(super) pass: u64,
    pub(super) reject: u64,
    pub(super) invalid: u64,
    /// Good parts that did not pass.
    pub(super) overkill: u64,
    /// Defective parts that passed.
    pub(super) escapes: u64,
    /// Verdicts that arrived at the subscriber as decided.
    pub(super) received: u64,
}

impl Tally {
    pub(super) fn count(&mut self, decision: &Decision, defective: bool) {
        let outcome = decision.record.verdict.outcome();
        self.parts += 1;
        match outcome {
            Outcome::Pass => self.pass += 1,
            Outcome::Reject => self.reject += 1,
            Outcome::Invalid | Outcome::Test => self.invalid += 1,
        }
        match (outcome == Outcome::Pass, defective) {
            (true, true) => self.escapes += 1,
            (false, false) => self.overkill += 1,
            _ => {}
        }
    }

    /// One line for people.
    pub(super) fn counts(&self) -> String {
        format!(
            "PASS {}  REJECT {}  no verdict {}  |  good rejected {}  defects passed {}",
            self.pass, self.reject, self.invalid, self.overkill, self.escapes
        )
    }

    /// One line of JSON for programs.
    pub(super) fn summary(&self, run: &Summary) -> serde_json::Value {
        let ms = |q: f64| {
            let latency = run.latencies.quantile(q).map_or(0.0, |l| l.as_ms());
            (latency * 100.0).round() / 100.0
        };
        serde_json::json!({
            "parts": self.parts,
            "pass": self.pass,
            "reject": self.reject,
            "invalid": self.invalid,
            "wrong": self.overkill + self.escapes,
            "good_rejected": self.overkill,
            "defects_passed": self.escapes,
            "received": self.received,
            "latency_p50_ms": ms(0.5),
            "latency_p99_ms": ms(0.99),
        })
    }
}

/// One part on one line.
pub(super) fn line(decision: &Decision, (product, defect): Truth) -> String {
    let record = &decision.record;
    let verdict = &record.verdict;
    let outcome = match verdict.outcome() {
        Outcome::Pass => "PASS  ",
        Outcome::Reject => "REJECT",
        Outcome::Invalid | Outcome::Test => "NONE  ",
    };
    let truth = defect.map_or("good", |d| d.name());
    let right = (verdict.outcome() == Outcome::Pass) == defect.is_none();
    format!(
        "{} {:<7} {outcome} score {:.4} limit {:.4} {:>6.1} ms  {truth}{}",
        record.part,
        product.name(),
        verdict.score,
        verdict.limit,
        record.latency.as_ms(),
        if right { "" } else { "  <- wrong" },
    )
}
