//! The recording of a running station, when the configuration asks for one.

use std::sync::Arc;

use crate::config::{KeepWord, Recipe, Record, ValidConfig};
use crate::pipeline::{Observer, Parts, RecordedCamera, RecordedDecisions, StationCamera};
use crate::record::{HeadRecipe, Keep, Recorder, Settings, View};

/// Begins the recording and puts its ends into the line. One that cannot begin is told, and the
/// station goes on without it.
pub(super) fn start(config: &ValidConfig, parts: Parts) -> (Parts, Option<Recorder>) {
    let Some(record) = &config.record else { return (parts, None) };
    let settings = settings(config, record, &parts);
    let recorder = match Recorder::start(settings, Arc::clone(&parts.clock)) {
        Ok(recorder) => recorder,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "nothing is recorded; the station goes on without it");
            return (parts, None);
        }
    };
    let cameras = parts.cameras.into_iter().map(|view| {
        let camera = Box::new(RecordedCamera::new(view.camera, recorder.feed()));
        StationCamera { camera, ..view }
    });
    let cameras = cameras.collect();
    let mut observers: Vec<Box<dyn Observer>> = parts.observer.into_iter().collect();
    observers.push(Box::new(RecordedDecisions::new(recorder.feed())));
    let (recording, observer) = (Some(recorder.feed()), Some(Box::new(observers) as _));
    (Parts { cameras, recording, observer, ..parts }, Some(recorder))
}

fn settings(config: &ValidConfig, record: &Record, parts: &Parts) -> Settings {
    Settings {
        folder: record.folder.clone(),
        bytes_max: record.bytes_max,
        keep: match record.keep {
            KeepWord::All => Keep::All,
            KeepWord::Rejects => Keep::Rejects,
        },
        station: config.station.to_string(),
        engine_sha256: parts.engine.spec().sha256.clone(),
        // One that has no id is refused when the line starts.
        calibration: parts.calibration.id().map_or_else(|_| String::new(), |id| id.to_string()),
        recipes: config.recipes.iter().map(recipe).collect(),
        cameras: parts
            .cameras
            .iter()
            .map(|StationCamera { name, camera, .. }| View {
                name: name.clone(),
                frame_bytes_max: camera.frame_bytes_max(),
            })
            .collect(),
        frames_waiting: config.limits.queue_frames,
    }
}

fn recipe(recipe: &Recipe) -> HeadRecipe {
    HeadRecipe { id: recipe.id.0, class: recipe.class.clone(), views: recipe.views.clone() }
}
