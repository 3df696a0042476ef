//! What comes after training: how the model does on synthetic damage, and the report.

use std::path::Path;

use crrd::engine::bundle::Manifest;

use super::settings::Settings;
use super::workers::Workers;
use crate::checkpoint::Counters;
use crate::export::NamedFile;
use crate::report::{self, REPORT_FILE, Validation};
use crate::survey::Survey;

/// What the report is made from besides the manifest.
pub(super) struct Told<'a> {
    pub(super) survey: &'a Survey,
    pub(super) data: &'a Path,
    pub(super) counters: &'a Counters,
    pub(super) encoding_s: f64,
    pub(super) settings: &'a Settings,
    pub(super) workers: &'a Workers,
    pub(super) validation: &'a Validation,
    pub(super) notes: &'a [String],
}

impl Told<'_> {
    /// The report file. A model without a report is better than none: when it cannot be made, that
    /// is said and the bundle is written without it.
    pub(super) fn files(&self, manifest: &Manifest) -> Vec<NamedFile> {
        let counters = self.counters;
        let records = report::Records {
            survey: self.survey,
            data: self.data,
            decoder_loss: &counters.records.decoder_loss,
            head_loss: &counters.records.head_loss,
            spent_s: vec![
                ("time for encoding", self.encoding_s),
                ("time for the decoder", counters.records.decoder_s),
                ("time for the head", counters.stage_s),
                ("time in all", counters.spent_s),
            ],
            threads: self.workers.count(),
            settings: listed(self.settings),
            scheme: self.settings.arch.scheme,
            validation: self.validation,
            notes: self.notes,
            manifest,
        };
        match report::page(&records) {
            Ok(page) => vec![(REPORT_FILE, page.into_bytes())],
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the bundle has no report");
                Vec::new()
            }
        }
    }
}

/// The settings as names and values.
fn listed(settings: &Settings) -> Vec<(String, String)> {
    let mut list = Vec::new();
    if let Ok(value) = serde_json::to_value(settings) {
        flatten("", &value, &mut list);
    }
    list
}

fn flatten(name: &str, value: &serde_json::Value, list: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{dot}{key}"), value, list);
            }
        }
        other => list.push((name.to_owned(), other.to_string())),
    }
}
