//! Surveys of folders made by the tests.

use super::*;

/// A part of some shade with a disc somewhere, and grain.
fn part(place: u32, shade: u8, grain: u32) -> image::RgbImage {
    image::RgbImage::from_fn(96, 96, |x, y| {
        let (dx, dy) = (
            i64::from(x) - 20 - i64::from(place * 7 % 19) * 3,
            i64::from(y) - 20 - i64::from(place * 5 % 17) * 3,
        );
        let disc = if dx * dx + dy * dy < 400 { 70 } else { 0 };
        let stripe = ((x * (place % 5 + 1) + y * (place % 4)) / 12 % 32) as u8;
        let seed = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503);
        let noise = (seed.wrapping_mul(2 * grain + 1) >> 30) as u8;
        let level = shade + disc + stripe + noise;
        image::Rgb([level, level / 2 + 20, level])
    })
}

fn save(root: &Path, file: &str, image: &image::RgbImage) -> PathBuf {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(&path).unwrap();
    path
}

/// Twelve good parts to train on, four for limits, three to test with.
fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..12 {
        save(dir.path(), &format!("nut/train/good/{i:02}.png"), &part(i, 60, i));
    }
    for i in 12..16 {
        save(dir.path(), &format!("nut/calibration/good/{i}.png"), &part(i, 60, i));
    }
    for i in 16..18 {
        save(dir.path(), &format!("nut/test/good/{i}.png"), &part(i, 60, i));
    }
    save(dir.path(), "nut/test/bent/18.png", &part(18, 120, 18));
    dir
}

fn survey(dir: &Path) -> (Dataset, Survey) {
    let set = Dataset::load(dir, 32).unwrap();
    let survey = Survey::of(&set, dir);
    (set, survey)
}

#[test]
fn a_sound_set_is_counted_and_nothing_is_complained_about() {
    let dir = data();
    let (_, survey) = survey(dir.path());
    let counts: Vec<usize> = survey.classes[0].counts.values().copied().collect();
    assert_eq!(counts, [12, 4, 2, 1]);
    assert!(survey.pairs.is_empty(), "{:?}", survey.pairs);
    let words = survey.words(dir.path());
    assert!(words.contains("nut: 12 good pictures to train on, 4 for limits, 2 good and 1 bad"));
    assert!(words.contains("few to train on") && words.contains("all 96x96 pixels"), "{words}");
    assert_eq!(words.lines().count(), 3, "{words}");
}

#[test]
fn a_picture_in_two_places_is_told_by_what_that_means() {
    let dir = data();
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(dir.path().join(to).parent().unwrap()).unwrap();
        std::fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    };
    copy("nut/train/good/03.png", "nut/test/good/leak.png");
    copy("nut/train/good/04.png", "nut/test/bent/wrong.png");
    copy("nut/train/good/05.png", "nut/train/good/twin.png");
    // The same part, taken again: a little brighter, and with other grain.
    save(dir.path(), "nut/calibration/good/again.png", &part(6, 61, 99));
    let look = |file: &str| {
        let (bytes, picture) = read(&dir.path().join(file)).unwrap();
        Look::of(&bytes, &picture).unwrap()
    };
    let (first, again) = (look("nut/train/good/06.png"), look("nut/calibration/good/again.png"));
    let measured = (first.hash_distance(&again), first.difference(&again));
    assert!(measured.0 < 20 && measured.1 < 1.5, "{measured:?}");
    let (_, survey) = survey(dir.path());
    let nearest = |i: usize| {
        let name = |k: usize| format!("nut/train/good/{k:02}.png");
        let others = (0..12).filter(|k| *k != i).map(|k| look(&name(k)));
        others.map(|o| o.difference(&look(&name(i)))).fold(f32::INFINITY, f32::min)
    };
    let parts: Vec<f32> = (0..12).map(nearest).collect();
    assert!(parts.iter().all(|d| *d > 4.0 * measured.1), "{parts:?} against {measured:?}");
    let kinds: Vec<(bool, bool, bool)> =
        survey.pairs.iter().map(|p| (p.leaks(), p.contradicts(), p.is_equal)).collect();
    assert_eq!(kinds.len(), 4, "{:#?}", survey.pairs);
    for kind in
        [(true, false, true), (true, true, true), (false, false, true), (true, false, false)]
    {
        assert!(kinds.contains(&kind), "{kind:?} of {kinds:?}");
    }
    let words = survey.words(dir.path());
    for says in [
        "nut/train/good/04.png (training) = nut/test/bent/wrong.png (test, bad)",
        "nut/train/good/03.png (training) = nut/test/good/leak.png (test, good)",
        "nut/train/good/06.png (training) ~ nut/calibration/good/again.png (calibration)",
        "one of the two folders is wrong",
        "look better than they are",
    ] {
        assert!(words.contains(says), "{says}:\n{words}");
    }
}

