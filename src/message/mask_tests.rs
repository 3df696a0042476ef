//! Masks there and back, and what damaged ones are told.

use proptest::prelude::*;

use super::*;
use crate::calibrate::CalibrationId;
use crate::frame::{Nanos, PartId, RecipeId, TriggerId};
use crate::judge::{Reason, Region, Verdict};

fn record() -> VerdictRecord {
    let mut verdict = Verdict::invalid(Reason::Internal);
    verdict.regions.offer(Region { x: 3, y: 4, width: 5, height: 6, score: 0.5 });
    VerdictRecord {
        seq: 7,
        epoch: 2,
        trigger: TriggerId(70),
        part: PartId::new("P7").unwrap(),
        recipe: RecipeId(1),
        class: 0,
        calibration: CalibrationId(1),
        verdict,
        latency: Nanos(0),
        flags: 0,
    }
}

fn round_trip(width: usize, height: usize, set: impl Fn(usize, usize) -> bool) -> DecodedMask {
    let flags: Vec<bool> = (0..width * height).map(|i| set(i % width, i / width)).collect();
    let mask = Mask::from_pixels(width, height, &flags).unwrap();
    let message = MaskMessage {
        record: &record(),
        mask: &mask,
        picture: (2 * width, height),
        geometry: Geometry::WHOLE,
        cameras: &[],
    };
    let text = encode_mask(&message).unwrap();
    assert!(text.len() <= MASK_BYTES_MAX && text.is_ascii(), "{} bytes", text.len());
    let back = decode_mask(text.as_bytes()).unwrap();
    assert_covers(&back, &mask);
    back
}

/// A pixel that was read back is set exactly when one of those it stands for was.
fn assert_covers(back: &DecodedMask, mask: &Mask) {
    let (w, h, pixels) = back.mask.as_ref().unwrap();
    let step = (0..=HALVINGS_MAX).map(|n| 1usize << n).find(|s| mask.width().div_ceil(*s) == *w);
    let step = step.unwrap();
    assert_eq!(mask.height().div_ceil(step), *h);
    for (i, &got) in pixels.iter().enumerate() {
        let (x0, y0) = (i % w * step, i / w * step);
        let any = (y0..y0 + step).any(|y| (x0..x0 + step).any(|x| mask.is_set(x, y)));
        assert_eq!(got, u8::from(any), "pixel {i} of {w}x{h}");
    }
}

#[test]
fn a_small_defect_is_run_length_text_at_full_resolution() {
    let back = round_trip(256, 256, |x, y| (40..60).contains(&x) && (90..95).contains(&y));
    assert_eq!((back.mask.unwrap().0, back.affine_milli), (256, [2000, 1000, 0, 0]));
    assert_eq!((back.seq, back.epoch, back.boxes), (7, 2, vec![[3, 4, 5, 6, 5000]]));
}

