//! Good pictures that look unlike the others: said as soon as it is known, before anything is trained
//! on them. A bad part among them costs a look now, and a whole run later.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::dataset::{Dataset, Image};
use crate::features::Cache;
use crate::progress::Progress;
use crate::survey::{Outlier, Survey, outliers, pooled, sheet};

/// Finds them by the features that the model is trained on, keeps them for the report, says which they are
/// and shows them on a sheet beside the checkpoint, which stays as long as the run is under way.
/// `pictures` are those of the cache, in its order.
pub(super) fn tell(
    survey: &mut Survey,
    (dataset, dir): (&Dataset, &Path),
    (pictures, cache): (&[usize], &Cache),
    channels: usize,
    checkpoint: &Checkpoint,
    progress: &Progress,
) {
    survey.outliers = found(dataset, pictures, cache, channels);
    if survey.outliers.is_empty() {
        return;
    }
    survey.odd_words(dir).lines().for_each(|line| progress.note(line));
    let kept = sheet(&survey.odd_ones()).ok().and_then(|png| checkpoint.keep_sheet(&png).ok());
    // Without a sheet their names must do: it is no reason to end a run.
    if let Some(file) = kept {
        progress.note(&format!(
            "they are shown in {} until the model is finished, and then in its report",
            file.display()
        ));
    }
}

fn found(dataset: &Dataset, pictures: &[usize], cache: &Cache, channels: usize) -> Vec<Outlier> {
    let images: Vec<(&Image, Vec<f32>)> = pictures
        .iter()
        .zip(&cache.clean)
        .map(|(&i, features)| {
            let values = features.iter().map(|v| v.to_f32());
            (&dataset.images[i], pooled(values, channels))
        })
        .collect();
    outliers(&images)
}