#[test]
fn sizes_kinds_and_unreadable_files_are_named() {
    let dir = data();
    let good = dir.path().join("nut/train/good");
    let other = image::imageops::resize(&part(1, 60, 5), 50, 40, image::imageops::Nearest);
    image::DynamicImage::ImageRgb8(other).into_luma16().save(good.join("x.png")).unwrap();
    std::fs::write(good.join("y.png"), b"").unwrap();
    std::fs::write(dir.path().join("nut/test/bent/z.jpg"), b"no picture").unwrap();
    let (_, survey) = survey(dir.path());
    let words = survey.words(dir.path());
    for says in [
        "sizes differ: 96x96 (19), 50x40 (1)",
        "colour, 8 bits (19), grey, 16 bits (1)",
        "2 files cannot be used",
        "nut/train/good/y.png: the file is empty",
        "nut/test/bent/z.jpg: not a picture",
    ] {
        assert!(words.contains(says), "{says}:\n{words}");
    }
}

#[test]
fn twelve_bits_in_sixteen_are_told_with_the_remedy() {
    let dir = data();
    for i in 0..3 {
        let mut deep = image::DynamicImage::ImageRgb8(part(i, 60, i)).into_luma16();
        deep.pixels_mut().for_each(|p| p.0[0] /= 16);
        deep.save(dir.path().join(format!("nut/train/good/deep{i}.png"))).unwrap();
    }
    let (_, survey) = survey(dir.path());
    let words = survey.words(dir.path());
    for says in ["3 pictures of 16 bits use the lowest 12", "(12-bit ones times 16), or in 8 bits"]
    {
        assert!(words.contains(says), "{says}:\n{words}");
    }
}

#[test]
fn the_odd_one_out_is_found_and_shown_on_a_sheet() {
    let dir = data();
    let odd = save(dir.path(), "nut/train/good/odd.png", &part(3, 150, 40));
    let (set, mut survey) = survey(dir.path());
    let rows: Vec<_> = set.images.iter().map(|i| (i, glance_features(i))).collect();
    survey.outliers = outliers(&rows);
    let found = &survey.outliers;
    assert_eq!(found[0].path, odd, "{found:?}");
    assert!(found.iter().skip(1).all(|o| 2.0 * o.deviations < found[0].deviations), "{found:?}");
    assert!(survey.words(dir.path()).contains("nut/train/good/odd.png ("));
    let png = sheet(&[(odd, ["odd.png".to_owned(), "nut".to_owned()])]).unwrap();
    let image = image::load_from_memory(&png).unwrap().into_rgb8();
    assert_eq!((image.width(), image.height()), (208, 228));
    assert_ne!(image.get_pixel(60, 60).0, [255; 3], "the picture");
    let dark = (8..200).any(|x| (202..220).any(|y| image.get_pixel(x, y).0 == [32; 3]));
    assert!(dark, "its name");
}

#[test]
fn too_few_pictures_say_nothing_about_what_is_usual() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..4 {
        save(dir.path(), &format!("nut/train/good/{i}.png"), &part(i * 2, 60, i));
    }
    let (set, survey) = survey(dir.path());
    assert!(survey.pairs.is_empty(), "{:?}", survey.pairs);
    let rows: Vec<_> = set.images.iter().map(|i| (i, glance_features(i))).collect();
    assert!(outliers(&rows).is_empty());
}