#[test]
fn a_mask_too_large_for_the_cap_becomes_coarser_and_says_so() {
    // Noise compresses badly in either form.
    let mixed = |x: usize, y: usize| {
        let z = ((x << 16 | y) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (z ^ z >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56
    };
    let noisy = |x: usize, y: usize| mixed(x, y) < 40;
    let back = round_trip(512, 512, noisy);
    let (width, height, pixels) = back.mask.unwrap();
    assert!(width < 512 && height == width && pixels.contains(&1));
    assert_eq!(back.affine_milli[0], (2000 * 512 / width) as i64);
}

#[test]
fn boxes_alone_are_sent_when_no_mask_fits() {
    let flags: Vec<bool> = (0..64 * 64).map(|i| i % 3 == 0).collect();
    let mask = Mask::from_pixels(64, 64, &flags).unwrap();
    let message = MaskMessage {
        record: &record(),
        mask: &mask,
        picture: (64, 64),
        geometry: Geometry::WHOLE,
        cameras: &[],
    };
    let text = encode_within(&message, 0).unwrap();
    let back = decode_mask(text.as_bytes()).unwrap();
    assert_eq!((back.mask, back.boxes), (None, vec![[3, 4, 5, 6, 5000]]));
}

#[test]
fn the_longest_head_leaves_nearly_all_room_to_the_mask() {
    let mut record = record();
    let widest = Region { x: 4095, y: 4095, width: 4096, height: 4096, score: f32::MAX };
    (0..9).for_each(|_| record.verdict.regions.offer(widest));
    (record.seq, record.epoch, record.trigger) = (u32::MAX, u32::MAX, TriggerId(u32::MAX));
    let mask = Mask::from_pixels(1, 1, &[true]).unwrap();
    let message = MaskMessage {
        record: &record,
        mask: &mask,
        picture: (16_384, 16_384),
        geometry: Geometry::WHOLE,
        cameras: &[],
    };
    assert!(encode_within(&message, 0).unwrap().len() < MASK_BYTES_MAX / 10);
}

#[test]
fn nothing_marked_means_no_message() {
    let mask = Mask::empty(16, 16);
    let message = MaskMessage {
        record: &record(),
        mask: &mask,
        picture: (16, 16),
        geometry: Geometry::WHOLE,
        cameras: &[],
    };
    assert_eq!(encode_mask(&message), None);
}

#[test]
fn a_mask_of_a_part_of_the_picture_points_into_the_picture() {
    let mask = Mask::from_pixels(32, 16, &[true; 512]).unwrap();
    let record = record();
    let sent = |geometry: Geometry| {
        let message = MaskMessage {
            record: &record,
            mask: &mask,
            picture: (640, 480),
            geometry,
            cameras: &[],
        };
        decode_mask(encode_mask(&message).unwrap().as_bytes()).unwrap()
    };
    let crop = Geometry { roi: Some([100, 50, 64, 32]), ..Geometry::WHOLE };
    let back = sent(crop);
    assert_eq!((back.affine_milli, back.quad_milli), ([2000, 2000, 100_000, 50_000], None));
    // The box [3, 4, 5, 6] of the map.
    assert_eq!(back.picture_boxes, Some(vec![[106, 58, 10, 12]]));
    let back = sent(Geometry { mirror: true, ..crop });
    assert_eq!(back.affine_milli, [-2000, 2000, 164_000, 50_000]);
    let back = sent(Geometry { rotate: 90, ..crop });
    let [left, top, right, bottom] = [100_000, 50_000, 164_000, 82_000];
    let corners = [left, bottom, left, top, right, top, right, bottom];
    assert_eq!((back.affine_milli, back.quad_milli), ([0; 4], Some(corners)));
    let corners = Some([[10.0, 10.0], [600.0, 20.0], [630.5, 470.0], [5.0, 460.0]]);
    let back = sent(Geometry { corners, ..Geometry::WHOLE });
    let want = [10_000, 10_000, 600_000, 20_000, 630_500, 470_000, 5_000, 460_000];
    assert_eq!(back.quad_milli, Some(want));
    assert_eq!(sent(Geometry::WHOLE).picture_boxes, None, "nothing new for those without");
}

#[test]
fn the_corners_of_a_coarser_mask_are_those_of_its_own_pixels() {
    let mixed = |i: u64| {
        let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (z ^ z >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56
    };
    let flags: Vec<bool> = (0..510 * 509).map(|i| mixed(i) < 40).collect();
    let mask = Mask::from_pixels(510, 509, &flags).unwrap();
    let geometry = Geometry { rotate: 270, ..Geometry::WHOLE };
    let message =
        MaskMessage { record: &record(), mask: &mask, picture: (509, 510), geometry, cameras: &[] };
    let back = decode_mask(encode_mask(&message).unwrap().as_bytes()).unwrap();
    let (width, height, _) = back.mask.unwrap();
    let step = [2, 4, 8, 16].into_iter().find(|s| 510usize.div_ceil(*s) == width).unwrap();
    // A quarter turn to the left: the mask's rows run down the picture's right side, and its
    // last pixels reach beyond the picture.
    let (w, h) = ((width * step * 1000) as i64, (height * step * 1000) as i64);
    assert_eq!(back.quad_milli, Some([509_000, 0, 509_000, w, 509_000 - h, w, 509_000 - h, 0]));
}

#[test]
fn damaged_messages_are_refused() {
    let mask = Mask::from_pixels(4, 1, &[false, true, true, false]).unwrap();
    let good = encode_mask(&MaskMessage {
        record: &record(),
        mask: &mask,
        picture: (4, 1),
        geometry: Geometry::WHOLE,
        cameras: &[],
    })
    .unwrap();
    for bad in [
        "",
        "{}",
        &good.replace("\"v\":1", "\"v\":9"),
        &good.replace("\"w\":4", "\"w\":5"),
        &good.replace("\"w\":4", "\"w\":0"),
        &good.replace("\"enc\":\"rle\"", "\"enc\":\"zip\""),
        &good.replace(",\"h\":1", ""),
        &good.replace("\"aff\":[1000,1000,0,0],", ""),
        &good.replace("\"aff\"", "\"quad\":[0,0,1,0,1,1,0,1],\"aff\""),
        &good.replace("\"box\"", "\"pbox\":[[0,0,1,1],[0,0,1,1]],\"box\""),
    ] {
        assert!(decode_mask(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_mask_that_fits_reads_back(
        width in 1usize..80, height in 1usize..80, density in 1u64..64, seed in any::<u64>(),
    ) {
        let set = |x: usize, y: usize| {
            let mixed = (seed ^ (x as u64) << 32 ^ y as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed >> 58) < density || (x, y) == (0, 0)
        };
        round_trip(width, height, set);
    }
}
