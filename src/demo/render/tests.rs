//! Laws of the rendered parts.

use super::*;

fn area(part: &Part) -> f32 {
    part.mask.iter().map(|&m| f32::from(m)).sum::<f32>() / part.mask.len() as f32
}

#[test]
fn the_same_seed_gives_the_same_part_and_another_seed_another() {
    for product in Product::ALL {
        let a = render(product, Some(Defect::Scratch), 7, 96);
        assert_eq!(a, render(product, Some(Defect::Scratch), 7, 96));
        assert_ne!(a.rgb, render(product, Some(Defect::Scratch), 8, 96).rgb);
        assert_eq!(a.rgb.len(), 96 * 96 * 3);
    }
}

#[test]
fn every_defect_shows_on_every_product_and_stays_a_small_part_of_it() {
    for product in Product::ALL {
        for defect in Defect::ALL {
            let mut areas = Vec::new();
            for seed in 0..6 {
                let part = render(product, Some(defect), seed, 128);
                assert!(part.mask.iter().all(|&m| m <= 1));
                areas.push(area(&part));
            }
            let fits = areas.iter().filter(|a| (0.002..=0.05).contains(*a)).count();
            assert!(fits >= 5, "{product:?} {defect:?}: areas {areas:?}");
            assert!(areas.iter().all(|&a| a > 0.0005), "{product:?} {defect:?}: {areas:?}");
        }
    }
}

#[test]
fn a_defective_part_equals_the_good_one_outside_its_mask_but_for_faint_light() {
    for (seed, defect) in Defect::ALL.into_iter().enumerate() {
        for product in Product::ALL {
            let good = render(product, None, seed as u64, 128);
            assert!(good.mask.iter().all(|&m| m == 0));
            let bad = render(product, Some(defect), seed as u64, 128);
            let (mut outside, mut inside, mut marked) = (0u64, 0u64, 0u64);
            for i in 0..128 * 128 {
                let worst = (0..3).map(|c| good.rgb[3 * i + c].abs_diff(bad.rgb[3 * i + c])).max();
                let worst = u64::from(worst.unwrap());
                if bad.mask[i] == 1 {
                    inside += worst;
                    marked += 1;
                } else {
                    outside = outside.max(worst);
                }
            }
            // Encoding of the same noise on slightly different light moves a level or two more.
            assert!(outside <= 12, "{product:?} {defect:?}: {outside} levels outside the mask");
            assert!(inside / marked.max(1) >= 10, "{product:?} {defect:?} is hardly visible");
        }
    }
}

#[test]
fn good_parts_vary_in_pose_light_and_noise_but_are_clearly_the_same_product() {
    let mean = |p: &Part| p.rgb.iter().map(|&v| f64::from(v)).sum::<f64>() / p.rgb.len() as f64;
    for product in Product::ALL {
        let means: Vec<f64> = (0..8).map(|s| mean(&render(product, None, s, 96))).collect();
        let (low, high) = means.iter().fold((f64::MAX, 0.0f64), |(l, h), &m| (l.min(m), h.max(m)));
        assert!(high - low > 1.0 && high - low < 40.0, "{product:?}: {means:?}");
    }
}

#[test]
fn seeds_of_different_series_purposes_and_numbers_differ() {
    let purposes = [
        Purpose::Training,
        Purpose::TestGood,
        Purpose::TestBad,
        Purpose::Calibration,
        Purpose::Live,
    ];
    let mut seen = std::collections::HashSet::new();
    for series in 0..3 {
        for purpose in purposes {
            for index in 0..500 {
                assert!(seen.insert(part_seed(series, purpose, index)));
            }
        }
    }
}

#[test]
fn a_different_size_shows_the_same_part() {
    for product in Product::ALL {
        let (small, large) = (render(product, None, 3, 96), render(product, None, 3, 192));
        let mut total = 0u64;
        for y in 0..96 {
            for x in 0..96 {
                for c in 0..3 {
                    let at = |dx: usize, dy: usize| {
                        u64::from(large.rgb[3 * ((2 * y + dy) * 192 + 2 * x + dx) + c])
                    };
                    let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4;
                    total += mean.abs_diff(u64::from(small.rgb[3 * (y * 96 + x) + c]));
                }
            }
        }
        let mean = total / (96 * 96 * 3);
        assert!(mean < 16, "{product:?}: {mean} levels on average");
    }
}

/// Writes a contact sheet for the eye when `CRRD_SHEET` names a folder: one PNG a product, a row
/// of good parts, then a row a defect, each followed by its masks.
#[test]
fn contact_sheets_of_parts_and_masks() {
    let Some(out) = std::env::var_os("CRRD_SHEET") else {
        println!("skipped: CRRD_SHEET not set");
        return;
    };
    let (size, columns) = (240usize, 6usize);
    for product in Product::ALL {
        let rows: Vec<Option<Defect>> =
            std::iter::once(None).chain(Defect::ALL.into_iter().map(Some)).collect();
        let mut sheet = image::RgbImage::new((columns * size) as u32, (rows.len() * size) as u32);
        for (row, defect) in rows.into_iter().enumerate() {
            for column in 0..columns {
                let pair = if defect.is_some() { column / 2 } else { column };
                let part = render(product, defect, (row * 10 + pair) as u64, size);
                for i in 0..size * size {
                    let mut rgb = [0, 1, 2].map(|c| part.rgb[3 * i + c]);
                    if column % 2 == 1 && defect.is_some() {
                        rgb = [part.mask[i] * 255; 3];
                    }
                    let (x, y) = (column * size + i % size, row * size + i / size);
                    sheet.put_pixel(x as u32, y as u32, image::Rgb(rgb));
                }
            }
        }
        sheet.save(std::path::Path::new(&out).join(format!("{}.png", product.name()))).unwrap();
    }
}

/// Prints the time of one part; run it in an optimised build.
#[test]
#[ignore = "a measurement: cargo test --release --lib time_per_part -- --ignored"]
fn time_per_part() {
    for product in Product::ALL {
        for defect in [None, Some(Defect::Scratch), Some(Defect::Missing)] {
            let start = std::time::Instant::now();
            (0..20).for_each(|seed| drop(render(product, defect, seed, 256)));
            let each = start.elapsed().as_secs_f64() * 50.0;
            println!("{product:?} {defect:?}: {each:.1} ms at 256 px");
        }
    }
}
