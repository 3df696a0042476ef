//! The calibration file: round trip, and refusal of everything that was tampered with.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::frame::{Geometry, Precision, Tiling};

pub(in crate::calibrate) fn sample() -> Calibration {
    let scores: Vec<f32> = (0..80).map(|i| 0.1 + i as f32 * 0.003_7).collect();
    let bound = certify(&scores, 0.05, 0.95).unwrap();
    let limit = ClassLimit {
        image_threshold: bound.limit,
        pixel_threshold: 0.75,
        n: 80,
        k: bound.k,
        dataset_sha256: "ab".repeat(32),
        scores,
        geometry: Geometry::WHOLE,
        tiling: Tiling::WHOLE,
    };
    Calibration {
        format: FORMAT,
        engine_sha256: "0123456789abcdef".repeat(4),
        precision: Precision::Fp32,
        created_utc: "2024-05-01T10:00:00Z".to_owned(),
        author: "technician".to_owned(),
        reason: "first \"calibration\" of the line".to_owned(),
        previous: Some("00c0ffee".to_owned()),
        alpha: 0.05,
        confidence: 0.95,
        class: BTreeMap::from([
            ("carpet".to_owned(), limit.clone()),
            ("metal nut".to_owned(), limit),
        ]),
    }
}

#[test]
fn a_geometry_is_part_of_the_limits_and_only_written_where_there_is_one() {
    let plain = sample();
    assert!(!plain.to_toml().unwrap().contains("geometry"));
    let mut cut = sample();
    let limit = cut.class.get_mut("carpet").unwrap();
    limit.geometry = Geometry { roi: Some([1, 2, 30, 40]), rotate: 90, ..Geometry::WHOLE };
    assert_ne!(cut.id().unwrap(), plain.id().unwrap());
    let text = cut.to_toml().unwrap();
    assert_eq!(Calibration::from_toml(&text).unwrap(), cut);
    let damaged = text.replace("rotate = 90", "rotate = 91");
    let error = Calibration::from_toml(&damaged).unwrap_err().to_string();
    assert!(error.contains("class.carpet.geometry"), "{error}");
}

#[test]
fn the_arithmetic_is_part_of_the_record_and_32_bits_where_it_does_not_say() {
    let plain = sample();
    // Files from before the field keep their ids.
    assert!(!plain.to_toml().unwrap().contains("precision"));
    let half = Calibration { precision: Precision::Fp16, ..sample() };
    assert_ne!(half.id().unwrap(), plain.id().unwrap());
    let text = half.to_toml().unwrap();
    assert!(text.contains("precision = \"fp16\""), "{text}");
    assert_eq!(Calibration::from_toml(&text).unwrap(), half);
    let error = Calibration::from_toml(&text.replace("fp16", "fp8")).unwrap_err();
    assert_eq!(error.kind(), CalibrationErrorKind::Syntax);
}

#[test]
fn a_written_calibration_is_read_back_bit_for_bit() {
    let mut calibration = sample();
    for previous in [Some("00c0ffee".to_owned()), None] {
        calibration.previous = previous;
        let text = calibration.to_toml().unwrap();
        let read = Calibration::from_toml(&text).unwrap();
        assert_eq!(read, calibration);
        assert_eq!(read.to_toml().unwrap(), text);
        assert_eq!(read.id().unwrap(), calibration.id().unwrap());
    }
}

#[test]
fn the_id_is_that_of_the_file_and_changes_with_it() {
    let calibration = sample();
    let id = calibration.id().unwrap();
    let hash = Sha256::digest(calibration.to_toml().unwrap());
    let hex: String = hash[..4].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(id.to_string(), hex);
    let other = Calibration { reason: "second".to_owned(), ..calibration };
    assert_ne!(other.id().unwrap(), id);
}

#[test]
fn limits_are_found_by_class() {
    let calibration = sample();
    assert!(calibration.limit("carpet").is_some());
    assert!(calibration.limit("Carpet").is_none());
}

