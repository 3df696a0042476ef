//! Laws of the synthesis, on pictures drawn at random.

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;

const KINDS: [Kind; 8] = [
    Kind::Texture,
    Kind::Shuffled,
    Kind::Line,
    Kind::Spot,
    Kind::Paste,
    Kind::Structure,
    Kind::Warp,
    Kind::Blur,
];

fn picture(size: usize, seed: u64) -> Vec<u8> {
    if seed % 5 == 0 {
        return vec![(seed / 5 % 256) as u8; size * size * 3];
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rgb = procedural::texture(size, &mut rng);
    if seed % 3 == 0 {
        canvas::to_grey(&mut rgb);
    }
    rgb
}

fn ring(size: usize, inner: f32, outer: f32) -> Vec<bool> {
    let centre = size as f32 / 2.0;
    (0..size * size)
        .map(|i| {
            let (dx, dy) = ((i % size) as f32 - centre, (i / size) as f32 - centre);
            let d = (dx * dx + dy * dy).sqrt() / centre;
            d >= inner && d <= outer
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn damage_is_deterministic_visible_and_confined(
        seed in any::<u64>(),
        kind in 0..KINDS.len(),
        ring_used in any::<bool>(),
        size in prop::sample::select(vec![32usize, 50, 64, 96]),
    ) {
        let clean = picture(size, seed % 1000);
        let synth = Synthesizer::new(Textures::procedural(3, size, 4), size)
            .with_mix(Mix::only(KINDS[kind]));
        let part = ring_used.then(|| ring(size, 0.4, 0.8));
        let draw = || {
            synth.damage(&clean, part.as_deref(), &mut ChaCha8Rng::seed_from_u64(seed))
        };
        let damaged = draw();
        prop_assert_eq!(&damaged, &draw());
        prop_assert!(damaged.mask.iter().all(|&m| m <= 1));
        prop_assert!(damaged.mask.contains(&1));
        for i in 0..size * size {
            let (old, new) = (&clean[3 * i..3 * i + 3], &damaged.rgb[3 * i..3 * i + 3]);
            if damaged.mask[i] == 0 {
                prop_assert_eq!(old, new, "changed outside the mask at {}", i);
            } else {
                prop_assert!(old != new, "marked but unchanged at {}", i);
                prop_assert!(part.as_ref().is_none_or(|p| p[i]), "outside the part at {}", i);
            }
        }
        if canvas::is_grey(&clean) {
            prop_assert!(canvas::is_grey(&damaged.rgb), "colour in a monochrome picture");
        }
    }
}

#[test]
fn other_seeds_give_other_damage() {
    let synth = Synthesizer::new(Textures::procedural(3, 64, 8), 64);
    let clean = picture(64, 1);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let drawn: Vec<_> = (0..20).map(|_| synth.damage(&clean, None, &mut rng).mask).collect();
    let distinct: std::collections::HashSet<_> = drawn.iter().collect();
    assert!(distinct.len() >= 19, "{} distinct masks of 20", distinct.len());
}

#[test]
fn the_standard_mix_draws_every_kind() {
    let synth = Synthesizer::new(Textures::procedural(3, 64, 8), 64);
    let clean = picture(64, 2);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let drawn: std::collections::HashSet<_> =
        (0..300).map(|_| synth.damage(&clean, None, &mut rng).kind).collect();
    assert_eq!(drawn.len(), KINDS.len());
}

#[test]
fn a_single_allowed_pixel_is_still_damaged() {
    let synth = Synthesizer::new(Textures::procedural(3, 32, 2), 32);
    let mut part = vec![false; 32 * 32];
    part[500] = true;
    for seed in 0..10 {
        let clean = picture(32, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let damaged = synth.damage(&clean, Some(&part), &mut rng);
        assert_eq!(damaged.mask.iter().map(|&m| usize::from(m)).sum::<usize>(), 1);
        assert_eq!(damaged.mask[500], 1);
    }
}

#[test]
fn procedural_textures_are_reproducible_and_differ_from_each_other() {
    let (a, b) = (Textures::procedural(9, 48, 12), Textures::procedural(9, 48, 12));
    assert_eq!(a.count(), 12);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert_eq!(a.pick(&mut rng), b.pick(&mut ChaCha8Rng::seed_from_u64(1)));
    let distinct: std::collections::HashSet<_> = (0..100).map(|_| a.pick(&mut rng)).collect();
    assert_eq!(distinct.len(), 12);
}

#[test]
fn a_texture_folder_is_read_recursively_and_an_empty_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Textures::from_dir(dir.path(), 16).unwrap_err();
    assert_eq!(error.kind(), TextureErrorKind::Empty);
    let missing = Textures::from_dir(&dir.path().join("none"), 16).unwrap_err();
    assert_eq!(missing.kind(), TextureErrorKind::Unreadable);
    std::fs::create_dir(dir.path().join("deep")).unwrap();
    let pixel = image::Rgb([1, 2, 3]);
    image::RgbImage::from_pixel(20, 20, pixel).save(dir.path().join("deep/t.png")).unwrap();
    let textures = Textures::from_dir(dir.path(), 16).unwrap();
    assert_eq!((textures.count(), textures.size()), (1, 16));
}

/// Writes a contact sheet for the eye when `CRRD_SHEET` names a PNG file to write; pictures come
/// from the data set folder in `CRRD_SHEET_DATA` when it is set, else they are procedural.
#[test]
fn contact_sheet_of_clean_damaged_and_mask() {
    let Some(out) = std::env::var_os("CRRD_SHEET") else {
        println!("skipped: CRRD_SHEET not set");
        return;
    };
    let size = 192;
    let (columns, rows) = (8u32, 4u32);
    let cleans: Vec<Vec<u8>> = match std::env::var_os("CRRD_SHEET_DATA") {
        Some(dir) => {
            let set = crate::dataset::Dataset::load(dir.as_ref(), size).unwrap();
            let step = (set.images.len() / (columns * rows) as usize).max(1);
            set.images.into_iter().step_by(step).map(|i| i.rgb).collect()
        }
        None => (0..u64::from(columns * rows)).map(|s| picture(size, s)).collect(),
    };
    let textures = match std::env::var_os("CRRD_SHEET_TEXTURES") {
        Some(dir) => Textures::from_dir(dir.as_ref(), size).unwrap(),
        None => Textures::procedural(1, size, 32),
    };
    let synth = Synthesizer::new(textures, size);
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let side = size as u32;
    let mut sheet = image::RgbImage::new(columns * side, rows * 2 * side);
    for (k, clean) in cleans.iter().take((columns * rows) as usize).enumerate() {
        let part = foreground(clean);
        let damaged = synth.damage(clean, part.as_deref(), &mut rng);
        let (cx, cy) = (k as u32 % columns * side, k as u32 / columns * 2 * side);
        for i in 0..size * size {
            let (x, y) = ((i % size) as u32, (i / size) as u32);
            let rgb = [0, 1, 2].map(|c| damaged.rgb[3 * i + c]);
            sheet.put_pixel(cx + x, cy + y, image::Rgb(rgb));
            // Below: the mask in red over the foreground in grey.
            let ground = if part.as_ref().is_some_and(|p| p[i]) { 110 } else { 30 };
            let mark = if damaged.mask[i] == 1 { [255, 60, 60] } else { [ground; 3] };
            sheet.put_pixel(cx + x, cy + side + y, image::Rgb(mark));
        }
    }
    sheet.save(out).unwrap();
}

/// Prints the time of one damage for each kind; run it in an optimised build.
#[test]
#[ignore = "a measurement, not a check"]
fn time_per_kind() {
    let size = 256;
    let clean = picture(size, 7);
    for kind in KINDS {
        let synth =
            Synthesizer::new(Textures::procedural(3, size, 8), size).with_mix(Mix::only(kind));
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let start = std::time::Instant::now();
        (0..100).for_each(|_| drop(synth.damage(&clean, None, &mut rng)));
        println!("{kind:?}: {:.2} ms", start.elapsed().as_secs_f64() * 10.0);
    }
}
