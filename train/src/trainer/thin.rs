//! Fewer training pictures than there are: which ones.

use crate::dataset::Dataset;

/// At most `most` of `pictures`, small classes kept whole before large ones are thinned evenly:
/// over the pictures and, where they are seen in tiles, over the tiles.
pub(super) fn thinned(dataset: &Dataset, pictures: &[usize], most: usize) -> Vec<usize> {
    let mut classes: Vec<Vec<usize>> = vec![Vec::new(); dataset.classes.len()];
    pictures.iter().for_each(|&i| classes[dataset.images[i].class].push(i));
    classes.retain(|c| !c.is_empty());
    classes.sort_by_key(Vec::len);
    let (mut left, mut kept) = (most, Vec::new());
    let count = classes.len();
    for (k, mut class) in classes.into_iter().enumerate() {
        // All first tiles, then all second ones: a step through tiles picture by picture would
        // often meet the same tile again and again.
        class.sort_by_key(|&i| dataset.images[i].tile);
        let share = (left / (count - k)).max(1).min(class.len());
        kept.extend((0..share).map(|i| class[i * class.len() / share]));
        left = left.saturating_sub(share);
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Image, Look, Pixels};

    /// Pictures of each class with so many tiles each.
    fn dataset(classes: &[(usize, usize)]) -> Dataset {
        let look = Look {
            width: 1,
            height: 1,
            pixels: Pixels { is_grey: true, bits: 8 },
            brightest: 0,
            sha256: [0; 32],
            hash: [0; 4],
            grey: Vec::new(),
            mean: [0.0; 3],
        };
        let all = classes.iter().enumerate();
        let images = all.flat_map(|(class, &(pictures, tiles))| {
            (0..pictures * tiles).map(move |i| (class, i % tiles))
        });
        let image = |(class, tile)| Image {
            path: "x".into(),
            class,
            tile,
            rgb: Vec::new(),
            look: look.clone(),
        };
        Dataset {
            classes: vec!["part".to_owned(); classes.len()],
            seen: Vec::new(),
            images: images.map(image).collect(),
            left_out: Vec::new(),
            sha256: String::new(),
            size: 1,
        }
    }

    #[test]
    fn small_classes_stay_whole_and_large_ones_are_thinned_evenly() {
        let set = dataset(&[(20, 1), (2, 1)]);
        let kept = thinned(&set, &(0..22).collect::<Vec<_>>(), 12);
        assert_eq!(kept, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21]);
    }

    #[test]
    fn every_tile_is_kept_as_often_as_the_others_and_from_pictures_far_apart() {
        let set = dataset(&[(40, 4)]);
        let all: Vec<usize> = (0..160).collect();
        let kept = thinned(&set, &all, 40);
        let of_tile = |tile| kept.iter().filter(|i| *i % 4 == tile).count();
        assert_eq!([0, 1, 2, 3].map(of_tile), [10; 4]);
        assert!(kept.iter().any(|i| *i < 16) && kept.iter().any(|i| *i >= 144), "{kept:?}");
        assert_eq!(thinned(&set, &all, kept.len()), kept, "a run that goes on finds them again");
    }
}