#[test]
fn every_contradiction_is_refused_with_its_place() {
    type Edit = fn(&mut Calibration);
    fn carpet(c: &mut Calibration) -> &mut ClassLimit {
        c.class.get_mut("carpet").unwrap()
    }
    let cases: [(&str, Edit); 20] = [
        ("format", |c| c.format = 2),
        ("engine_sha256", |c| c.engine_sha256.truncate(63)),
        ("engine_sha256", |c| c.engine_sha256 = "G".repeat(64)),
        ("previous", |c| c.previous = Some("nothing".to_owned())),
        ("alpha", |c| c.alpha = f64::NAN),
        ("alpha", |c| c.alpha = 0.0),
        ("confidence", |c| c.confidence = 1.0),
        ("class", |c| c.class.clear()),
        ("class", |c| drop(c.class.insert("a\nb".to_owned(), c.class["carpet"].clone()))),
        ("class.carpet.n", |c| carpet(c).n = 81),
        ("class.carpet.k", |c| carpet(c).k = 1),
        ("class.carpet.scores", |c| carpet(c).scores[3] = f32::NAN),
        ("class.carpet.scores", |c| carpet(c).scores[79] = f32::INFINITY),
        ("class.carpet.scores", |c| carpet(c).scores.swap(3, 4)),
        ("class.carpet.image_threshold", |c| carpet(c).image_threshold = f32::NAN),
        ("class.carpet.image_threshold", |c| carpet(c).image_threshold = 1e30),
        ("class.carpet.pixel_threshold", |c| carpet(c).pixel_threshold = f32::INFINITY),
        ("class.carpet.dataset_sha256", |c| carpet(c).dataset_sha256.clear()),
        ("class.carpet.scores: need", |c| c.alpha = 0.01),
        ("class.carpet.image_threshold", |c| c.alpha = 0.2),
    ];
    for (place, edit) in cases {
        let mut calibration = sample();
        edit(&mut calibration);
        let err = calibration.check_invariants().unwrap_err();
        assert_eq!(err.kind(), CalibrationErrorKind::Inconsistent);
        assert!(err.to_string().starts_with(place), "{place}: {err}");
        assert!(calibration.to_toml().is_err() && calibration.id().is_err(), "{place}");
    }
}

#[test]
fn text_that_is_no_calibration_is_refused_with_the_line() {
    let good = sample().to_toml().unwrap();
    let cases = [
        (good.replace("alpha", "alhpa"), CalibrationErrorKind::Syntax, "alhpa"),
        (good.replace("n = 80", "n = -80"), CalibrationErrorKind::Syntax, "n = -80"),
        (good.replace("format = 1", "format = 7"), CalibrationErrorKind::Format, ""),
        ("hello".to_owned(), CalibrationErrorKind::Syntax, ""),
        (String::new(), CalibrationErrorKind::Syntax, "format"),
    ];
    for (text, kind, said) in cases {
        assert_ne!(text, good);
        let err = Calibration::from_toml(&text).unwrap_err();
        assert_eq!(err.kind(), kind, "{err}");
        let source = std::error::Error::source(&err).map(ToString::to_string).unwrap_or_default();
        assert!(source.contains(said), "{source}");
    }
}

#[test]
fn nan_and_inf_spelled_in_toml_are_refused() {
    let good = sample().to_toml().unwrap();
    for bad in ["nan", "inf", "-inf"] {
        let text = good.replace("pixel_threshold = 0.75", &format!("pixel_threshold = {bad}"));
        assert_ne!(text, good);
        let err = Calibration::from_toml(&text).unwrap_err();
        assert_eq!(err.kind(), CalibrationErrorKind::Inconsistent, "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_file_with_damaged_bytes_never_gives_another_limit(
        hits in prop::collection::vec((any::<prop::sample::Index>(), 32u8..127), 1..4),
    ) {
        let good = sample();
        let mut bytes = good.to_toml().unwrap().into_bytes();
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(read) = Calibration::from_toml(&text) {
            for limit in read.class.values() {
                let bound = certify(&limit.scores, read.alpha, read.confidence).unwrap();
                prop_assert_eq!(limit.image_threshold, bound.limit);
            }
        }
    }
}
